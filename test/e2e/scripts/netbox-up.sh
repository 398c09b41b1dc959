#!/usr/bin/env bash
# A real NetBox for the end-to-end tests: NetBox from PyPI over a private PostgreSQL and Redis,
# without Docker and without a system service.
#
#   netbox-up.sh DIR [up]    start it; what is there already is reused. Prints the path of DIR/env
#   netbox-up.sh DIR fetch   only put what it downloads into the cache
#   netbox-up.sh DIR reset   empty the database again, while it runs (a second)
#   netbox-up.sh DIR stop    stop the processes that up recorded, by PID
#
# DIR/env holds NETBOX_URL, NETBOX_TOKEN (superuser, v2), NETBOX_TOKEN_V1, NETBOX_CAGENUT_TOKEN (the
# service account, whose permissions our own Setup made) and NETBOX_ROOT, NETBOX_PYTHON for scripts
# that need Django.
#
# Environment: PYTHON (a Python 3.12), PGBIN, XDG_CACHE_HOME, CAGENUT_SHARED (its netbox/ folder
# saves the 8 minutes of migrations), NETBOX_RQWORKER=1 (deliver webhooks), NETBOX_WORKERS.
# All credentials here are test-only, and everything listens on loopback or on a socket in DIR.
set -euo pipefail

dir=$(realpath -m "${1:?usage: netbox-up.sh DIR [up|fetch|reset|stop]}")
command=${2:-up}
here=$(cd "$(dirname "$0")" && pwd)
constraints=$here/netbox-constraints.txt
version=$(sed -n 's/^netbox==//p' "$constraints")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cagenut
pgbin=${PGBIN:-$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)}
venv=$cache/netbox-$version-$(sha256sum "$constraints" | cut -c 1-12)
redis=$cache/redis
run=$dir/run
export NETBOX_ROOT=$dir/nb
key=testkey00001
secret=$(printf 'a%.0s' {1..40})
token=nbt_$key.$secret
token_v1=$(printf '0%.0s' {1..40})

fail() { echo "netbox-up.sh: $*" >&2; exit 1; }

# PostgreSQL refuses to run as root: it gets a user without a name and without rights.
unprivileged() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi
}
sql() { # DATABASE ARGUMENTS...
  local database=$1; shift
  PGOPTIONS='-c client_min_messages=warning' "$pgbin/psql" -h "$dir/pg" -p 5432 -U postgres -d "$database" -qAt -v ON_ERROR_STOP=1 "$@"
}

# alive NAME WORD: the process in run/NAME.pid exists and its command line holds WORD, so that a PID
# that belongs to somebody else by now is not taken for ours.
alive() {
  local pid
  pid=$(head -n 1 "$run/$1.pid" 2>/dev/null) || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- "$2"; } 2>/dev/null
}
end() { # NAME WORD
  alive "$1" "$2" || return 0
  local pid; pid=$(head -n 1 "$run/$1.pid")
  kill "$pid"
  for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
}
started=$SECONDS
say() { printf 'netbox: %-40s %4d s\n' "$*" $((SECONDS - started)) >&2; }

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

# settle BUILD FINAL: put a finished folder of the cache in its place. Somebody else may have been
# faster; what they built is the same.
settle() { mv -T "$1" "$2" 2>/dev/null || { [ -d "$2" ] && rm -rf "$1"; }; }

# The virtual environment is built under a temporary name and renamed when it is whole. Its scripts
# are called through its python, since their first lines keep the temporary name.
make_venv() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import netbox' 2>/dev/null && return
  local python build; python=$(find_python); build=$venv.$$
  rm -rf "$venv" "$build"; mkdir -p "$cache"
  "$python" -m venv "$build"
  "$build/bin/python" -m pip install -q --disable-pip-version-check --no-input -r "$constraints" >&2 ||
    fail "pip could not install NetBox $version; psycopg-c needs gcc and libpq-dev"
  settle "$build" "$venv"
  say "NetBox $version installed"
}

# Redis comes from PATH, else from its Debian packages, unpacked and not installed.
make_redis() {
  redis_bin=$(command -v redis-server || true)
  [ -n "$redis_bin" ] && { redis_lib=; return; }
  redis_bin=$redis/usr/bin/redis-server
  if ! [ -e "$redis_bin" ]; then
    local build=$redis.$$; mkdir -p "$build"
    (cd "$build" && apt-get -qq update && apt-get -qq download redis-server redis-tools libjemalloc2 liblzf1 \
      libhiredis0.14 liblua5.1-0 lua-bitop lua-cjson && for deb in *.deb; do dpkg -x "$deb" .; done) >&2 ||
      fail "cannot fetch Redis from Debian: install redis-server, or make apt-get work"
    settle "$build" "$redis"
    say "Redis unpacked"
  fi
  redis_lib=$(find "$redis" -name '*.so*' -printf '%h\n' | sort -u | paste -s -d :)
}

start_stores() {
  if ! alive pg postgres; then
    rm -f "$run/pg.pid"
    if ! [ -e "$dir/pg/data/PG_VERSION" ]; then
      mkdir -p "$dir/pg"; [ "$(id -u)" != 0 ] || chown 65534:65534 "$dir/pg"
      unprivileged test -w "$dir/pg" || fail "$dir: PostgreSQL runs as uid 65534 and cannot reach it; choose a DIR under \${TMPDIR:-/tmp}"
      (cd "$dir/pg" && unprivileged "$pgbin/initdb" -N -D "$dir/pg/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8) >"$run/initdb.log" 2>&1 ||
        fail "initdb: $(tail -n 3 "$run/initdb.log")"
    fi
    # fsync=off: a database that is thrown away.
    (cd "$dir/pg" && unprivileged "$pgbin/pg_ctl" -w -D "$dir/pg/data" -l "$dir/pg/log" start -o \
      "-c unix_socket_directories='$dir/pg' -c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off") >/dev/null ||
      fail "PostgreSQL: $(tail -n 3 "$dir/pg/log")"
    cp "$dir/pg/data/postmaster.pid" "$run/pg.pid"
  fi
  if ! alive redis redis-server; then
    for _ in 1 2 3; do # a free port may be taken before Redis binds it
      redis_port=$("$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
      LD_LIBRARY_PATH=$redis_lib setsid "$redis_bin" --port "$redis_port" --bind 127.0.0.1 --save "" --appendonly no \
        --dir "$run" --daemonize yes --pidfile "$run/redis.pid" --logfile "$run/redis.log" >/dev/null
      for _ in $(seq 50); do alive redis redis-server && break 2; sleep 0.1; done
    done
    alive redis redis-server || fail "Redis: $(tail -n 3 "$run/redis.log")"
    echo "$redis_port" >"$run/redis.port"
  fi
  redis_port=$(cat "$run/redis.port")
}

configure() {
  [ -d "$NETBOX_ROOT/conf" ] || "$venv/bin/python" "$venv/bin/netbox" setup --target "$NETBOX_ROOT" >"$run/setup.log"
  cat >"$NETBOX_ROOT/conf/configuration.py" <<PYTHON
ALLOWED_HOSTS = ['127.0.0.1', 'localhost']
DATABASES = {'default': {
    'ENGINE': 'django.db.backends.postgresql', 'NAME': 'netbox', 'USER': 'netbox', 'PASSWORD': '',
    'HOST': '$dir/pg', 'PORT': '5432', 'CONN_MAX_AGE': 0,  # 0: reset replaces the database under it
}}
_redis = {'HOST': '127.0.0.1', 'PORT': $redis_port, 'USERNAME': '', 'PASSWORD': '', 'SSL': False}
REDIS = {'tasks': {**_redis, 'DATABASE': 0}, 'caching': {**_redis, 'DATABASE': 1}}
SECRET_KEY = 'test-only-' + 's' * 50
API_TOKEN_PEPPERS = {1: 'test-only-' + 'p' * 50}
CENSUS_REPORTING_ENABLED = False
RELEASE_CHECK_URL = None
PYTHON
}

manage() { (cd "$NETBOX_ROOT" && "$venv/bin/python" "$venv/bin/netbox" "$@"); }

has_database() { [ -n "$(sql postgres -c "select 1 from pg_database where datname = '$1'")" ]; }
from_template() { sql postgres -c "drop database if exists netbox with (force)" -c "create database netbox template netbox_template owner netbox"; }

# The database is complete when its template exists: an interrupted start begins again from nothing.
make_database() {
  if has_database netbox_template; then
    has_database netbox || from_template # a reset was interrupted
    return
  fi
  sql postgres -c "drop database if exists netbox with (force)"
  [ -n "$(sql postgres -c "select 1 from pg_roles where rolname = 'netbox'")" ] || sql postgres -c "create role netbox login createdb"
  sql postgres -c "create database netbox owner netbox"
  local seed=${CAGENUT_SHARED:-}/netbox/seed-$version.sql.gz
  if [ -s "$seed" ]; then
    zcat "$seed" | sql netbox >/dev/null
    say "database loaded from the seed"
  else
    sql netbox -c "create extension if not exists ltree"
    manage upgrade --no-input >"$run/upgrade.log" 2>&1 || fail "migrations: $(tail -n 5 "$run/upgrade.log")"
    manage nbshell --skip-checks -c "
from users.models import Token, User
u = User.objects.create_superuser('admin', 'admin@example.com', 'admin')
for t in (Token(user=u, version=2, key='$key', token='$secret'), Token(user=u, version=1, token='$token_v1')):
    t.full_clean(); t.save()
" >"$run/token.log" 2>&1 || fail "tokens: $(tail -n 5 "$run/token.log")"
    say "database migrated"
  fi
}

answer() { curl -sf -m 60 -o /dev/null -H "Authorization: Bearer $token" "$url/api/status/"; }

start_netbox() {
  if ! alive gunicorn gunicorn; then
    : >"$run/gunicorn.log"
    (cd "$NETBOX_ROOT" && exec setsid "$venv/bin/python" "$venv/bin/gunicorn" --no-control-socket --preload \
      --pid "$run/gunicorn.pid" -b 127.0.0.1:0 -w "${NETBOX_WORKERS:-2}" --threads 4 --timeout 300 \
      --graceful-timeout 2 netbox.wsgi) >"$run/gunicorn.log" 2>&1 </dev/null &
    for _ in $(seq 600); do grep -q 'Listening at' "$run/gunicorn.log" && alive gunicorn gunicorn && break; sleep 0.1; done
  fi
  url=$(sed -n 's/.*Listening at: \(http[^ ]*\).*/\1/p' "$run/gunicorn.log" | tail -n 1)
  for _ in $(seq 300); do [ -n "$url" ] && answer && return; sleep 0.2; done
  fail "NetBox does not answer: $(tail -n 5 "$run/gunicorn.log")"
}

start_worker() {
  [ "${NETBOX_RQWORKER:-0}" = 1 ] || return 0
  alive rqworker rqworker && return
  (cd "$NETBOX_ROOT" && exec setsid "$venv/bin/python" "$venv/bin/netbox" rqworker high default low) >"$run/rqworker.log" 2>&1 </dev/null &
  echo $! >"$run/rqworker.pid"
  for _ in $(seq 300); do
    curl -sf -H "Authorization: Bearer $token" "$url/api/status/" | grep -q '"rq-workers-running":1' && return
    sleep 0.2
  done
  fail "the worker did not register: $(tail -n 5 "$run/rqworker.log")"
}

# The service account: made through NetBox's API, its permissions by our own Setup. Then the
# database as it stands becomes the template that reset copies.
make_account() {
  if ! [ -s "$run/cagenut.token" ] || ! has_database netbox_template; then
    (cd "$here" && NETBOX_URL=$url NETBOX_TOKEN=$token go run ./netboxaccount) >"$run/cagenut.token.new" ||
      fail "the service account cagenut could not be made"
    mv "$run/cagenut.token.new" "$run/cagenut.token"
    sql postgres -c "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'netbox' and pid <> pg_backend_pid()" >/dev/null
    sql postgres -c "drop database if exists netbox_template" -c "create database netbox_template template netbox owner netbox"
    say "service account made by Setup"
  fi
}

# In a function, so that bash has read all of this file before it begins.
main() {
  case $command in
  stop)
    end gunicorn gunicorn; end rqworker rqworker; end redis redis-server
    if alive pg postgres; then unprivileged "$pgbin/pg_ctl" -D "$dir/pg/data" -m fast stop >/dev/null; fi
    return ;;
  reset)
    alive gunicorn gunicorn || fail "$dir: NetBox does not run; call netbox-up.sh $dir up first"
    from_template
    return ;;
  fetch)
    make_venv; make_redis
    return ;;
  up) ;;
  *) fail "unknown command $command: want up, fetch, reset or stop" ;;
  esac

  [ -x "$pgbin/initdb" ] || fail "no PostgreSQL server binaries: install Debian's postgresql package or set PGBIN"
  mkdir -p "$run"; chmod 711 "$dir"
  make_venv
  make_redis
  start_stores
  configure
  make_database
  start_netbox
  start_worker
  say "NetBox $version answers at $url"
  make_account
  cat >"$dir/env.new" <<ENV
NETBOX_URL=$url
NETBOX_TOKEN=$token
NETBOX_TOKEN_V1=$token_v1
NETBOX_CAGENUT_TOKEN=$(cat "$run/cagenut.token")
NETBOX_ROOT=$NETBOX_ROOT
NETBOX_PYTHON=$venv/bin/python
ENV
  chmod 600 "$dir/env.new"; mv "$dir/env.new" "$dir/env"
  echo "$dir/env"
}
main; exit
