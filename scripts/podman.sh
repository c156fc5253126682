#!/usr/bin/env bash
# podman, with images and containers of its own in the cache folder, as it works also inside a container.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

# The paths of sockets are short, those of clones need not be.
run=/tmp/headwater-podman-$(id -u)-$(cksum <<<"$cache" | cut -d ' ' -f 1)
CONTAINERS_CONF=$scripts/containers.conf exec podman --root "$cache/containers" --runroot "$run" --storage-driver vfs "$@"
