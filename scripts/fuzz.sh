#!/usr/bin/env bash
# Runs every fuzz test for a while: fuzz.sh 10s, or for a number of inputs: fuzz.sh 1000x. What fails is written to the package's testdata and is a test from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

for package in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do
	dir=$(go list -f '{{.Dir}}' "$package")
	for name in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$dir"/*_test.go); do
		go test -run '^$' -fuzz "^$name\$" -fuzztime "$1" -fuzzminimizetime 20x "$package"
	done
done
