#!/usr/bin/env bash
# Installs Alertmanager with apt, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

apt_install prometheus-alertmanager prometheus-alertmanager
