# Answers questions about the host that it runs on, and changes nothing: mounts, links, service:UNIT, reach:ADDRESS.
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH

needs() {
  command -v "$1" >/dev/null 2>&1 && return
  printf '== missing\n%s\n' "$1"
  exit 0
}

# shellcheck disable=SC1091 # the host's own
printf '== os\n%s\n' "$(. /etc/os-release && printf '%s %s' "$ID" "${VERSION_ID:-}")"
printf '== kernel\n%s\n' "$(uname -r)"
for question; do
  what=${question#*:}
  case $question in
  mounts)
    printf '== mounts\n'
    cat /proc/mounts
    printf '== df\n'
    df -P -k 2>/dev/null
    ;;
  links)
    needs ip
    printf '== links\n'
    for link in /sys/class/net/*; do
      [ ! -r "$link/flags" ] || printf '%s %s %s\n' "${link##*/}" "$(cat "$link/flags")" "$(cat "$link/address")"
    done
    printf '== addresses\n'
    ip -o addr show
    ;;
  service:*)
    printf '== %s\n' "$question"
    if [ -d /run/systemd/system ]; then
      systemctl is-active -- "$what" || :
    elif service "${what%.service}" status >/dev/null 2>&1; then
      echo active
    else
      echo 'not running'
    fi
    ;;
  reach:*)
    needs ping
    printf '== %s\n' "$question"
    if ping -c 1 -W 2 "$what" >/dev/null 2>&1; then echo yes; else echo no; fi
    ;;
  esac
done
printf '== end\n'
