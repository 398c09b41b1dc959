#!/usr/bin/env bash
# fuzz.sh TIME: runs every fuzz target for TIME.
set -euo pipefail
cd "$(dirname "$0")/.."
found=0
while IFS=: read -r file target; do
  found=1
  echo "== $file $target"
  go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-20s}" "./$(dirname "$file")"
done < <(git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
[ "$found" = 1 ] || { echo 'no fuzz target found' >&2; exit 1; }
