# make build, make check: see CONTRIBUTING.md.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c

tool := go tool -modfile=tools/go.mod
export HEADWATER_CACHE ?= $(CURDIR)/.cache
# Tests that draw at random print their seed; a day has one, so that a failure can be had again and tomorrow tries another.
export HEADWATER_SEED ?= $(shell date +%Y%m%d)
FUZZTIME ?= 1m
KILLS ?= 500
SETTINGS ?= 200
DAYS ?= 2000
SCALE ?= small
DEMO ?=

.PHONY: build demo sample check format vet static fix small test fuzz soak bench clean

build:
	CGO_ENABLED=1 go build -o bin/headwater ./cmd/headwater

# The whole chain with simulated sources, until Ctrl-C. DEMO=--once ends by itself.
demo: build
	bin/headwater demo $(DEMO)

# The example, from files to an answer.
sample: build
	bin/headwater run examples/shop/pipeline.yaml --once
	bin/headwater query examples/shop/pipeline.yaml "select customer_country, count(*) as orders, sum(total) as total from shop.orders group by all order by total desc"

check: format vet static fix small test

format:
	@found=$$($(tool) gofumpt -l .); [ -z "$$found" ] || { echo "not formatted; run: $(tool) gofumpt -w ."; echo "$$found"; exit 1; }

vet:
	go vet ./...

static:
	$(tool) staticcheck ./...

fix:
	@found=$$(go fix -diff ./...) || true; [ -z "$$found" ] || { echo "can be written simpler; run: go fix ./..."; echo "$$found"; exit 1; }

# The program without DuckDB needs no C compiler.
small:
	CGO_ENABLED=0 go build -tags noduckdb -o bin/headwater-small ./cmd/headwater

# With CI=true the tests of must-not-skip.txt must have run.
test:
	@echo "HEADWATER_SEED=$(HEADWATER_SEED)"
	go test -race -shuffle=$(HEADWATER_SEED) -timeout 40m -json ./... | go run ./tests/mustrun tests/must-not-skip.txt

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

# The tests that draw at random or take what is large, with their full counts. It takes an hour or two; docs/soak.md has a result.
soak:
	HEADWATER_KILLS=$(KILLS) HEADWATER_POINTS=all go test -count=1 -timeout 0 -v -run 'TestSwapped|TestRandomKills|TestEveryPoint|TestZombie|Killed|OnS3|OnHive' ./tests/crash
	HEADWATER_HISTORIES=50 go test -count=1 -timeout 0 -v -run TestAuditSilent ./tests/crash
	HEADWATER_MUTANTS=all go test -count=1 -timeout 0 -v ./tests/mutants
	HEADWATER_SETTINGS=$(SETTINGS) HEADWATER_ROUNDS=$(SETTINGS) HEADWATER_DAMAGES=1000 go test -count=1 -timeout 0 -v -run 'TestMetamorphic|TestManyProcesses|TestTornFiles' ./tests/flow
	HEADWATER_SPARK_DAYS=$(DAYS) go test -count=1 -timeout 0 -v -run TestSparkDialect ./serialize
	HEADWATER_REPUBLISHES=200 HEADWATER_METASTORES=all go test -count=1 -timeout 0 -v -run 'TestRepublished|TestHiveMetastore' ./tests/interop
	HEADWATER_BIG=5GB HEADWATER_FILES=100000 HEADWATER_BOMB=10GB go test -count=1 -timeout 0 -v ./tests/limits

# The stages beside what a user would pick instead. SCALE is small, medium or full; see docs/bench.md.
bench:
	HEADWATER_BENCH=$(SCALE) go test -count=1 -timeout 0 -run 'TestTable|TestSerialize|TestShapes|TestLanding|TestSources|TestLatency|TestFreshness' -v ./bench

clean:
	rm -rf bin .cache
