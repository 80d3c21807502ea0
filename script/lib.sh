# Sourced by the scripts beside it: strict mode, the root of the repository, and the words they share.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# A checkout that belongs to another user is usual in containers, and git (and go, which asks git) refuses it otherwise.
n=${GIT_CONFIG_COUNT:-0}
export "GIT_CONFIG_KEY_$n=safe.directory" "GIT_CONFIG_VALUE_$n=$root" GIT_CONFIG_COUNT=$((n + 1))

# In CI nothing is skipped for want of a program: the tests read this one variable.
if [ -n "${CI:-}" ]; then
  export WEBHOOK_REQUIRE_ALL=1
fi

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Tools, at the versions that the repository is checked with.
# shellcheck disable=SC2034
gofumpt=mvdan.cc/gofumpt@v0.12.0
# shellcheck disable=SC2034
staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Prints the directory of every module, the root's first.
modules() {
  echo .
  files '*/go.mod' | tr '\0' '\n' | sed -e '/testdata\//d' -e 's|/go\.mod$||' | sort
}

go_files() { files '*.go'; }

# Lists the files that match a pattern, new ones too, each followed by a NUL.
files() {
  git ls-files -z --cached --others --exclude-standard -- "$1" |
    while IFS= read -r -d '' file; do
      if [ -f "$file" ]; then printf '%s\0' "$file"; fi # what was deleted may still be in the index
    done
}

# Runs a command and shows what it wrote only if it failed.
quietly() {
  local out
  if ! out=$("$@" 2>&1); then
    printf '%s\n' "$out" >&2
    return 1
  fi
}

# Runs a command in every module, whether or not it failed in one before, and fails if it failed in any.
each_module() {
  local dir failed=0
  for dir in $(modules); do
    (cd "$dir" && "$@") || failed=1
  done
  return "$failed"
}
