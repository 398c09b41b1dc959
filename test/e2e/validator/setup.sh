#!/usr/bin/env bash
# Makes what DMTF's service validator needs, once, in the cache: its Python environment and the
# unpacked CSDL schemas. Prints the path of the validator and of the schemas, a line each.
#
# Environment: PYTHON (a Python 3.12), XDG_CACHE_HOME, CAGENUT_SHARED (holds redfish-csdl/).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cagenut
archive=${CAGENUT_SHARED:-$here/../../../../shared}/redfish-csdl/csdl.tar.xz
mkdir -p "$cache"

fail() { echo "validator/setup.sh: $*" >&2; exit 1; }
key() { sha256sum "$1" | cut -c 1-12; }

[ -f "$archive" ] || fail "no schemas at $archive: set CAGENUT_SHARED to the folder that holds redfish-csdl/"
venv=$cache/redfish-validator-$(key "$here/constraints.txt")
csdl=$cache/redfish-csdl-$(key "$archive")

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.12 "$(pyenv prefix 3.12 2>/dev/null || true)/bin/python3.12" \
    "$(pyenv root 2>/dev/null || true)"/versions/3.12*/bin/python3.12; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null; then
      echo "$candidate"; return
    fi
  done
  fail "no Python 3.12: set PYTHON to one, put python3.12 on PATH, or install it with pyenv"
}

if ! { [ -x "$venv/bin/rf_service_validator" ] && "$venv/bin/python" -c 'import redfish_service_validator' 2>/dev/null; }; then
  python=$(find_python)
  # A venv cannot be moved: its scripts name its own python. Building it in place is safe because a
  # half-built one fails the check above and is built anew.
  rm -rf "$venv"
  "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-input -r "$here/constraints.txt" >&2 ||
    fail "pip could not install redfish_service_validator"
fi
if [ "$(find "$csdl" -name '*_v1.xml' 2>/dev/null | head -n 100 | wc -l)" -lt 100 ]; then
  rm -rf "$csdl" "$csdl.$$"
  "$venv/bin/python" -m tarfile -e "$archive" "$csdl.$$"
  mv -T "$csdl.$$" "$csdl"
fi
echo "$venv/bin/rf_service_validator"
echo "$csdl/csdl"
