#!/usr/bin/env bash
# compose-init.sh [DIR]: makes DIR (conf) with the keys, the certificate and the passwords that
# docker-compose.yml and docs/examples/cagenut.yaml name. What is there is kept. NetBox's token and
# the site worker's token are yours to add (docs/containers.md).
set -euo pipefail
umask 077
dir=${1:-conf}
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$dir/profiles"
new() { # name, command...: writes the command's output, unless the file is there
  local file=$dir/$1
  shift
  if [ ! -s "$file" ]; then "$@" >"$file.new" && mv "$file.new" "$file" && echo "made $file"; fi
}
database_url() { echo "postgres://cagenut:$(cat "$dir/postgres-password")@postgres:5432/cagenut"; }
new secrets.key openssl rand -base64 32
new audit.key openssl rand -base64 32
new postgres-password openssl rand -hex 16
new database-url database_url
new cagenut.yaml cat "$here/docs/examples/cagenut.yaml"
if [ ! -s "$dir/api.crt" ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=cagenut \
    -addext subjectAltName=DNS:serve,DNS:localhost,IP:127.0.0.1 -keyout "$dir/api.key" -out "$dir/api.crt" 2>/dev/null
  echo "made $dir/api.crt and api.key"
fi
# The image runs as this user, and refuses secrets that others may read.
if [ "$(id -u)" = 0 ]; then chown -R 65534:65534 "$dir"; else echo "now: sudo chown -R 65534:65534 $dir"; fi
