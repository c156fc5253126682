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

// metastore serves the metastore of a pipeline that does not run, for tables at the location, until closed.
func (p Pipeline) metastore(t testing.TB, location string) (_ *hive.Catalog, closed func()) {
	t.Helper()
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(p.Dir, "headwater-data/state.db"), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, m.Addr(), location)
	return c, func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// RegisteredAt is an error if the metastore of a pipeline that does not run lacks the table, or has it elsewhere than below the location.
func (p Pipeline) RegisteredAt(t testing.TB, location string, n table.Name) error {
	t.Helper()
	c, closed := p.metastore(t, location)
	defer closed()
	if _, err := c.Table(t.Context(), n); err != nil {
		return err
	}
	return c.Ensure(t.Context(), table.Table{Name: n})
}

// Unregistered says in what the metastore of a pipeline that does not run differs from what the files of the tables say. It is empty
// if they agree.
func (p Pipeline) Unregistered(t testing.TB) string {
	t.Helper()
	tables := filepath.Join(p.Dir, "headwater-data/tables")
	c, closed := p.metastore(t, "file://"+tables)
	defer closed()
	return unregistered(t, tables, c)
}

// UnregisteredAt is Unregistered of a metastore elsewhere, at host:port.
func (p Pipeline) UnregisteredAt(t testing.TB, addr string) string {
	t.Helper()
	tables := filepath.Join(p.Dir, "headwater-data/tables")
	c := connect(t, addr, "file://"+tables)
	defer c.Close()
	return unregistered(t, tables, c)
}

func connect(t testing.TB, addr, location string) *hive.Catalog {
	t.Helper()
	o := hive.Options{Config: hive.DefaultConfig(), Location: location}
	o.Config.URIs = []string{"thrift://" + addr}
	c, err := hive.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Files is the catalog that is made of the files of a folder of tables.
func Files(t testing.TB, tables string) *dir.Catalog {
	t.Helper()
	store, err := file.Open(tables)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	c, err := dir.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func unregistered(t testing.TB, tables string, registered *hive.Catalog) string {
	t.Helper()
	type entry struct {
		Table      table.Table
		Partitions []table.Partition
		Elsewhere  string
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
			e := entry{Table: tbl, Partitions: ps}
			if c == table.Catalog(registered) {
				if err := registered.Ensure(t.Context(), table.Table{Name: tbl.Name}); err != nil {
					e.Elsewhere = fmt.Sprint(err)
				}
			}
			out = append(out, e)
		}
		return out
	}
	return cmp.Diff(all(Files(t, tables)), all(registered))
}
