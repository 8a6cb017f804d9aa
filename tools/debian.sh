#!/usr/bin/env bash
# Installs Debian packages when it may, else says which are wanted.
set -euo pipefail
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null
else
  echo "semdiff needs the Debian packages: $*" >&2
  echo "install them first:    sudo apt-get install $*" >&2
  exit 1
fi
