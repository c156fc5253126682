#!/usr/bin/env bash
# Installs buildah, which makes images, and podman and runc, which run them, with apt, unless they are there, and prints the path of podman.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

apt_install netavark netavark >/dev/null || true # podman of some releases brings it along
apt_install runc runc >/dev/null
apt_install buildah buildah >/dev/null
apt_install podman podman
