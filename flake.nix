{
  description = "Train, run and study Test-Time-Training language models";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

    pyproject-nix = {
      url = "github:pyproject-nix/pyproject.nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };

    uv2nix = {
      url = "github:pyproject-nix/uv2nix";
      inputs.pyproject-nix.follows = "pyproject-nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };

    pyproject-build-systems = {
      url = "github:pyproject-nix/build-system-pkgs";
      inputs.pyproject-nix.follows = "pyproject-nix";
      inputs.uv2nix.follows = "uv2nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  # torch for CUDA takes hours to compile; this cache has it built. Nix asks before it is used.
  nixConfig = {
    extra-substituters = [ "https://cache.nixos-cuda.org" ];
    extra-trusted-public-keys = [
      "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M="
    ];
  };

  outputs =
    inputs:
    let
      inherit (inputs.nixpkgs) lib;

      accelerators = {
        x86_64-linux = [
          "cpu"
          "cuda"
          "rocm"
        ];
        aarch64-linux = [
          "cpu"
          "cuda"
        ];
      };

      workspace = import ./nix/workspace.nix { inherit inputs; };

      flavours = lib.mapAttrs (
        system: names:
        lib.genAttrs names (
          accelerator:
          import ./nix/flavour.nix {
            inherit
              accelerator
              inputs
              system
              workspace
              ;
          }
        )
      ) accelerators;

      # A plain name is for the CPU; `-cuda` or `-rocm` at its end says for which accelerator.
      eachFlavour =
        make:
        lib.mapAttrs (
          _: lib.concatMapAttrs (
            accelerator: flavour:
            lib.mapAttrs' (
              name: lib.nameValuePair (if accelerator == "cpu" then name else "${name}-${accelerator}")
            ) (make flavour)
          )
        ) flavours;

      withDefault = name: lib.mapAttrs (_: outputs: outputs // { default = outputs.${name}; });
    in
    {
      packages = withDefault "ttt" (
        eachFlavour (flavour: {
          ttt = flavour.application;
          image = import ./nix/image.nix { inherit flavour; };
        })
      );

      apps = withDefault "ttt" (eachFlavour (flavour: import ./nix/apps.nix { inherit flavour; }));

      devShells = lib.mapAttrs (
        system: shells:
        let
          forDevelopment = lib.mapAttrs (_: flavour: flavour.shell) flavours.${system};
        in
        forDevelopment // { default = forDevelopment.cpu; } // shells
      ) (eachFlavour (flavour: import ./nix/benchmarks.nix { inherit flavour; }));

      checks = lib.mapAttrs (_: flavour: import ./nix/checks.nix { flavour = flavour.cpu; }) flavours;

      formatter = lib.mapAttrs (_: flavour: flavour.cpu.pkgs.nixfmt-tree) flavours;
    };
}
