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
		"acme-lake/team/a/_headwater/*":                             0,
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
