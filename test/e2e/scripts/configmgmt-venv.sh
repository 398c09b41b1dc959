#!/usr/bin/env bash
# configmgmt-venv.sh salt|ansible: makes the Python environment of Salt (with salt-api's CherryPy) or of
# Ansible (ansible-core and ansible-runner) once, in the cache, and prints the folder of its programs.
#
# It is built under a temporary name and renamed when it is whole. The scripts in it name their own
# python, so that their first lines are set to the later name before.
#
# Environment: PYTHON (a Python 3.12), XDG_CACHE_HOME.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

fail() { echo "configmgmt-venv.sh: $*" >&2; exit 1; }

case ${1:-} in
salt) probe='import salt.version, cherrypy' program=salt-master ;;
ansible) probe='import ansible, ansible_runner' program=ansible-runner ;;
*) fail 'say salt or ansible' ;;
esac
constraints=$here/$1-constraints.txt
venv=${XDG_CACHE_HOME:-$HOME/.cache}/cagenut/$1-$(sha256sum "$constraints" | cut -c 1-12)

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

if ! { "$venv/bin/$program" --version && "$venv/bin/python" -c "$probe"; } >/dev/null 2>&1; then
  python=$(find_python)
  build=$venv.$$
  trap 'rm -rf "$build"' EXIT
  rm -rf "$venv" "$build"
  mkdir -p "$(dirname "$venv")"
  "$python" -m venv "$build"
  "$build/bin/python" -m pip install -q --disable-pip-version-check --no-input -r "$constraints" >&2 ||
    fail "pip could not install what $(basename "$constraints") names"
  grep -lIF -d skip "$build/" "$build"/bin/* | xargs sed -i "s|$build/|$venv/|"
  mv -T "$build" "$venv"
  trap - EXIT
fi
echo "$venv/bin"
