#!/usr/bin/env bash
# Makes the Python environment of ksvalidator (pykickstart from PyPI) once, in the cache, and
# prints its python and ksvalidator, a line each: the first runs the second, which names a python that
# was moved.
#
# Environment: PYTHON (a Python 3.12), XDG_CACHE_HOME.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
constraints=$here/kickstart-constraints.txt
venv=${XDG_CACHE_HOME:-$HOME/.cache}/cagenut/kickstart-$(sha256sum "$constraints" | cut -c 1-12)

fail() { echo "kickstart-venv.sh: $*" >&2; exit 1; }

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

if ! { [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import pykickstart.parser' 2>/dev/null; }; then
  python=$(find_python)
  build=$venv.$$
  rm -rf "$venv" "$build"
  mkdir -p "$(dirname "$venv")"
  "$python" -m venv "$build"
  "$build/bin/python" -m pip install -q --disable-pip-version-check --no-input -r "$constraints" >&2 ||
    fail "pip could not install pykickstart"
  mv -T "$build" "$venv"
fi
echo "$venv/bin/python"
echo "$venv/bin/ksvalidator"
