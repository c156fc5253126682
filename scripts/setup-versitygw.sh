#!/usr/bin/env bash
# Builds versitygw, an S3 server over a folder, into the cache folder, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

go_install versitygw github.com/versity/versitygw/cmd/versitygw v1.8.0
