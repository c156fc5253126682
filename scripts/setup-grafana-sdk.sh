#!/usr/bin/env bash
# Makes a Python with the types of Grafana's dashboards in the cache folder, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=$cache/grafana-sdk-$version-10.1.0

lock grafana-sdk
# The stamp is written last: without it the folder is what a killed run left.
if [ ! -e "$venv/complete" ]; then
	rm -rf "$venv"
	"$python" -m venv "$venv" >&2
	try "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "grafana-foundation-sdk==1769699998!10.1.0"
	touch "$venv/complete"
fi
echo "$venv/bin/python"
