# The workspace for one accelerator (cpu, cuda or rocm): what everything else in this folder is made of.
#
# Every Python package comes from uv.lock, except torch and triton. PyPI's Linux wheels of these are
# CUDA builds that look for the nvidia packages in their own site-packages, and there is none for
# ROCm: nixpkgs builds both for each accelerator.
{
  accelerator,
  inputs,
  system,
  workspace,
}:
let
  inherit (inputs.nixpkgs) lib;

  pkgs = import inputs.nixpkgs {
    inherit system;
    config = {
      allowUnfree = accelerator == "cuda";
      cudaSupport = accelerator == "cuda";
      rocmSupport = accelerator == "rocm";
    };
  };
  python = pkgs.python313;

  hacks = pkgs.callPackage inputs.pyproject-nix.build.hacks { };

  fromNixpkgs =
    prev: name:
    hacks.nixpkgsPrebuilt {
      from = python.pkgs.${name};
      prev = prev.${name}.overrideAttrs (old: {
        passthru = old.passthru // {
          dependencies = lib.filterAttrs (
            dependency: _: !(lib.hasPrefix "nvidia-" dependency || lib.hasPrefix "cuda-" dependency)
          ) old.passthru.dependencies;
        };
      });
    };

  buildFixes =
    _final: prev:
    lib.genAttrs [
      "torch"
      "triton"
    ] (fromNixpkgs prev)
    // {
      # Its threading layers link what no manylinux platform promises.
      numba = prev.numba.overrideAttrs (old: {
        buildInputs = (old.buildInputs or [ ]) ++ [
          pkgs.onetbb
          pkgs.stdenv.cc.cc.lib
        ];
      });
    };

  pythonSet =
    (pkgs.callPackage inputs.pyproject-nix.build.packages { inherit python; }).overrideScope
      (
        lib.composeManyExtensions [
          inputs.pyproject-build-systems.overlays.wheel
          (workspace.locked.mkPyprojectOverlay { sourcePreference = "wheel"; })
          buildFixes
        ]
      );

  editableSet = pythonSet.overrideScope (
    workspace.locked.mkEditablePyprojectOverlay { root = "$REPO_ROOT"; }
  );

  environment = set: name: set.mkVirtualEnv "ttt-${accelerator}-${name}";
  developmentEnv = environment editableSet "dev-env" workspace.locked.deps.groups;

  vendor =
    {
      cpu = {
        packages = [ ];
        env = { };
      };
      cuda = {
        packages = [ pkgs.cudaPackages.cuda_nvcc ];
        # Where NixOS puts libcuda.so.1 of the running driver, for which Triton looks elsewhere.
        env.TRITON_LIBCUDA_PATH = "/run/opengl-driver/lib";
      };
      rocm = {
        packages = [
          pkgs.rocmPackages.clr
          pkgs.rocmPackages.rocm-smi
          pkgs.llvmPackages.lld
        ];
        env = {
          ROCM_PATH = "${pkgs.rocmPackages.clr}";
          TRITON_HIP_LLD_PATH = "${pkgs.llvmPackages.lld}/bin/ld.lld";
        };
      };
    }
    .${accelerator};

  # A shell in which `uv run` uses an environment of the Nix store: uv must neither sync nor download.
  shellOn =
    venv: hook:
    pkgs.mkShell {
      packages = [
        venv
        pkgs.uv
      ]
      ++ vendor.packages;
      env = {
        UV_NO_SYNC = "1";
        UV_PROJECT_ENVIRONMENT = "${venv}";
        UV_PYTHON = python.interpreter;
        UV_PYTHON_DOWNLOADS = "never";
      }
      // vendor.env;
      shellHook = ''
        unset PYTHONPATH
        ${hook}
        case $- in *i*) source <(ttt completions bash) ;; esac
      '';
    };
in
{
  inherit
    accelerator
    lib
    pkgs
    python
    shellOn
    vendor
    ;

  inherit (workspace) scripts;

  venv = environment pythonSet "env" workspace.locked.deps.default;
  testVenv = environment pythonSet "test-env" workspace.locked.deps.groups;

  application = (pkgs.callPackages inputs.pyproject-nix.build.util { }).mkApplication {
    venv = environment pythonSet "env" workspace.locked.deps.default;
    package = pythonSet.ttt;
  };

  shell = shellOn developmentEnv ''
    export REPO_ROOT=$(git rev-parse --show-toplevel)
  '';
}
