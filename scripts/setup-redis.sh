#!/usr/bin/env bash
# Installs Redis with apt, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

bin=/usr/bin/redis-server
apt_install "$bin" redis-server
echo "$bin"
