#!/usr/bin/env bash
# Installs vsftpd with apt, unless it is there, and prints its path. It is not started.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

find_vsftpd() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v vsftpd; }

lock apt
if ! find_vsftpd >/dev/null; then
	try apt-get -qq update
	try env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install --no-install-recommends vsftpd
fi
find_vsftpd
