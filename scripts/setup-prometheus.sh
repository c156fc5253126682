#!/usr/bin/env bash
# Installs Prometheus with apt, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

lock apt
if ! command -v prometheus >/dev/null; then
	try apt-get -qq update
	try env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends prometheus
fi
command -v prometheus
