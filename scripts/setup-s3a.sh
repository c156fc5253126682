#!/usr/bin/env bash
# Fetches what Spark and Hive need to read s3a:// into the cache folder, unless it is there, and prints the folder.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

jars=$(copy_jars s3a)
rm -f "$jars"/slf4j-api* "$jars"/netty-*.jar # Spark has its own
echo "$jars"
