#!/usr/bin/env bash
# Makes a Python with the packages of requirements.txt in the cache folder, unless it is there, and prints its path.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wanted=$(cksum <"$scripts/requirements.txt" | tr -d ' ')
venv=$cache/python-$version-$wanted

lock python
# The stamp is written last: without it the folder is what a killed run left.
if [ ! -e "$venv/complete" ]; then
	rm -rf "$venv"
	"$python" -m venv "$venv" >&2
	try "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-binary pyspark -r "$scripts/requirements.txt"
	touch "$venv/complete"
fi
echo "$venv/bin/python"
