{
  description = "Stands in for uv2nix: reads the real uv.lock, and makes nothing but names of it";
  inputs.nixpkgs.url = "path:../nixpkgs";
  inputs.pyproject-nix.url = "path:../pyproject-nix";
  outputs = _: {
    lib.workspace.loadWorkspace =
      { workspaceRoot }:
      let
        lock = builtins.fromTOML (builtins.readFile (workspaceRoot + "/uv.lock"));
        byName = make: packages: builtins.listToAttrs (map make packages);

        package =
          locked:
          let
            made =
              args:
              derivation (
                removeAttrs args [ "passthru" ]
                // {
                  inherit (locked) name;
                  system = "any";
                  builder = "/bin/sh";
                }
              )
              // {
                inherit (args) passthru;
                overrideAttrs = change: made (args // change args);
              };
          in
          {
            inherit (locked) name;
            value = made {
              passthru.dependencies = byName (dependency: {
                inherit (dependency) name;
                value = dependency.extra or [ ];
              }) (locked.dependencies or [ ]);
            };
          };

        members = byName (member: {
          inherit (member) name;
          value = [ ];
        }) (builtins.filter (locked: !(locked.source ? registry)) lock.package);
      in
      {
        deps = {
          default = members;
          groups = members;
        };
        mkPyprojectOverlay =
          { sourcePreference }:
          assert sourcePreference == "wheel";
          _final: _prev:
          byName package lock.package;
        mkEditablePyprojectOverlay = { root }: _final: _prev: { };
      };
  };
}
