package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/google/go-cmp/cmp"

	"headwater/table/metastore"
	"headwater/tests/interop/fixture"
)

// TestIceberg keeps Iceberg tables in the embedded metastore with pyiceberg: twelve commits of four writers at once are all there, which
// they owe to the metastore's locks, and namespaces and tables are made, changed, renamed and dropped.
func TestIceberg(t *testing.T) {
	python := fixture.PyIceberg(t)
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "state.db"), Addr: "127.0.0.1:0", Warehouse: "file:///srv"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cmd := exec.CommandContext(t.Context(), python, "testdata/iceberg.py", "thrift://"+m.Addr(), "file://"+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	t.Log(stderr.String())
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := map[string]any{
		"properties": map[string]any{"owner": "ann", "room": "7"}, "again": "exists", "rows": 36.0, "snapshots": 12.0, "columns": []any{"id", "name", "more"},
		"tables": []any{[]any{"lab", "renamed"}}, "exists": []any{false, true}, "not empty": true, "dropped": true, "namespaces": []any{[]any{"default"}},
	}
	if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if locks, err := client(t, m.Addr()).ShowLocks(t.Context(), hms.NewShowLocksRequest()); err != nil || len(locks.Locks) != 0 {
		t.Errorf("locks are left: %v, %v", locks, err)
	}
}

// TestTrinoWrites makes, fills, changes and drops tables of the embedded metastore with Trino, which keeps column statistics there.
func TestTrinoWrites(t *testing.T) {
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "state.db"), Addr: "127.0.0.1:0", Warehouse: "file:///srv"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	trino := fixture.NewTrino(t, m.Addr)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lab"), 0o700); err != nil { // Hive's own metastore would
		t.Fatal(err)
	}
	ask := func(want, sql string) {
		t.Helper()
		_, rows := trino.Query(t, sql)
		if got := fmt.Sprint(rows); want != "" && got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	ask("", "create schema lab with (location = 'file://"+dir+"/lab')")
	ask("", "create table lab.t (id bigint, v varchar, d date, n integer) with (format = 'PARQUET', partitioned_by = array['d', 'n'])")
	ask("[[4]]", "insert into lab.t values (1, 'a', date '2026-07-05', 1), (2, 'b', date '2026-07-06', 2), (3, null, date '2026-07-06', 3), (4, 'd', null, 4)")
	ask("[[2] [3]]", "select id from lab.t where d = date '2026-07-06' order by id")
	ask("[[3] [4]]", "select id from lab.t where n > 2 order by id")
	ask("[[4]]", "select id from lab.t where d is null")
	ask("[[1]]", `select count(*) from lab."t$partitions" where d = date '2026-07-05'`)
	_, stats := trino.Query(t, "show stats for lab.t")
	if len(stats) != 5 || fmt.Sprint(stats[0]) != "[id <nil> 1.0 0.0 <nil> 1 4]" { // of each partition, the most distinct values
		t.Error(stats)
	}
	ask("", "analyze lab.t")
	ask("", "alter table lab.t add column more double")
	ask("", "create table lab.u with (format = 'PARQUET') as select id, v from lab.t")
	ask("[[t] [u]]", "show tables from lab")
	ask("", "create view lab.w as select count(*) c from lab.t")
	ask("[[4]]", "select c from lab.w")
	ask("", "drop view lab.w")
	ask("", "delete from lab.t where d = date '2026-07-05'")
	ask("[[3]]", "select count(*) from lab.t")
	ask("", "drop table lab.t")
	ask("", "drop table lab.u")
	ask("", "drop schema lab")
}
