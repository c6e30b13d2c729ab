# Shells for comparing with the other implementations: their code as their authors published it, at
# pinned revisions, and an environment that can import it. $TTT_BENCH_PEER is where the code lies.
{ flavour }:
let
  inherit (flavour)
    accelerator
    lib
    pkgs
    python
    vendor
    ;

  published = repo: rev: hash: {
    inherit repo;
    source = pkgs.fetchFromGitHub {
      owner = "test-time-training";
      inherit repo rev hash;
    };
  };

  peers = {
    jax =
      published "ttt-lm-jax" "6f529b124c7fb5879b33c06926408b15add1d82f"
        "sha256-jBGbvBL8nlFpPFAWI3do9hhxiUTkuX9tQO64GdoiwVc="
      // {
        packages = [
          "flax"
          "jax"
          "ml-collections"
          "optax"
        ]
        ++ lib.optionals (accelerator == "cuda") [ "jax-cuda12-plugin" ];
      };
    pytorch =
      published "ttt-lm-pytorch" "cd831db10c8c9a0f6340f02da5613316a8a92b67"
        "sha256-g+MR4TQHptcfaWlFanBBzY1k0ip2aCHP9AL0a1qGj8k="
      // {
        packages = [ "torch" ];
      };
    kernels =
      published "ttt-lm-kernels" "99851e6dcc44060952a5618f0131a5ca6d7f6519"
        "sha256-+SqsWfQfOBHZVzfKugpZiFvAAU0IlpHQFpQxS04j9Ew="
      // {
        packages = [
          "torch"
          "triton"
        ];
      };
  };

  common = [
    "einops"
    "numpy"
    "tqdm"
    "transformers"
  ];

  peerShell =
    name: peer:
    lib.nameValuePair "bench-${name}" (
      pkgs.mkShell {
        packages = [
          (python.withPackages (available: map (package: available.${package}) (common ++ peer.packages)))
        ]
        ++ vendor.packages;
        env = vendor.env // {
          PYTHONPATH = "${peer.source}";
          TTT_BENCH_PEER = "${peer.source}";
        };
        shellHook = ''
          echo "bench-${name}: ${peer.repo}, pinned, in $TTT_BENCH_PEER"
        '';
      }
    );

  # nixpkgs has no JAX for ROCm.
  available = lib.filterAttrs (name: _: !(name == "jax" && accelerator == "rocm")) peers;

  ours = hook: flavour.shellOn flavour.venv hook;
in
lib.mapAttrs' peerShell available
// {
  bench-ttt = ours "";
  bench-burn = ours ''
    echo "bench-burn was the shell of ttt-rs, which is written in Rust on Burn; this is bench-ttt."
  '';
}
