#!/bin/sh
# Write .env for compose.yaml: passwords that exist nowhere else. An .env that is there is left alone.
set -eu
cd "$(dirname "$0")/../.."
if [ -e .env ]; then
  echo ".env is there already: nothing written" >&2
  exit 0
fi
umask 077
for name in POSTGRES_PASSWORD OWNER_PASSWORD ROLE_PASSWORD NATS_HUB_PASSWORD NATS_CLIENT_PASSWORD NATS_ROUTE_PASSWORD; do
  # A letter first: nats-server reads a value like 12e34 as a number.
  printf '%s=p%s\n' "$name" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"
done > .env.new
mv .env.new .env
