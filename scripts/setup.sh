# Sourced by the other scripts (bash): makes this machine ready, one thing a function. Each says in a line what it does
# before it takes time, does nothing when it is done already, and refuses with a line that says what to do instead.
#
#   answer_help "$@"         -h or --help: the script's head comment, and nothing is done
#   ensure_venv [dev|run]    .venv with the locked packages (dev: those of the tests too) and the `clawkakad` command
#   ensure_engine            a Docker engine that answers; installed and started where we are root
#   ensure_packages PKG...   Debian packages
#   ensure_image             the sandbox image, up to date
#
# Everything said goes to standard error: a script's output is its own.

SETUP_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SETUP_VENV=$SETUP_ROOT/.venv
SETUP_ENGINE_DIR=/run/clawkaka-engine
SETUP_FREE_GB=4

setup_say() { printf '==> %s\n' "$*" >&2; }

setup_refuse() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Words behind -- are no options. The script has changed its directory: a relative path to it counts from the one before.
answer_help() {
  local word
  for word in "$@"; do
    case $word in
      --) return 0 ;;
      -h | --help)
        (cd "${OLDPWD:-.}" && sed -n '1d; /^#/!q; s/^# \{0,1\}//p' "$0")
        exit 0
        ;;
    esac
  done
}

setup_is_root() { [ "$(id -u)" = 0 ]; }

# setup_quietly WHAT COMMAND...: shows what a command said only if it failed.
setup_quietly() {
  local what=$1 log
  shift
  log=$(mktemp)
  if ! "$@" > "$log" 2>&1 < /dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    setup_refuse "$what failed; its last lines are above"
  fi
  rm -f "$log"
}

# setup_require_space DIRECTORY: DIRECTORY, or the nearest one above it that exists.
setup_require_space() {
  local place=$1 free
  while [ ! -d "$place" ]; do place=$(dirname "$place"); done
  free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1000000) }')
  [ "$free" -ge "$SETUP_FREE_GB" ] \
    || setup_refuse "$SETUP_FREE_GB GB of free disk space are needed at $place; there are $free GB"
}

# --- Debian packages ---------------------------------------------------------------------------------------------

setup_has_package() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]; }

ensure_packages() {
  local package missing=()
  for package in "$@"; do
    setup_has_package "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get > /dev/null || setup_refuse "install these with your package manager, then again: ${missing[*]}"
  setup_is_root || setup_refuse "these are missing: sudo apt-get install ${missing[*]}"
  setup_require_space /var
  setup_say "Installing with apt-get: ${missing[*]}"
  if [ -z "${SETUP_APT_UPDATED:-}" ]; then
    setup_quietly "apt-get update" apt-get update
    SETUP_APT_UPDATED=yes
  fi
  DEBIAN_FRONTEND=noninteractive setup_quietly "apt-get install ${missing[*]}" \
    apt-get install -y --no-install-recommends "${missing[@]}"
}

# --- Python ------------------------------------------------------------------------------------------------------

setup_python_is_new_enough() {
  [ -x "$(command -v "$1")" ] && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null
}

# Debian's own first: its packages can be completed with apt-get, and it does not go away with a version manager.
setup_find_python() {
  local python
  for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if setup_python_is_new_enough "$python"; then
      command -v "$python"
      return
    fi
  done
  return 1
}

setup_make_venv() {
  local python
  [ -e /usr/bin/python3 ] || command -v python3 > /dev/null || ensure_packages python3 python3-venv
  python=$(setup_find_python) || setup_refuse "Python 3.11 or newer is needed; this machine has none"
  if ! "$python" -c 'import ensurepip, venv' 2> /dev/null; then
    [ "$python" = /usr/bin/python3 ] || setup_refuse "$python cannot make virtual environments (no ensurepip)"
    ensure_packages python3-venv
  fi
  setup_say "Making a virtual environment in .venv with $("$python" --version)"
  setup_quietly "making .venv" "$python" -m venv --clear "$SETUP_VENV"
}

# The checkout itself is on the path of .venv: a change in it counts at once, and installing it needs no build tools.
setup_install_project() {
  local site
  site=$("$SETUP_VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  printf '%s\n' "$SETUP_ROOT" > "$site/clawkakad.pth"
  setup_write_launcher
}

# In sh, since the path of Python in a first line may neither hold a space nor be long. -P: what lies in the directory
# from which somebody calls it is not imported.
setup_write_launcher() {
  local quote="'\\''"
  printf '#!/bin/sh\nexec %s -P -m clawkakad "$@"\n' "'${SETUP_VENV//\'/$quote}/bin/python'" > "$SETUP_VENV/bin/clawkakad"
  chmod 755 "$SETUP_VENV/bin/clawkakad"
}

setup_venv_wanted() { printf '%s@%s\n' "$(sha256sum < "$SETUP_ROOT/requirements/$1.txt" | cut -c1-16)" "$SETUP_ROOT"; }

# The import fails where the Python behind .venv was upgraded with the system: a newer one has its packages elsewhere.
setup_venv_is_current() {
  [ "$(cat "$SETUP_VENV/.made-from-$1" 2> /dev/null)" = "$(setup_venv_wanted "$1")" ] \
    && "$SETUP_VENV/bin/python" -P -c 'import clawkakad' 2> /dev/null
}

ensure_venv() {
  local kind=${1:-dev} lock stamp wanted
  lock=$SETUP_ROOT/requirements/$kind.txt
  stamp=$SETUP_VENV/.made-from-$kind
  # The packages of the tests include those of the daemon.
  if [ "$kind" = run ] && setup_venv_is_current dev; then return 0; fi
  wanted=$(setup_venv_wanted "$kind")
  if setup_venv_is_current "$kind"; then return 0; fi
  setup_require_space "$SETUP_ROOT"
  "$SETUP_VENV/bin/python" -m pip --version > /dev/null 2>&1 || setup_make_venv
  # From here on it is of neither kind until it is whole: it may be interrupted, or the checkout go back a version.
  rm -f "$SETUP_VENV"/.made-from-*
  setup_say "Installing the Python packages of requirements/$kind.txt"
  setup_quietly "pip install" "$SETUP_VENV/bin/python" -m pip install --disable-pip-version-check --require-hashes -r "$lock"
  setup_install_project
  printf '%s\n' "$wanted" > "$stamp"
}

# --- Docker engine -----------------------------------------------------------------------------------------------

setup_engine_answers() { docker version --format '{{.Server.Version}}' > /dev/null 2>&1; }

# A machine may have several docker commands, and one may be too new or too old for the engine: take one that works.
setup_pick_docker() {
  local candidate
  if setup_engine_answers; then return 0; fi
  while IFS= read -r candidate; do
    if "$candidate" version --format '{{.Server.Version}}' > /dev/null 2>&1 < /dev/null; then
      PATH=$(dirname "$candidate"):$PATH
      export PATH
      return 0
    fi
  done < <(type -ap docker)
  return 1
}

setup_wait_for_engine() {
  local pid=${1:-} tries
  for tries in $(seq 120); do
    if setup_pick_docker; then return 0; fi
    if [ -n "$pid" ] && ! kill -0 "$pid" 2> /dev/null; then return 1; fi
    sleep 0.5
  done
  return 1
}

# setup_start_dockerd FLAGS...: by hand, in a session of its own, so that it outlives the script and its terminal.
setup_start_dockerd() {
  mkdir -p "$SETUP_ENGINE_DIR"
  setsid dockerd --log-level warn "$@" > "$SETUP_ENGINE_DIR/dockerd.log" 2>&1 < /dev/null &
  local pid=$!
  printf '%s\n' "$pid" > "$SETUP_ENGINE_DIR/dockerd.pid"
  disown "$pid"
  if setup_wait_for_engine "$pid"; then return 0; fi
  kill "$pid" 2> /dev/null || true
  return 1
}

setup_start_engine() {
  if [ -d /run/systemd/system ]; then
    setup_say "Starting the Docker engine (systemctl start docker)"
    setup_quietly "systemctl start docker" systemctl start docker
    setup_wait_for_engine || setup_refuse "the Docker engine does not answer; see: journalctl -u docker"
    return 0
  fi
  setup_say "Starting the Docker engine (dockerd; log in $SETUP_ENGINE_DIR/dockerd.log)"
  if setup_start_dockerd; then return 0; fi
  # Where the kernel lets us make no bridge: sandboxes have no network, and builds use the host's.
  setup_say "Trying again without networks of its own"
  if setup_start_dockerd --bridge=none --iptables=false; then return 0; fi
  tail -n 5 "$SETUP_ENGINE_DIR/dockerd.log" >&2
  setup_refuse "the Docker engine did not start; its last lines are above, the rest is in $SETUP_ENGINE_DIR/dockerd.log"
}

ensure_engine() {
  if setup_pick_docker; then return 0; fi
  if [ -n "${DOCKER_HOST:-}" ]; then
    setup_refuse "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not answer"
  fi
  if ! setup_is_root; then
    case $(docker version 2>&1) in *"ermission denied"*)
      setup_refuse "you may not use the Docker engine: sudo usermod -aG docker $(id -un), log in again, then again"
      ;;
    esac
    setup_refuse "no Docker engine answers: run this as root, or start one (sudo systemctl start docker), then again"
  fi
  if ! command -v dockerd > /dev/null; then
    setup_require_space /var/lib
    ensure_packages docker.io iptables
    setup_wait_briefly_for_service
  fi
  command -v docker > /dev/null || ensure_packages docker-cli
  if setup_pick_docker; then return 0; fi
  setup_start_engine
}

# A package that starts its service may still be at it.
setup_wait_briefly_for_service() {
  [ -d /run/systemd/system ] || return 0
  local tries
  for tries in $(seq 20); do
    if setup_pick_docker; then return 0; fi
    sleep 0.5
  done
  return 0
}

# --- Sandbox image -----------------------------------------------------------------------------------------------

ensure_image() {
  "$SETUP_VENV/bin/clawkakad" image build 1>&2 || exit 1
}
