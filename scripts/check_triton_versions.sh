#!/usr/bin/env bash
# Hold the Triton kernels against the versions of Triton that the lock does not pin.
#
#   scripts/check_triton_versions.sh [VERSION...]      default: 3.6.0 3.8.0 3.9.0
#
# Each version is installed beside the others, under .venv/triton/, and put in front of the pinned
# one. Every kernel is compiled for every target. From 3.7 on the tests of the kernels run as well,
# interpreted, compiled and simulated; the interpreter of older versions does not know NumPy 2.4.
# Budgets and tuned rows are left out: they are figures of the pinned version's compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=${UV_PROJECT_ENVIRONMENT:-.venv}
uv=$(command -v uv || echo .tools/bin/uv)
kernels=packages/ttt-kernels/tests/gpu
versions=("$@")
if [ ${#versions[@]} -eq 0 ]; then versions=(3.6.0 3.8.0 3.9.0); fi

failed=()
for version in "${versions[@]}"; do
  folder="$environment/triton/$version"
  if [ ! -d "$folder/triton" ]; then
    "$uv" pip install --quiet --python "$environment/bin/python" --no-deps --target "$folder" "triton==$version"
  fi
  # another version, another cache; 3.9 warns where a launch leaves the default of fusion to it
  run=(env PYTHONPATH="$folder" TRITON_CACHE_DIR="$folder/cache" TRITON_DEFAULT_FP_FUSION=1 OMP_NUM_THREADS=1
    "$environment/bin/python" -m pytest -q -p no:cacheprovider)
  "${run[@]:0:5}" "$environment/bin/python" -c \
    "import triton; assert triton.__version__ == '$version', triton.__version__"
  check() {
    printf '\ntriton %s: pytest %s\n' "$version" "$*"
    "${run[@]}" "$@" || failed+=("$version")
  }
  check "$kernels/test_every_target.py" -m slow
  case "$version" in
    3.[0-6].*) ;;
    *) check "$kernels" -m "not gpu and not slow" -k "not budget" ;;
  esac
done

if [ ${#failed[@]} -gt 0 ]; then
  printf '\nfailed: triton %s\n' "${failed[*]}"
  exit 1
fi
printf '\nthe kernels hold on triton %s\n' "${versions[*]}"
