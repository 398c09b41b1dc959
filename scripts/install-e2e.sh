#!/usr/bin/env bash
# Installs what `make e2e` needs from Debian, and only what is missing. Python environments are
# made by the tests that use them, in the cache.
set -euo pipefail
packages=(chromium docker-compose fonts-inter fonts-liberation2 gcc git iproute2 iputils-ping libc6-dev libpq-dev make openipmi ipmitool openssh-client openssh-server openssl postgresql redis-server xz-utils)
# The formats' own checkers, for what machines install from (test/e2e/templates).
packages+=(cloud-init dash debconf ifupdown netplan.io shellcheck)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing: ${missing[*]}"
  case " ${missing[*]} " in
  *' cloud-init '*) # for its checker alone: it shall not configure this machine at the next boot
    mkdir -p /etc/cloud
    touch /etc/cloud/cloud-init.disabled
    ;;
  esac
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
