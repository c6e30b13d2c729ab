#!/usr/bin/env bash
# Damage, kills and full disks in numbers; docs/reliability.md holds what this printed.
set -euo pipefail
cd "$(dirname "$0")/.."
report=$(mktemp)
trap 'rm -f "$report"' EXIT
TTT_CHAOS_REPORT=$report OMP_NUM_THREADS=1 "${1:-.venv/bin/python}" -m pytest -q -m "slow or not slow" \
  packages/ttt-harness/tests/test_harness_chaos.py \
  packages/ttt-training/tests/test_chaos.py packages/ttt-data/tests/prepare/test_prepare_crash.py
cat "$report"
