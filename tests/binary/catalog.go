package binary

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake/file"
	"headwater/table"
	"headwater/table/dir"
	"headwater/table/hive"
	"headwater/table/metastore"
)

// Unregistered says in what the metastore of a pipeline that does not run differs from what the files of the tables say. It is empty
// if they agree.
func (p Pipeline) Unregistered(t testing.TB) string {
	t.Helper()
	tables := filepath.Join(p.Dir, "headwater-data/tables")
	store, err := file.Open(tables)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	files, err := dir.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(p.Dir, "headwater-data/state.db"), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := hive.Options{Config: hive.DefaultConfig(), Location: "file://" + tables}
	o.Config.URIs = []string{"thrift://" + m.Addr()}
	registered, err := hive.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer registered.Close()
	type entry struct {
		Table      table.Table
		Partitions []table.Partition
	}
	all := func(c table.Catalog) (out []entry) {
		ts, err := c.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, tbl := range ts {
			ps, err := c.Partitions(t.Context(), tbl.Name)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, entry{tbl, ps})
			// The folder that readers are sent to is the one of the files.
			if err := registered.Ensure(t.Context(), table.Table{Name: tbl.Name}); err != nil {
				return append(out, entry{Table: table.Table{Name: table.Name{Table: fmt.Sprint(err)}}})
			}
		}
		return out
	}
	return cmp.Diff(all(files), all(registered))
}
