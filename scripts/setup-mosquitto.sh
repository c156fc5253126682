#!/usr/bin/env bash
# Installs Mosquitto, an MQTT broker, with apt, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

bin=/usr/sbin/mosquitto
apt_install "$bin" mosquitto
echo "$bin"
