# What `nix run` runs: every console script of the workspace, and the tokenizer trainer.
{ flavour }:
let
  inherit (flavour) lib pkgs venv;

  app = description: program: {
    type = "app";
    program = "${program}";
    meta = { inherit description; };
  };
in
lib.genAttrs flavour.scripts (
  name: app "${name} of the ttt workspace, for ${flavour.accelerator}" "${venv}/bin/${name}"
)
// {
  train-tokenizer = app "Train a byte-level BPE tokenizer" (
    pkgs.writeShellScript "train-tokenizer" ''
      exec ${venv}/bin/python ${../scripts/train_tokenizer.py} "$@"
    ''
  );
}
