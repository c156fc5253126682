#!/usr/bin/env bash
# Installs Azurite, Azure's own emulator of its storage, into the cache folder, unless it is there, and prints the path of its blob service. It needs
# Node.js 22, as its makers say; it has run with 20.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

version=3.37.0
dir=$cache/azurite-$version
lock azurite
if [ ! -x "$dir/node_modules/.bin/azurite-blob" ]; then
	rm -rf "$dir.new" "$dir"
	mkdir "$dir.new"
	try npm install --prefix "$dir.new" --no-audit --no-fund --ignore-scripts --omit=dev "azurite@$version"
	mv "$dir.new" "$dir"
fi
echo "$dir/node_modules/.bin/azurite-blob"
