#!/usr/bin/env bash
# tool.sh NAME PACKAGE VERSION: builds a Go tool once and prints where it is. Tools never stand in
# go.mod: their dependencies would raise ours. The cache is keyed by version and Go version; a
# broken or missing entry is built again.
set -euo pipefail
name=$1 package=$2 version=$3
dir=${XDG_CACHE_HOME:-$HOME/.cache}/cagenut/tools/$name-$version-$(go env GOVERSION)
if [ ! -x "$dir/$name" ]; then
  mkdir -p "$(dirname "$dir")"
  tmp=$(mktemp -d "$(dirname "$dir")/.$name.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  echo "building $name $version" >&2
  GOBIN=$tmp GOFLAGS= go install "$package@$version" >&2
  rm -rf "$dir"
  mv "$tmp" "$dir"
  trap - EXIT
fi
echo "$dir/$name"
