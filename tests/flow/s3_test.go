package flow

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headwater/table"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestS3 is a pipeline whose layers are in two buckets: nothing but the addresses is different.
func TestS3(t *testing.T) {
	server := fixture.NewS3(t)
	raw, tables := server.Bucket(t, "acme-raw"), strings.Replace(server.Bucket(t, "acme-lake"), "?", "/team/a?", 1)
	p := binary.New(t, binary.Build(t), orders+fmt.Sprintf("lake: {raw: %q, tables: %q}\nquery: {cache: 1MiB}\n", raw, tables))
	ask := func(want string) {
		t.Helper()
		if out := p.Run(t, fixture.S3Env, "query", "--format", "csv", "select count(*), sum(n) from db.orders").Must(t); !strings.HasSuffix(out, "\n"+want+"\n") {
			t.Errorf("query said %q, want %s", out, want)
		}
	}
	for i, want := range []string{"1,1", "2,3", "3,6"} {
		p.Write(t, fmt.Sprintf("in/%d.ndjson", i), fmt.Appendf(nil, "{\"n\":%d,\"bad\n{\"n\":%d}\n", i, i+1))
		p.Run(t, fixture.S3Env, "run", "--once").Must(t)
		ask(want)
		ask(want) // from the cache
	}
	if out := p.Run(t, fixture.S3Env, "serialize", "--source", "orders", "--date", day()).Must(t); !strings.Contains(out, "unchanged") {
		t.Errorf("serializing again said %q", out)
	}
	if out := p.Run(t, fixture.S3Env, "status").Must(t); !strings.Contains(out, "db.orders_raw") {
		t.Errorf("status said %q", out)
	}
	// What lies where: the layers in their buckets, nothing of them here.
	for pattern, want := range map[string]int{
		"acme-raw/topics/orders_raw/date=*/*.json.gz":               3,
		"acme-raw/_quarantine/serialize/orders/date=*/*.json.gz":    1,
		"acme-lake/team/a/db/orders/year=*/month=*/day=*/*.parquet": 1,
		"acme-lake/team/a/_headwater/*":                             2, // the schema ledger, through which day tables are complete, and nothing of what tried the store
	} {
		if found, err := filepath.Glob(filepath.Join(server.Dir, pattern)); err != nil || len(found) != want {
			t.Errorf("%s: %v, %v", pattern, found, err)
		}
	}
	for _, here := range []string{"raw", "tables"} {
		if _, err := os.Stat(filepath.Join(p.Dir, "headwater-data", here)); !os.IsNotExist(err) {
			t.Errorf("%s is here: %v", here, err)
		}
	}
	// The tables are registered where Spark finds them.
	for _, name := range []string{"orders", "orders_raw"} {
		if err := p.RegisteredAt(t, "s3a://acme-lake/team/a", table.Name{Database: "db", Table: name}); err != nil {
			t.Error(err)
		}
	}
	// Whoever may not read is told so, and not that there are no tables.
	r := p.Run(t, []string{"AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true"}, "query", "select 1 from db.orders")
	if r.Code == 0 || !strings.Contains(r.Stderr, "check the credentials") {
		t.Errorf("a stranger ended with %d: %s", r.Code, r.Stderr)
	}
	r = p.Run(t, []string{"AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true"}, "run", "--once")
	if r.Code == 0 || !strings.Contains(r.Stderr, "lake.raw") || !strings.Contains(r.Stderr, "check the credentials") {
		t.Errorf("a stranger's run ended with %d: %s", r.Code, r.Stderr)
	}
}

// TestBestEffort is a bucket that forgets the conditions of writes: refused, unless the file says that it may be so.
func TestBestEffort(t *testing.T) {
	server := fixture.NewS3(t)
	door := server.WithoutConditions(t)
	raw := strings.Replace(server.Bucket(t, "acme-raw"), server.Endpoint, door, 1)
	lake := func(more string) string {
		return orders + fmt.Sprintf("lake: {raw: %q, tables: %q%s}\n", raw, server.Bucket(t, "acme-lake"+fmt.Sprint(len(more))), more)
	}
	p := binary.New(t, binary.Build(t), lake(""))
	p.Write(t, "in/0.ndjson", []byte("{\"n\":1}\n"))
	for _, args := range [][]string{{"run", "--once"}, {"check", "--live"}} {
		r := p.Run(t, fixture.S3Env, args[0], args[1:]...)
		if said := r.Stdout + r.Stderr; r.Code == 0 || !strings.Contains(said, "lake.raw") || !strings.Contains(said, "exactly_once: best_effort") {
			t.Errorf("%v ended with %d: %s", args, r.Code, said)
		}
	}
	if found, err := filepath.Glob(filepath.Join(server.Dir, "acme-raw/[^.]*")); err != nil || len(found) != 0 {
		t.Errorf("it has left %v, %v", found, err)
	}

	p = binary.New(t, p.Bin, lake(", exactly_once: best_effort"))
	p.Write(t, "in/0.ndjson", []byte("{\"n\":1}\n"))
	if out := p.Run(t, fixture.S3Env, "check", "--live").Must(t); !strings.Contains(out, "ok for one process alone") || !strings.Contains(out, "ok, it refuses what exists") {
		t.Errorf("check said %s", out)
	}
	for i := range 2 {
		p.Write(t, fmt.Sprintf("in/%d.ndjson", i), fmt.Appendf(nil, "{\"n\":%d}\n", i+1))
		r := p.Run(t, fixture.S3Env, "run", "--once")
		if r.Must(t); strings.Count(r.Stderr, "does not keep to the conditions") != 1 || !strings.Contains(r.Stderr, "lake.raw") {
			t.Errorf("it does not warn of lake.raw, once: %s", r.Stderr)
		}
	}
	if out := p.Run(t, fixture.S3Env, "query", "--format", "csv", "select count(*), sum(n) from db.orders").Must(t); !strings.HasSuffix(out, "\n2,3\n") {
		t.Errorf("query said %q", out)
	}
	running := p.Start(t, fixture.S3Env, "run")
	binary.Eventually(t, "a process that says how it is", func() bool {
		return strings.Contains(p.Run(t, fixture.S3Env, "status").Stdout, "the store of lake.raw does not keep to the conditions")
	})
	if _, text := get(t, p, "/metrics"); measured(t, text, "headwater_lake_best_effort") != 1 {
		t.Errorf("no metric says so:\n%s", text)
	}
	running.Kill(t)
}
