#!/usr/bin/env bash
# agent.sh OUT AGENT [CA]: writes OUT/vmlinuz and OUT/initrd.img, what machines boot for the agent in RAM:
# Debian's kernel, and the program AGENT as its first process. CA is a file in PEM that the boot service
# is known by. KERNEL names the kernel's package; by default it is what linux-image-amd64 asks for now.
# The same package and program give the same bytes. Needs apt-get and dpkg-deb, and no root.
set -euo pipefail
out=$1 agent=$2 ca=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
kernel=${KERNEL:-$(apt-cache depends --no-recommends --no-suggests linux-image-amd64 | awk '/Depends: linux-image-[0-9]/ {print $2; exit}')}
: "${kernel:?no package: run apt-get update, or set KERNEL}"
version=$(apt-cache policy "$kernel" | awk '/Candidate:/ {print $2}')
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cagenut/kernel/$kernel-${version//[:\/]/_}
if [ ! -f "$cache/package" ]; then
  mkdir -p "$(dirname "$cache")"
  tmp=$(mktemp -d "$(dirname "$cache")/.kernel.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  (cd "$tmp" && apt-get download -qq "$kernel=$version" >&2)
  deb=$(ls "$tmp"/*.deb)
  dpkg-deb -x "$deb" "$tmp"
  echo "$kernel $version $(sha256sum <"$deb" | cut -d' ' -f1)" >"$tmp/package"
  rm -rf "$deb" "$cache"
  mv "$tmp" "$cache"
  trap - EXIT
fi
release=${kernel#linux-image-}
mkdir -p "$out"
cp "$cache/boot/vmlinuz-$release" "$out/vmlinuz"
chmod 644 "$out/vmlinuz"
(cd "$here/.." && go run ./internal/agent/initrd -init "$(realpath "$agent")" -modules "$cache/lib/modules/$release" \
  -list scripts/agent-modules.txt -ca "${ca:+$(realpath "$ca")}" -out "$(realpath "$out")/initrd.img")
cp "$cache/package" "$out/kernel.txt"
(cd "$out" && sha256sum vmlinuz initrd.img | tee SHA256SUMS)
