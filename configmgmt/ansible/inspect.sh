# What a host tells of itself. It is sent to a shell over SSH, with one line for each question behind it,
# and answers in lines: a word, then values. It changes nothing.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

cannot() { printf 'cannot %s\n' "$*"; }

clock() { printf 'clock %s\n' "$(date +%s.%N)"; }

# shellcheck disable=SC1091 # the host's own
system() {
  if [ -r /etc/os-release ]; then
    (. /etc/os-release && printf 'os %s %s\n' "$ID" "${VERSION_ID:-}")
  else
    cannot 'read /etc/os-release'
  fi
  printf 'kernel %s\n' "$(uname -r)"
}

# service NUMBER NAME
service_() {
  if [ -d /run/systemd/system ]; then
    printf 'service %s %s\n' "$1" "$(systemctl is-active -- "$2")"
  elif ! command -v service >/dev/null; then
    cannot "tell whether $2 runs: neither systemd nor the program service is there"
  elif service "${2%.service}" status >/dev/null 2>&1; then
    printf 'service %s active\n' "$1"
  else
    printf 'service %s not active\n' "$1"
  fi
}

# What has no size, such as /proc, is left out, and what this account may not see.
mounts() {
  while read -r _ path type _; do
    size=$(stat -f -c '%b %a %S' "$(printf '%b' "$path")" 2>/dev/null) && [ "${size%% *}" != 0 ] &&
      printf 'mount %s %s %s\n' "$type" "${size#* }" "$path"
  done </proc/self/mounts
}

links() {
  if command -v ip >/dev/null; then
    ip -o link | sed 's/^/link /'
    ip -o addr | sed 's/^/addr /'
  else
    cannot 'list network links: install iproute2'
  fi
}

# reach ADDRESS: one answer of three is enough. Code 1 is silence, 2 is that nothing could be sent.
reach() {
  words=$(ping -c 3 -W 2 "$1" 2>&1)
  code=$?
  case "$code $words" in
  0\ *) printf 'reach %s yes\n' "$1" ;;
  2\ *'not permitted'*) cannot "ping $1: this account may not; set become, or net.ipv4.ping_group_range on the host" ;;
  [12]\ *) printf 'reach %s no\n' "$1" ;;
  *) cannot "ping $1: install iputils-ping" ;;
  esac
}
