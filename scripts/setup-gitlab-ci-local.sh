#!/usr/bin/env bash
# Installs gitlab-ci-local, which runs the jobs of GitLab's pipelines on this machine, into the cache folder, unless it is there, and prints its path. Its version
# is the last one that Node.js 20 runs.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

version=4.61.0
apt_install rsync rsync >/dev/null
dir=$cache/gitlab-ci-local-$version
lock gitlab-ci-local
if [ ! -x "$dir/node_modules/.bin/gitlab-ci-local" ]; then
	rm -rf "$dir.new" "$dir"
	mkdir "$dir.new"
	try npm install --prefix "$dir.new" --no-audit --no-fund --ignore-scripts --omit=dev "gitlab-ci-local@$version"
	mv "$dir.new" "$dir"
fi
echo "$dir/node_modules/.bin/gitlab-ci-local"
