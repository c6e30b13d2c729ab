# Packages that have a name and nothing else, and functions that take what nixpkgs' own take.
{
  system,
  config ? { },
}:
let
  lib = import ./lib.nix;

  fake =
    args:
    let
      plain = removeAttrs args [
        "env"
        "passthru"
      ];
      self =
        derivation (
          plain
          // (args.env or { })
          // {
            inherit system;
            builder = "/bin/sh";
          }
        )
        // {
          inherit system;
          passthru = args.passthru or { };
          overrideAttrs = change: fake (args // change ({ passthru = { }; } // args));
        }
        // (args.passthru or { });
    in
    self;
  named = name: fake { inherit name; };
  allNamed = names: lib.genAttrs names named;

  callPackage =
    function: args:
    let
      called = if builtins.isFunction function then function else import function;
    in
    called (builtins.intersectAttrs (builtins.functionArgs called) pkgs // args);

  python = fake {
    name = "python3";
    passthru = {
      interpreter = "${named "python3"}/bin/python3";
      withPackages =
        choose:
        fake {
          name = "python3-env";
          paths = choose python.pkgs;
        };
      pkgs = allNamed [
        "einops"
        "flax"
        "jax"
        "jax-cuda12-plugin"
        "ml-collections"
        "numpy"
        "optax"
        "torch"
        "tqdm"
        "transformers"
        "triton"
      ];
    };
  };

  pkgs =
    allNamed [
      "bashInteractive"
      "cacert"
      "coreutils"
      "git"
      "nixfmt-tree"
      "onetbb"
      "uv"
    ]
    // {
      inherit
        callPackage
        config
        lib
        pkgs
        ;
      callPackages = callPackage;
      cudaPackages = allNamed [ "cuda_nvcc" ];
      llvmPackages = allNamed [ "lld" ];
      rocmPackages = allNamed [
        "clr"
        "rocm-smi"
      ];
      python313 = python;
      stdenv.cc = named "cc" // {
        cc.lib = named "libstdcxx";
      };
      mkShell =
        {
          packages,
          env,
          shellHook,
        }:
        fake {
          name = "shell";
          nativeBuildInputs = packages;
          inherit env shellHook;
        };
      runCommand = name: args: script: fake (args // { inherit name script; });
      writeShellScript = name: text: fake { inherit name text; };
      fetchFromGitHub =
        {
          owner,
          repo,
          rev,
          hash,
        }:
        fake {
          name = "source";
          inherit
            owner
            repo
            rev
            hash
            ;
        };
      dockerTools.buildLayeredImage =
        {
          name,
          tag,
          contents,
          fakeRootCommands,
          config,
        }:
        fake {
          name = "${name}-${tag}";
          inherit contents fakeRootCommands;
          config = builtins.toJSON config;
        };
    };
in
pkgs
