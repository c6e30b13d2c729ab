#!/usr/bin/env bash
# Evaluates the whole flake without nixpkgs, against the small stand-ins of nix/stubs: nothing is
# fetched and nothing is built. Shows that every file parses, that flake.lock fits flake.nix, that
# every output evaluates and every name in the documentation exists, and that mistakes are caught.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v nix >/dev/null; then
  echo "nix/check.sh: nix is not installed, expected nix 2.8 or newer (Debian: apt-get install nix-bin)"
  exit 1
fi
export NIX_CONFIG=$'experimental-features = nix-command flakes\nbuild-users-group =\nwarn-dirty = false'

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

stand_ins() { # TREE: the options that put the stand-ins in the place of the inputs
  printf '%s\n' --offline --no-write-lock-file --accept-flake-config \
    --override-input nixpkgs "path:$1/nix/stubs/nixpkgs" \
    --override-input pyproject-nix "path:$1/nix/stubs/pyproject-nix" \
    --override-input uv2nix "path:$1/nix/stubs/uv2nix" \
    --override-input pyproject-build-systems "path:$1/nix/stubs/build-system-pkgs"
}

list() { # TREE OUTPUT: each name of it with its system, as "output system name"
  local options
  mapfile -t options < <(stand_ins "$1")
  nix eval --raw "git+file://$1#$2" "${options[@]}" --apply "systems:
    let
      force = value: builtins.seq (value.program or value.drvPath);
      each = f: set: toString (map (name: f name set.\${name}) (builtins.attrNames set));
      line = system: name: value: force value \"$2 \${system} \${name}\n\";
    in
    each (system: each (line system)) systems" | tr -s ' ' | sed 's/^ //'
}

list_all() { # TREE
  local output
  for output in packages apps devShells checks; do list "$1" "$output" || return; done
}

documented() { # TREE: "output name" of every command in the documentation
  (cd "$1" && git grep -hoE 'nix (build|develop|run) \.#[a-z0-9-]+' -- '*.md') | sort -u |
    sed -E 's/nix build \.#/packages /; s/nix develop \.#/devShells /; s/nix run \.#/apps /'
}

check() { # TREE: fails at the first thing that is wrong, saying what
  local options output name
  find "$1/flake.nix" "$1/nix" -name '*.nix' -print0 |
    xargs -0 nix-instantiate --parse >/dev/null || return
  nix flake metadata --offline --no-update-lock-file "git+file://$1" >/dev/null || return
  mapfile -t options < <(stand_ins "$1")
  nix flake check --no-build "git+file://$1" "${options[@]}" || return
  list_all "$1" >"$scratch/names" || return
  while read -r output name; do
    grep -qxF "$output x86_64-linux $name" "$scratch/names" && continue
    echo "the documentation names $output.$name, which the flake does not have"
    return 1
  done < <(documented "$1")
}

copy() { # prints a copy of the tracked files, a repository of its own
  local tree
  tree=$(mktemp -d "$scratch/copy.XXXX")
  git ls-files -z | xargs -0 cp --parents -t "$tree"
  git -C "$tree" init --quiet
  git -C "$tree" add --all
  echo "$tree"
}

must_fail() { # WHAT FILE SED-SCRIPT: the check of a copy with this mistake fails
  local tree
  tree=$(copy)
  sed -i "$3" "$tree/$2"
  if git -C "$tree" diff --quiet; then
    echo "nix/check.sh: cannot plant the mistake \`$1\`: nothing in $2 matches $3"
    exit 1
  fi
  if (check "$tree") >"$scratch/log" 2>&1; then
    echo "nix/check.sh: the mistake \`$1\`, planted in $2, goes unnoticed"
    exit 1
  fi
  echo "caught: $1"
}

if ! check "$PWD" 2>"$scratch/log"; then
  grep -v '^warning: ' "$scratch/log"
  exit 1
fi
echo "evaluates: $(wc -l <"$scratch/names") outputs: $(cut -d' ' -f1 "$scratch/names" | sort | uniq -c |
  sed -E 's/ +([0-9]+) (.*)/\1 \2/' | paste -sd, | sed 's/,/, /g')"

must_fail 'a misspelt package' nix/flavour.nix 's/pkgs.onetbb/pkgs.onetbbb/'
must_fail 'a syntax error' nix/image.nix 's/^}$//'
must_fail 'an input that flake.lock does not know' flake.nix 's/nixos-unstable/nixos-25.11/'
must_fail 'a member without its folder' uv.lock 's,editable = "packages/ttt-core",editable = "packages/gone",'
must_fail 'a shell that is only documented' nix/benchmarks.nix 's/bench-burn = ours/bench-rust = ours/'

# A new member needs no change here: its folder and the lock are enough.
tree=$(copy)
mkdir "$tree/member"
printf '[project]\nname = "member"\n[project.scripts]\nmember-command = "member:main"\n' \
  >"$tree/member/pyproject.toml"
printf '\n[[package]]\nname = "member"\nversion = "1"\nsource = { editable = "member" }\n' >>"$tree/uv.lock"
git -C "$tree" add --all
list "$tree" apps 2>/dev/null | grep -qxF 'apps x86_64-linux member-command' ||
  { echo "nix/check.sh: the command of a new member does not become an app"; exit 1; }
echo "taken up: the command of a new member"
