#!/usr/bin/env bash
# Puts what `make e2e` takes from PyPI into the cache, before anything is compiled: pip beside a
# compiler takes three times as long. The tests would do it themselves, later.
set -euo pipefail
cd "$(dirname "$0")/../test/e2e"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
scripts/netbox-up.sh "$scratch" fetch
scripts/sushy-venv.sh
scripts/kickstart-venv.sh
scripts/configmgmt-venv.sh salt
scripts/configmgmt-venv.sh ansible
validator/setup.sh
