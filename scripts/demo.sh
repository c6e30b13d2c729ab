#!/usr/bin/env bash
# The main job: train a small model on the built-in corpus, then let it write. Options go to `ttt train`.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/${UV_PROJECT_ENVIRONMENT:-.venv}/bin:$PATH"

ttt train --config configs/demo.toml --overwrite "$@"
echo
ttt generate runs/demo "Of all the people of" --max-tokens 160 --temperature 0.5
