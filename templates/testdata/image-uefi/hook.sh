#!/bin/sh
# Cagenut: reports the stages of the install of db1 (op_01JCAGENUT0000000000000000), and finishes the
# installed system. It holds a one-time URL, and removes itself when the system is up.
# Usage: hook.sh early|disks|partitioned|installed|first-boot, or hook.sh failed REASON
set -eu
base='http://boot.ams01.example.net:8080/install/Zk3vT9sQ1xW7yB5nM2pL8a'
boot_mac='02:00:00:00:65:01'
disks='/dev/disk/by-id/ata-Contoso_SSD_480_S1A'
root=
ca=
ca=/run/cagenut-ca.pem
[ -d /run ] || ca=/tmp/cagenut-ca.pem
printf '%s' '-----BEGIN CERTIFICATE-----
MIIBVTCB/aADAgECAgEBMAoGCCqGSM49BAMCMBYxFDASBgNVBAMMC3NhbXBsZSBv
bmx5MB4XDTI2MDEwMTAwMDAwMFoXDTM2MDEwMTAwMDAwMFowFjEUMBIGA1UEAwwL
-----END CERTIFICATE-----
' >"$ca"

# post URL FILE: sends a file with whichever client there is.
post() {
  if command -v curl >/dev/null 2>&1; then
    curl -fsS ${ca:+--cacert "$ca"} --max-time 20 -o /dev/null -H 'Content-Type: text/plain' --data-binary "@$2" "$1"
  else # Debian's installer has busybox's wget, or GNU's
    wget -q ${ca:+--ca-certificate="$ca"} -T 20 -O /dev/null --post-data="$(cat "$2")" "$1"
  fi
}

# facts lists what proves which machine this is.
facts() {
  for id in product_serial product_uuid board_serial; do
    [ ! -r "/sys/class/dmi/id/$id" ] || printf '%s=%s\n' "$id" "$(head -n 1 "/sys/class/dmi/id/$id")"
  done
  for nic in /sys/class/net/*; do
    [ ! -e "$nic/device" ] || printf 'mac=%s\n' "$(cat "$nic/address")"
  done
  printf 'kernel=%s\n' "$(uname -r)"
}

# report STAGE: sends the facts and what is on standard input; tries for about five minutes.
report() {
  body=$(mktemp)
  { printf 'stage=%s\n' "$1"; facts; cat; } >"$body"
  tries=0
  until post "$base/stage/$1" "$body"; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
      rm -f "$body"
      return 1
    fi
    sleep 5
  done
  rm -f "$body"
}

fail() {
  printf 'cagenut: %s\n' "$*" >&2
  printf 'reason=%s' "$*" | tr '\n' ' ' | report failed || true
  exit 1
}

# Nothing is overwritten on a machine that is another than was meant.
early() {
  [ -d /sys/firmware/efi ] || fail "booted without UEFI, which the profile asks for"
  grep -qix "$boot_mac" /sys/class/net/*/address || fail "no port has the MAC $boot_mac: this is another machine"
  for disk in $disks; do
    [ -b "$disk" ] || fail "disk $disk is not here"
  done
  report early </dev/null
}

# put MODE PATH: writes a file of the installed system from standard input.
put() {
  mkdir -p "$root$(dirname "$2")"
  cat >"$root$2"
  chmod "$1" "$root$2"
}

installed() {
  printf '%s\n' 'db1' | put 0644 /etc/hostname
  printf '%s\n' 'master:' '  - "salt.ams01.example.net"' 'id: "db1.ams01.example.net"' \
    'master_finger: "3f:0a:5c:11:8e:72:9d:40:b6:13:57:aa:02:cc:91:7e:64:f8:25:0b:d3:49:8c:16:e0:75:3a:bd:52:07:c9:1f"' | put 0644 /etc/salt/minion.d/cagenut.conf
  report installed </dev/null
}

first_boot() {
  pub=/etc/salt/pki/minion/minion.pub
  systemctl enable --now salt-minion.service
  tries=0
  until [ -s "$pub" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || fail "the Salt minion made no key"
    sleep 2
  done
  {
    for key in /etc/ssh/ssh_host_*_key.pub; do
      [ ! -r "$key" ] || printf 'ssh_host_key=%s\n' "$(cut -d ' ' -f 1,2 "$key")"
    done
    # shellcheck disable=SC1091 # the system's own
    printf 'os=%s\n' "$(. /etc/os-release && printf '%s %s' "$ID" "${VERSION_ID:-}")"
    # As the minion says it: the master hashes the whole file, and gets another.
    printf 'salt_minion_fingerprint=%s\n' "$(sed -e '/^-----/d' -e '/^$/d' "$pub" | sha256sum | cut -d ' ' -f 1)"
  } | report first-boot
  rm -f /etc/systemd/system/cagenut-first-boot.service /etc/systemd/system/multi-user.target.wants/cagenut-first-boot.service /usr/local/sbin/cagenut-hook
}

case ${1:-} in
early) early ;;
partitioned) report partitioned </dev/null ;;
installed) installed ;;
first-boot) first_boot ;;
failed) fail "${2:-no reason given}" ;;
*)
  printf 'cagenut: unknown stage %s\n' "${1:-}" >&2
  exit 2
  ;;
esac
