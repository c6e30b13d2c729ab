# `make demo` runs the main job, `make test` the tests; both make their own environment first.
export UV_PROJECT_ENVIRONMENT ?= .venv
export UV_NO_SYNC = 1
bin := $(UV_PROJECT_ENVIRONMENT)/bin

.PHONY: help env demo test slow gpu docs chaos check fmt lint type layers nix-check wheels-check images-check

help:           ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

env:            ## make .venv at the locked versions
	@scripts/setup_env.sh

demo: env       ## train a small model on the built-in corpus, then let it write
	@scripts/demo.sh $(DEMO)

test: env       ## the test suite
	@OMP_NUM_THREADS=1 $(bin)/python -m pytest -q -n 2 --dist worksteal

slow: env       ## the tests that take minutes: more kills, more characters
	@OMP_NUM_THREADS=1 $(bin)/python -m pytest -q -n 2 -m slow

gpu: env        ## test kernels and training on a GPU, then time the kernels
	@scripts/gpu.sh $(bin)/python

docs: env       ## every command and example of the documentation
	@OMP_NUM_THREADS=1 $(bin)/python -m pytest -q -n 2 --dist worksteal -m docs

chaos: env      ## damage, kill and fill the disk, many times, and count
	@scripts/chaos.sh $(bin)/python

fmt: env        ## rewrite the code in the project's format
	@$(bin)/ruff format --quiet . && $(bin)/ruff check --quiet --fix .

lint: env       ## format and lint: Python, shell, Dockerfiles, workflows; nothing is changed
	@$(bin)/ruff format --check --quiet . && $(bin)/ruff check --quiet .
	@$(bin)/shellcheck .ci/run nix/*.sh scripts/*.sh
	@$(bin)/hadolint Dockerfile.*
	@$(bin)/actionlint .github/workflows/*.yml

type: env       ## type check
	@$(bin)/pyrefly check --summary=none

layers: env     ## which package may import which
	@$(bin)/lint-imports

check: lint type layers test docs ## everything a change must pass

wheels-check: env ## build every wheel and install each alone into a clean environment
	@$(bin)/python scripts/check_wheels.py $(WHEELS)

images-check: env ## build the images on a stand-in base and use them; needs buildah and root
	@scripts/check_images.sh $(IMAGES)

nix-check: env  ## evaluate the flake without nixpkgs; needs nix
	@nix/check.sh
