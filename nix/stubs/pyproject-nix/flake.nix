{
  description = "Stands in for pyproject.nix: a package set that overlays extend";
  inputs.nixpkgs.url = "path:../nixpkgs";
  outputs = _: {
    build = {
      packages =
        { pkgs, python }:
        let
          setOf =
            packages:
            packages
            // {
              overrideScope = overlay: setOf (packages // overlay packages packages);
              mkVirtualEnv =
                name: wanted:
                assert builtins.all (member: packages ? ${member}) (builtins.attrNames wanted);
                pkgs.runCommand name {
                  packages = builtins.filter (package: package ? drvPath) (builtins.attrValues packages);
                  inherit python;
                } "";
            };
        in
        setOf { };
      hacks =
        { pkgs }:
        {
          nixpkgsPrebuilt = { from, prev }: from // { inherit (prev) passthru; };
        };
      util =
        { pkgs }:
        {
          mkApplication =
            { venv, package }: pkgs.runCommand "application" { inherit venv package; } "";
        };
    };
  };
}
