#!/bin/sh
# Runs PostgreSQL from the official image, or from any image that has its distribution's server.
set -eu

for directory in /usr/lib/postgresql/*/bin; do
  if [ -d "$directory" ]; then PATH="$directory:$PATH"; fi
done

execute() { # data directory, one statement: without a server that others could reach
  printf '%s\n' "$2" | postgres --single -D "$1" -c exit_on_error=on \
    -c log_min_messages=fatal -c log_min_error_statement=panic postgres >/dev/null
}

action="$1"
shift
case "$action" in
  ready) exec pg_isready -q -h /tmp -U metricwatch -d metricwatch ;;
  # Kubernetes sends SIGTERM, which waits for every client to leave; this does not.
  stop) exec pg_ctl stop -D "$PGDATA" -m fast ;;
  run) ;;
  *) echo "usage: $0 run|ready|stop" >&2; exit 2 ;;
esac

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Elsewhere first: what an interruption leaves must not look like a database.
  rm -rf "$PGDATA.new"
  initdb -D "$PGDATA.new" -U postgres --encoding=UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256
  echo "host all all all scram-sha-256" >>"$PGDATA.new/pg_hba.conf"
  execute "$PGDATA.new" "CREATE ROLE metricwatch LOGIN;"
  execute "$PGDATA.new" "CREATE DATABASE metricwatch OWNER metricwatch;"
  mv "$PGDATA.new" "$PGDATA"
fi
# A killed container leaves it behind; nothing else can be running on this volume.
rm -f "$PGDATA/postmaster.pid"

# At every start, so that old data and a Secret made anew agree about the password.
execute "$PGDATA" "ALTER ROLE metricwatch PASSWORD '$(cat "$PASSWORD_FILE")';"

exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
