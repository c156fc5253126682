#!/usr/bin/env bash
# Fetches the jars of a Kafka broker into the cache folder, unless they are there, and prints the folder.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

copy_jars kafka
