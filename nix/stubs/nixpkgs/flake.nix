{
  description = "Stands in for nixpkgs, so that the flake can be evaluated without it: names only, nothing builds";
  outputs = _: { lib = import ./lib.nix; };
}
