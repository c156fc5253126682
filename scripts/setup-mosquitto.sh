#!/usr/bin/env bash
# Installs Mosquitto, an MQTT broker, with apt, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

apt_install mosquitto mosquitto
