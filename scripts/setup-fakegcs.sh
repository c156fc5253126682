#!/usr/bin/env bash
# Builds fake-gcs-server, which speaks the protocol of Google Cloud Storage, into the cache folder, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

go_install fake-gcs-server github.com/fsouza/fake-gcs-server v1.56.1
