#!/usr/bin/env bash
# Make the development environment: .venv at the locked versions, with the smallest torch that fits.
#
# PyPI's torch for Linux is a CUDA build of about 3 GB. A machine without a GPU is served by the CPU
# wheel of the very same version: from pip's own configured folders, else from PyTorch's CPU index,
# else (neither can be reached) by the lock as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=${UV_PROJECT_ENVIRONMENT:-.venv}
stamp="$environment/.synced-with"
say() { printf 'setup: %s\n' "$*"; }

find_uv() { # prints a usable uv, installing a private one when there is none
  if command -v uv >/dev/null; then command -v uv; return; fi
  if [ ! -x .tools/bin/uv ]; then
    say "uv not found: downloading it (20 MB) into .tools/" >&2
    python3 -m venv .tools
    .tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<0.14'
  fi
  echo "$PWD/.tools/bin/uv"
}

wanted=$(cat uv.lock packages/*/pyproject.toml apps/*/pyproject.toml "$0" | python3 -c \
  'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

uv=$(find_uv)
torch_version=$(sed -n '/^name = "torch"$/{n;s/version = "\(.*\)"/\1/p;}' uv.lock)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

install_without_torch() { # the whole lock at its pins, minus torch and what only torch needs
  "$uv" venv --quiet --clear "$environment"
  "$uv" export --quiet --frozen --prune torch --no-hashes --no-header --no-annotate -o "$scratch/locked.txt"
}

has_accelerator() { command -v nvidia-smi >/dev/null || [ -e /dev/kfd ]; }

if [ "$(uname -s)" != Linux ] || has_accelerator; then
  say "downloading the locked packages (on Linux with CUDA: about 3 GB)"
  "$uv" sync --quiet --frozen
elif python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-index --only-binary :all: \
  --dest "$scratch/wheels" "torch==$torch_version" 2>/dev/null; then
  say "torch $torch_version from a wheel on this machine; downloading the other packages (about 80 MB)"
  install_without_torch
  VIRTUAL_ENV="$environment" "$uv" pip install --quiet -r "$scratch/locked.txt" "$scratch"/wheels/torch-*.whl
else
  say "no accelerator found: downloading the CPU build of torch $torch_version (about 190 MB)"
  install_without_torch
  VIRTUAL_ENV="$environment" "$uv" pip install --quiet --no-deps -r "$scratch/locked.txt"
  if ! VIRTUAL_ENV="$environment" UV_HTTP_RETRIES=0 \
    "$uv" pip install --quiet "torch==$torch_version" --torch-backend cpu 2>"$scratch/error"; then
    say "no CPU build can be had; downloading the locked packages as they are (about 3 GB)"
    "$uv" sync --quiet --frozen
  fi
fi
echo "$wanted" >"$stamp"
say "done: $environment"
