#!/usr/bin/env bash
# Builds nats-server into the cache folder, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

version=v2.15.2
bin=$cache/nats-server-$version/nats-server

lock nats
if [ ! -x "$bin" ]; then
	mkdir -p "$(dirname "$bin")"
	# GOBIN and a rename: a killed build leaves nothing that looks whole.
	try env GOBIN="$(dirname "$bin")/new" GOFLAGS=-mod=mod go install "github.com/nats-io/nats-server/v2@$version"
	mv "$(dirname "$bin")/new/nats-server" "$bin"
fi
echo "$bin"
