#!/usr/bin/env bash
# Test kernels and training on this machine's GPU, then time the kernels: scripts/gpu.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."

python=${1:-.venv/bin/python}
if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "no GPU on this machine: nothing to test or time; \`make test\` proves the kernels without one"
  exit 0
fi
"$python" -m pytest -q -m gpu -n 4 --dist worksteal packages/ttt-kernels packages/ttt-training
"$python" benches/bench_gpu.py
