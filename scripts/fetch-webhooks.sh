#!/usr/bin/env bash
# Fetches the npm package @octokit/webhooks-examples into the cache folder, unless it is there, and prints the path of its archive, which
# holds package/api.github.com/index.json: 329 bodies of webhooks that GitHub has sent.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

name=octokit-webhooks-examples-7.6.1.tgz
sha256=89e6cb1c6345d32e3dd775617fa54effbdc26c859e514898d7728e95e9738280

fetch() {
	(cd "$1" && npm pack --silent @octokit/webhooks-examples@7.6.1)
}

lock webhooks
if [ ! -e "$cache/$name" ]; then
	dir=$(mktemp -d "$cache/fetch-XXXXXX")
	trap 'rm -rf "$dir"' EXIT
	try fetch "$dir"
	echo "$sha256  $dir/$name" | sha256sum --check --quiet >&2
	mv "$dir/$name" "$cache/$name"
fi
echo "$cache/$name"
