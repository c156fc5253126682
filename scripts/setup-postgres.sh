#!/usr/bin/env bash
# Installs PostgreSQL with apt, unless it is there, and prints the folder of its programs.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

# The package lays postgres where PATH does not look.
programs() { for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do [ ! -x "$dir/initdb" ] || { echo "$dir" && return; }; done; }

lock apt
if [ -z "$(programs)" ]; then
	try apt-get -qq -o DPkg::Lock::Timeout=300 update
	try env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends postgresql
fi
programs
