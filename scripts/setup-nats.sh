#!/usr/bin/env bash
# Builds nats-server into the cache folder, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

go_install nats-server github.com/nats-io/nats-server/v2 v2.15.2
