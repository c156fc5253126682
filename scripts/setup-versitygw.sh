#!/usr/bin/env bash
# Builds versitygw, an S3 server over a folder, into the cache folder, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

version=v1.8.0
bin=$cache/versitygw-$version/versitygw

lock versitygw
if [ ! -x "$bin" ]; then
	mkdir -p "$(dirname "$bin")"
	# GOBIN and a rename: a killed build leaves nothing that looks whole.
	try env GOBIN="$(dirname "$bin")/new" GOFLAGS=-mod=mod go install "github.com/versity/versitygw/cmd/versitygw@$version"
	mv "$(dirname "$bin")/new/versitygw" "$bin"
fi
echo "$bin"
