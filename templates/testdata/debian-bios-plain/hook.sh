#!/bin/sh
# Cagenut: reports the stages of the install of srv-101 (op_01JCAGENUT0000000000000000), and finishes the
# installed system. It holds a one-time URL, and removes itself when the system is up.
# Usage: hook.sh early|disks|partitioned|installed|first-boot, or hook.sh failed REASON
set -eu
base='http://boot.ams01.example.net:8080/install/Zk3vT9sQ1xW7yB5nM2pL8a'
boot_mac='02:00:00:00:65:01'
disks='/dev/disk/by-id/ata-Contoso_SSD_480_S1A'
root=/target
ca=

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
  [ ! -d /sys/firmware/efi ] || fail "booted with UEFI, where the profile asks for BIOS"
  grep -qix "$boot_mac" /sys/class/net/*/address || fail "no port has the MAC $boot_mac: this is another machine"
  for disk in $disks; do
    [ -b "$disk" ] || fail "disk $disk is not here"
  done
  report early </dev/null
  mkdir -p /usr/lib/base-installer.d
  printf '#!/bin/sh\nsh /tmp/cagenut.sh partitioned\n' >/usr/lib/base-installer.d/05cagenut
  chmod 0755 /usr/lib/base-installer.d/05cagenut
}

# The installer knows disks by the kernel's names, which hold for this boot only.
name_disks() {
  names=
  for disk in $disks; do
    [ -b "$disk" ] || fail "disk $disk is not here"
    name=$(readlink -f "$disk")
    names="$names${names:+ }$name"
  done
  debconf-set partman-auto/disk "$names"
  debconf-set grub-installer/bootdev "$names"
}

# put MODE PATH: writes a file of the installed system from standard input.
put() {
  mkdir -p "$root$(dirname "$2")"
  cat >"$root$2"
  chmod "$1" "$root$2"
}

installed() {
  printf '%s\n' 'srv-101' | put 0644 /etc/hostname
  rm -f /usr/lib/finish-install.d/55netcfg-copy-config # it would put the installer's network back
  printf '%s' '[Match]
PermanentMACAddress=02:00:00:00:65:01

[Link]
Name=eno1
' | put 0644 '/etc/systemd/network/10-eno1.link'
  printf '%s' 'auto lo
iface lo inet loopback

auto eno1
iface eno1 inet static
    address 198.51.100.101/24
    gateway 198.51.100.1
    dns-nameservers 192.0.2.53
    dns-search ams01.example.net
' | put 0644 '/etc/network/interfaces'
  mkdir -p "$root/root/.ssh"
  chmod 0700 "$root/root/.ssh"
  printf '%s\n' 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH0Xq2Hq1b3fJc9nLr3q0mPp8bRz1s7d1Zb3Xy6lT4aK ops@example.net' | put 0600 /root/.ssh/authorized_keys
  printf '[Time]\nNTP=%s\n' '192.0.2.10 ntp2.ams01.example.net' | put 0644 /etc/systemd/timesyncd.conf.d/cagenut.conf
  put 0700 /usr/local/sbin/cagenut-hook <"$0"
  printf '%s\n' \
    '[Unit]' 'Description=Report the first boot to Cagenut' 'Wants=network-online.target' 'After=network-online.target ssh.service sshd.service' \
    'ConditionPathExists=/usr/local/sbin/cagenut-hook' '' \
    '[Service]' 'Type=oneshot' 'ExecStart=/bin/sh /usr/local/sbin/cagenut-hook first-boot' 'Restart=on-failure' 'RestartSec=30' '' \
    '[Install]' 'WantedBy=multi-user.target' | put 0644 /etc/systemd/system/cagenut-first-boot.service
  mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
  ln -sf ../cagenut-first-boot.service "$root/etc/systemd/system/multi-user.target.wants/cagenut-first-boot.service"
  report installed </dev/null
}

first_boot() {
  {
    for key in /etc/ssh/ssh_host_*_key.pub; do
      [ ! -r "$key" ] || printf 'ssh_host_key=%s\n' "$(cut -d ' ' -f 1,2 "$key")"
    done
    # shellcheck disable=SC1091 # the system's own
    printf 'os=%s\n' "$(. /etc/os-release && printf '%s %s' "$ID" "${VERSION_ID:-}")"
  } | report first-boot
  rm -f /etc/systemd/system/cagenut-first-boot.service /etc/systemd/system/multi-user.target.wants/cagenut-first-boot.service /usr/local/sbin/cagenut-hook
}

case ${1:-} in
early) early ;;
disks) name_disks ;;
partitioned) report partitioned </dev/null ;;
installed) installed ;;
first-boot) first_boot ;;
failed) fail "${2:-no reason given}" ;;
*)
  printf 'cagenut: unknown stage %s\n' "${1:-}" >&2
  exit 2
  ;;
esac
