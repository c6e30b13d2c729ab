# What `nix flake check` builds: the test suite and the linters, in the sandbox.
{ flavour }:
let
  inherit (flavour) pkgs testVenv;

  inSources =
    name: command:
    pkgs.runCommand "ttt-${name}"
      {
        nativeBuildInputs = [
          pkgs.git
          testVenv
        ];
      }
      ''
        cp -r ${../.} sources
        chmod -R u+w sources
        cd sources
        export HOME=$TMPDIR OMP_NUM_THREADS=1
        ${command}
        touch $out
      '';
in
{
  pytest = inSources "pytest" "python -m pytest -q";
  lint = inSources "lint" "ruff format --check . && ruff check . && pyrefly check && lint-imports";
}
