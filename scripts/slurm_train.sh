#!/usr/bin/env bash
#SBATCH --job-name=ttt
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR2@300
#SBATCH --requeue
#SBATCH --open-mode=append
# A run that outlives its time limit: sbatch scripts/slurm_train.sh [options of ttt train]
#
# Five minutes before the limit SLURM sends SIGUSR2; the run saves and ends with exit code 75, and
# the job is queued again, to go on where it was. $TTT_OUT is the run's directory.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-$PWD}"
out=${TTT_OUT:-runs/slurm}

ttt doctor device disk --out "$out"
run=
trap '[ -z "$run" ] || kill -USR2 "$run"' USR2
trap '[ -z "$run" ] || kill -TERM "$run"' TERM
ttt train --out "$out" --resume auto --plain "$@" &
run=$!
code=0
wait "$run" || code=$?
if [ "$code" -gt 128 ]; then # a trap ended the waiting, not yet the run
  code=0
  wait "$run" || code=$?
fi
if [ "$code" = 75 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
