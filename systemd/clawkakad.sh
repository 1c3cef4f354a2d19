#!/bin/sh
# The command `clawkakad` where it is a service too: with the service's settings, as far as whoever calls may read them.
# What the environment sets already counts more. The settings are read as systemd reads them, never run: a value such as
# "+49 151 2345678, +49 160 1234567" is no shell.
SETTINGS=/etc/clawkakad/clawkakad.env
SECRETS=/etc/clawkakad/secrets

trim() { # into $trimmed, without the blanks around it
  trimmed=${1#"${1%%[![:space:]]*}"}
  trimmed=${trimmed%"${trimmed##*[![:space:]]}"}
}

if [ -r "$SETTINGS" ]; then
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in *=*) ;; *) continue ;; esac
    trim "${line%%=*}"
    name=$trimmed
    trim "${line#*=}"
    value=$trimmed
    case $name in "" | [0-9]* | *[!A-Za-z0-9_]*) continue ;; esac
    case $value in
      \"*\" | \'*\') value=${value#?} value=${value%?} ;;
    esac
    printenv "$name" > /dev/null || export "$name=$value"
  done < "$SETTINGS"
fi
if [ -z "${CREDENTIALS_DIRECTORY:-}" ] && [ -r "$SECRETS" ] && [ -x "$SECRETS" ]; then
  export CREDENTIALS_DIRECTORY="$SECRETS"
fi
exec /opt/clawkakad/.venv/bin/clawkakad "$@"
