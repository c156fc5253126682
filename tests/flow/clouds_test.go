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

// TestGCS is a pipeline whose layers are in two buckets of Google's.
func TestGCS(t *testing.T) {
	server := fixture.NewGCS(t)
	env := []string{server.Env()}
	raw, tables := server.Bucket(t, "acme-raw"), server.Bucket(t, "acme-lake")+"/team/a?storage_class=NEARLINE"
	p := binary.New(t, binary.Build(t), orders+fmt.Sprintf("lake: {raw: %q, tables: %q}\n", raw, tables))
	p.Write(t, "in/0.ndjson", []byte("{\"n\":0,\"bad\n{\"n\":1}\n"))
	if out := p.Run(t, env, "check", "--live").Must(t); strings.Count(out, "ok, it refuses what exists") != 2 {
		t.Errorf("check said %s", out)
	}
	for i, want := range []string{"1,1", "2,3", "3,6"} {
		p.Write(t, fmt.Sprintf("in/%d.ndjson", i), fmt.Appendf(nil, "{\"n\":%d,\"bad\n{\"n\":%d}\n", i, i+1))
		p.Run(t, env, "run", "--once").Must(t)
		if out := p.Run(t, env, "query", "--format", "csv", "select count(*), sum(n) from db.orders").Must(t); !strings.HasSuffix(out, "\n"+want+"\n") {
			t.Errorf("query said %q, want %s", out, want)
		}
	}
	if out := p.Run(t, env, "serialize", "--source", "orders", "--date", day()).Must(t); !strings.Contains(out, "unchanged") {
		t.Errorf("serializing again said %q", out)
	}
	for _, here := range []string{"raw", "tables"} {
		if _, err := os.Stat(filepath.Join(p.Dir, "headwater-data", here)); !os.IsNotExist(err) {
			t.Errorf("%s is here: %v", here, err)
		}
	}
	for _, name := range []string{"orders", "orders_raw"} {
		if err := p.RegisteredAt(t, "gs://acme-lake/team/a", table.Name{Database: "db", Table: name}); err != nil {
			t.Error(err)
		}
	}
	// Without credentials nothing is begun, and it is said what is missing.
	r := p.Run(t, []string{"GOOGLE_APPLICATION_CREDENTIALS=" + filepath.Join(p.Dir, "none.json")}, "run", "--once")
	if r.Code == 0 || !strings.Contains(r.Stderr, "lake.raw") || !strings.Contains(r.Stderr, "GOOGLE_APPLICATION_CREDENTIALS") {
		t.Errorf("without credentials it ended with %d: %s", r.Code, r.Stderr)
	}
}

// TestAzure is a pipeline whose raw objects are in a container of Azure, and its tables here.
func TestAzure(t *testing.T) {
	raw := fixture.NewAzure(t).Bucket(t, "acme-raw")
	p := binary.New(t, binary.Build(t), orders+fmt.Sprintf("lake: {raw: %q}\n", raw))
	p.Write(t, "in/0.ndjson", []byte("{\"n\":0}\n"))
	if out := p.Run(t, fixture.AzureEnv, "check", "--live").Must(t); !strings.Contains(out, raw+": ok, it refuses what exists") {
		t.Errorf("check said %s", out)
	}
	for i, want := range []string{"1,1", "2,3", "3,6"} {
		p.Write(t, fmt.Sprintf("in/%d.ndjson", i), fmt.Appendf(nil, "{\"n\":%d,\"bad\n{\"n\":%d}\n", i, i+1))
		p.Run(t, fixture.AzureEnv, "run", "--once").Must(t)
		if out := p.Run(t, nil, "query", "--format", "csv", "select count(*), sum(n) from db.orders").Must(t); !strings.HasSuffix(out, "\n"+want+"\n") {
			t.Errorf("query said %q, want %s", out, want)
		}
	}
	r := p.Run(t, []string{"AZURE_STORAGE_ACCOUNT=", "AZURE_STORAGE_KEY="}, "run", "--once")
	if r.Code == 0 || !strings.Contains(r.Stderr, "lake.raw") || !strings.Contains(r.Stderr, "AZURE_STORAGE_ACCOUNT") {
		t.Errorf("without an account it ended with %d: %s", r.Code, r.Stderr)
	}
	p = binary.New(t, p.Bin, orders+fmt.Sprintf("lake: {tables: %q}\n", raw))
	if r := p.Run(t, nil, "check"); r.Code != 2 || !strings.Contains(r.Stdout+r.Stderr, "lake.tables: is in Azure") {
		t.Errorf("tables in Azure: %d, %s", r.Code, r.Stdout+r.Stderr)
	}
}
