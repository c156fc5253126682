#!/usr/bin/env bash
# Copies what the fuzz tests found interesting from Go's cache into the packages' testdata, where go test runs it: of each test the
# smallest inputs, KEEP (16) in all with those that are there.
set -euo pipefail
cd "$(dirname "$0")/.."

corpus=$(go env GOCACHE)/fuzz/headwater
for from in $(cd "$corpus" && find . -type d -name 'Fuzz*'); do
	to=$(dirname "$from")/testdata/fuzz/$(basename "$from")
	[ -d "$(dirname "$from")" ] || continue
	mkdir -p "$to"
	have=$(find "$to" -type f | wc -l)
	# By size, then by name, so that the same cache gives the same files.
	(cd "$corpus/$from" && find . -type f -size -2k -printf '%s %f\n' | sort -n -k1 -k2 | awk '{print $2}') |
		head -n "$((${KEEP:-16} > have ? ${KEEP:-16} - have : 0))" | while read -r name; do cp -n "$corpus/$from/$name" "$to/$name"; done
done
