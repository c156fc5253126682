#!/usr/bin/env bash
# Fetches the npm package @octokit/webhooks-examples into the cache folder, unless it is there, and prints the path of its archive, which
# holds package/api.github.com/index.json: 329 bodies of webhooks that GitHub has sent.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

npm_fetch webhooks octokit-webhooks-examples-7.6.1.tgz 89e6cb1c6345d32e3dd775617fa54effbdc26c859e514898d7728e95e9738280 @octokit/webhooks-examples@7.6.1
