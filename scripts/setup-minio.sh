#!/usr/bin/env bash
# Builds MinIO, an S3 server, into the cache folder, unless it is there, and prints its path. From nothing this takes some minutes.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

go_install minio github.com/minio/minio v0.0.0-20260212201848-7aac2a2c5b7c
