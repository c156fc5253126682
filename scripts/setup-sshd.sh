#!/usr/bin/env bash
# Installs OpenSSH's server with apt, unless it is there, and prints its path. It is not started.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

find_sshd() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v sshd; }

lock apt
if ! find_sshd >/dev/null; then
	try apt-get -qq update
	try env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install --no-install-recommends openssh-server
fi
find_sshd
