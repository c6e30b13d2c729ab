#!/usr/bin/env bash
# Builds Dockerfile.cuda and Dockerfile.rocm for real and uses what comes out. No image registry is
# needed: a small Debian made here stands in for the vendors' base images, and torch is the CPU's.
# Needs root, buildah and debootstrap (Debian: apt-get install buildah debootstrap).
#
# usage: scripts/check_images.sh [DOCKERFILE:STAGE]...
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in buildah debootstrap; do
  if ! command -v "$tool" >/dev/null; then
    echo "scripts/check_images.sh: $tool is not installed (Debian: apt-get install buildah debootstrap)"
    exit 1
  fi
done

all=(Dockerfile.cuda:runtime Dockerfile.rocm:runtime Dockerfile.cuda:dev)
stand_in=localhost/ttt-stand-in:bookworm
export BUILDAH_ISOLATION=chroot BUILDAH_FORMAT=docker STORAGE_DRIVER=overlay
scratch=$(mktemp -d)
containers=()
container=
trap 'for container in "${containers[@]}"; do buildah rm "$container" >/dev/null; done; rm -rf "$scratch"' EXIT
say() { printf '%s\n' "$*"; }

make_stand_in() { # a minimal Debian that reaches what this machine reaches, as this machine does
  local base="$scratch/base" torch container
  debootstrap --variant=minbase bookworm "$base" >"$scratch/log" 2>&1 ||
    { tail -n 3 "$scratch/log"; return 1; }
  torch=$(sed -n '/^name = "torch"$/{n;s/version = "\(.*\)"/\1/p;}' uv.lock)
  if python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-index \
    --only-binary :all: --dest "$base/opt/wheels" "torch==$torch" 2>/dev/null; then
    printf '[global]\nfind-links = /opt/wheels\n' >"$base/etc/pip.conf"
  fi
  container=$(buildah from scratch)
  containers+=("$container")
  if [ -n "${SSL_CERT_FILE:-}" ]; then
    cp "$SSL_CERT_FILE" "$base/opt/this-machine.crt"
    buildah config --env SSL_CERT_FILE=/opt/this-machine.crt --env PIP_CERT=/opt/this-machine.crt \
      "$container"
  fi
  tar -C "$base" -cf "$scratch/base.tar" .
  buildah add --quiet "$container" "$scratch/base.tar" / >/dev/null
  buildah commit --quiet "$container" "$stand_in" >/dev/null
}

build() { # DOCKERFILE TARGET
  buildah bud --quiet --layers --file "$1" --target "$2" --tag "localhost/ttt:$2" \
    --build-arg BASE_IMAGE="$stand_in" --build-arg DEV_IMAGE="$stand_in" --build-arg BACKEND=cpu \
    . >"$scratch/log" 2>&1 || { tail -n 40 "$scratch/log"; return 1; }
}

inside() { # COMMAND...: run in the container as its own user, show the output if it fails
  buildah run "$container" -- "$@" >"$scratch/log" 2>&1 ||
    { say "failed in the container: $*"; tail -n 40 "$scratch/log"; return 1; }
}

configured() { # FIELD: of the image's configuration
  buildah inspect --type image --format "{{.Docker.Config.$1}}" "localhost/ttt:runtime"
}

start() { # STAGE: sets $container
  container=$(buildah from "localhost/ttt:$1")
  containers+=("$container")
}

use_runtime() { # DOCKERFILE
  start runtime
  [ "$(configured User)" = 10001 ] || { say "$1: the user is root"; return 1; }
  configured Healthcheck.Test | grep -q 'ttt doctor device' || { say "$1: no health check"; return 1; }
  inside ttt --help
  inside ttt doctor
  inside ttt train --out five --steps 5 --seq-len 64 --batch 2 --documents 40
  inside ttt generate five "Once there was" --max-tokens 5
  say "$1: builds; as user 10001: ttt --help, ttt doctor, 5 steps of training, generate"
}

use_dev() { # DOCKERFILE
  start dev
  inside make lint
  inside ttt --help
  say "$1, stage dev: builds; make lint, ttt --help"
}

if [ -z "$(buildah images --quiet "$stand_in" 2>/dev/null)" ]; then
  make_stand_in
  say "made the stand-in base $stand_in"
fi
for each in "${@:-${all[@]}}"; do
  build "${each%:*}" "${each#*:}"
  "use_${each#*:}" "${each%:*}"
done
say "images and layers are kept for the next time; \`buildah rmi --all\` removes them"
