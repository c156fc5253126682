package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
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
