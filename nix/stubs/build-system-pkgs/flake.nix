{
  description = "Stands in for build-system-pkgs";
  inputs.nixpkgs.url = "path:../nixpkgs";
  inputs.pyproject-nix.url = "path:../pyproject-nix";
  inputs.uv2nix.url = "path:../uv2nix";
  outputs = _: { overlays.wheel = _final: _prev: { }; };
}
