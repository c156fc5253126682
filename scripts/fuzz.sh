#!/usr/bin/env bash
# Runs every fuzz test for a while, two at a time: fuzz.sh 1m, or for a number of inputs: fuzz.sh 1000x. What fails is written to the
# package's testdata and is a test from then on. What was found interesting stays in Go's cache and is tried first the next time.
set -euo pipefail
cd "$(dirname "$0")/.."

# The end of the time is now and then reported as a failure, with no input written: then nothing was found.
one() {
	local package=$1 name=$2 out
	out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 20x -parallel 1 "$package" 2>&1) && { echo "$package $name: $(grep elapsed <<<"$out" | tail -1)"; return; }
	if grep -q 'context deadline exceeded' <<<"$out" && ! grep -qE 'Failing input|panic|_test.go' <<<"$out"; then
		echo "$package $name: $(grep elapsed <<<"$out" | tail -1)"
		return
	fi
	echo "$out"
	echo "$package $name FAILED"
	return 1
}
export -f one
export FUZZTIME=$1

for package in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do
	dir=$(go list -f '{{.Dir}}' "$package")
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$dir"/*_test.go | sed "s|^|$package |"
done | xargs -P 2 -L 1 bash -c 'one "$@"' one
