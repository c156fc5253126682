#!/usr/bin/env bash
# Installs OpenSSH's server with apt, unless it is there, and prints its path. It is not started.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

apt_install sshd openssh-server
