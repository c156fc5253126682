#!/usr/bin/env bash
# Makes a Python with Apache Airflow in the cache folder, unless it is there, and prints its path. The argument is its major version, 3 or 2.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

major=${1:-3}
requirements=$scripts/../deploy/airflow/requirements-airflow$major.txt
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=$cache/airflow-$major-$version-$(cksum <"$requirements" | tr -d ' ')

# uv takes a tenth of pip's time. It does not know pip's settings: where these name the only index there is, pip does the work.
install() {
	"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9 &&
		"$venv/bin/uv" pip install --quiet --no-cache --python "$venv/bin/python" -r "$requirements" ||
		"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
}

lock "airflow-$major"
# The stamp is written last: without it the folder is what a killed run left.
if [ ! -e "$venv/complete" ]; then
	rm -rf "$venv"
	"$python" -m venv "$venv" >&2
	try install
	touch "$venv/complete"
fi
echo "$venv/bin/python"
