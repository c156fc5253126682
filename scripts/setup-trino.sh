#!/usr/bin/env bash
# Fetches Trino, 450 MB, into the cache folder, unless it is there, and prints its folder. 476 is the last server on Maven Central.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

version=476
home=$cache/trino-server-$version
lock trino
if [ ! -e "$home/complete" ]; then
	dir=$(mktemp -d "$cache/fetch-XXXXXX")
	trap "rm -rf '$dir'" EXIT
	try mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy "-Dartifact=io.trino:trino-server:$version:tar.gz" "-DoutputDirectory=$dir"
	tar -xzf "$dir/trino-server-$version.tar.gz" -C "$dir"
	# Of the plugins only Hive's; files of others are links to the same.
	find "$dir/trino-server-$version/plugin" -mindepth 1 -maxdepth 1 ! -name hive -exec rm -rf {} +
	touch "$dir/trino-server-$version/complete"
	rm -rf "$home"
	mv "$dir/trino-server-$version" "$home"
fi
echo "$home"
