#!/usr/bin/env bash
# Make an environment at the locked versions, with the torch that fits the machine.
#
# usage: scripts/setup_env.sh [auto|cpu|cuda|rocm7.2|...] [what of the lock: options of `uv sync`]
# Without arguments, $TTT_BACKEND is taken.
#
# PyPI's torch for Linux is a CUDA build of about 3 GB. Another build of the very same version comes
# from PyTorch's index; for a CPU, a wheel in pip's own configured folders is taken first, and the
# lock as it is if neither can be reached. `auto` looks for a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."

backend=${1:-${TTT_BACKEND:-auto}}
selection=("${@:2}")
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

if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
  export UV_COMPILE_BYTECODE=1 # else every process would compile all of torch anew
fi

if [ -d "$environment" ] && [ ! -w "$environment" ]; then
  exit 0 # Nix made it: it is what it should be, and cannot be changed
fi

if [ "$backend" = auto ]; then
  if [ "$(uname -s)" != Linux ] || command -v nvidia-smi >/dev/null; then
    backend=cuda
  elif [ -e /dev/kfd ]; then
    backend=rocm # uv finds out which
  else
    backend=cpu
  fi
fi

shopt -s nullglob
wanted=$(cat uv.lock pyproject.toml ./*/pyproject.toml ./*/*/pyproject.toml "$0" <(echo "$backend" "${selection[@]}") | python3 -c \
  'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

uv=$(find_uv)
torch_version=$(sed -n '/^name = "torch"$/{n;s/version = "\(.*\)"/\1/p;}' uv.lock)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

export_lock() { # PACKAGE...: the selected part of the lock, without these and what only they need
  "$uv" export --quiet --frozen "${selection[@]}" "${@/#/--prune=}" --no-hashes --no-header --no-annotate
}

install() { "$uv" pip install --quiet --python "$environment" "$@"; }

export_lock >"$scratch/locked.txt"
if ! grep -q '^torch==' "$scratch/locked.txt"; then
  say "downloading the locked packages"
  "$uv" sync --quiet --frozen "${selection[@]}"
elif [ "$backend" = cuda ]; then
  say "downloading the locked packages (on Linux with torch for CUDA: about 3 GB)"
  "$uv" sync --quiet --frozen "${selection[@]}"
else
  "$uv" venv --quiet --clear "$environment"
  case $backend in
    rocm*) export_lock torch triton >"$scratch/locked.txt" ;; # that torch brings its own Triton
    *) export_lock torch >"$scratch/locked.txt" ;;
  esac
  if [ "$backend" = cpu ] && python3 -m pip download --quiet --disable-pip-version-check --no-deps \
    --no-index --only-binary :all: --dest "$scratch/wheels" "torch==$torch_version" 2>/dev/null; then
    say "torch $torch_version from a wheel on this machine; downloading the other packages (about 80 MB)"
    install -r "$scratch/locked.txt" "$scratch"/wheels/torch-*.whl
  else
    say "downloading torch $torch_version for $backend and the other packages"
    install --no-deps -r "$scratch/locked.txt"
    if ! UV_HTTP_RETRIES=0 install "torch==$torch_version" \
      --torch-backend "${backend/%rocm/auto}" 2>"$scratch/error"; then
      if [ "$backend" != cpu ]; then
        cat "$scratch/error"
        exit 1
      fi
      say "no CPU build can be had; downloading the locked packages as they are (about 3 GB)"
      "$uv" sync --quiet --frozen "${selection[@]}"
    fi
  fi
fi
echo "$wanted" >"$stamp"
say "done: $environment"
