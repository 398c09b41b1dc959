#!/bin/sh
# The host of ipmi_sim's chassis_control: ipmi-chassis.sh DIR get|set PARAMETER [VALUE] ...
# DIR/power is 0 or 1, DIR/boot the boot device; DIR/log has a line for each change.
dir=$1 op=$2
shift 2
case $op in
get)
  for parameter in "$@"; do
    case $parameter in
    power) echo "power:$(cat "$dir/power" 2>/dev/null || echo 0)" ;;
    boot) echo "boot:$(cat "$dir/boot" 2>/dev/null || echo default)" ;;
    *) echo "unknown parameter $parameter" >&2; exit 1 ;;
    esac
  done
  ;;
set)
  echo "$*" >>"$dir/log"
  while [ $# -ge 2 ]; do
    case $1 in
    power | boot) echo "$2" >"$dir/$1" ;;
    shutdown) echo 0 >"$dir/power" ;;
    reset | identify) ;;
    *) echo "unknown parameter $1" >&2; exit 1 ;;
    esac
    shift 2
  done
  ;;
*) exit 1 ;;
esac
