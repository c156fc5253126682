package table_test

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"headwater/lake"
	"headwater/lake/file"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
	"headwater/table"
	"headwater/table/tabletest"
)

// others has files of so many rows put into a new folder, as another engine does it, and is the Publication of them.
func others(t *testing.T, s lake.Store, c table.Catalog, f table.Footer, rows ...int64) table.Publication {
	t.Helper()
	h := held(t, s)
	f.Closes = h.Closing()
	p := table.Publication{Tables: s, Catalog: c, Name: orders, Day: day, Footer: f, Seen: h.Whole(), Held: *h}
	at := table.NewFolder(orders, day, *h)
	for i, n := range rows {
		key := fmt.Sprintf("%s/part-%05d-4cf5.c000.snappy.parquet", at, i)
		if _, err := s.Put(t.Context(), key, bytes.NewReader(tabletest.File(t, n)), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
		p.Files = append(p.Files, key)
	}
	return p
}

// TestFilesOfOthers: they are what is read, all of them, after a file of ours and before one.
func TestFilesOfOthers(t *testing.T) {
	for name, s := range map[string]lake.Store{"memory": mem.New(), "a folder": folder(t)} {
		t.Run(name, func(t *testing.T) {
			c := catalog(t, s)
			replace(t, s, c, footer("ours", 1))
			f := footer("theirs", 6)
			got, err := table.Publish(t.Context(), others(t, s, c, f, 1, 0, 5))
			if err != nil || !got.Written {
				t.Fatalf("%+v, %v", got, err)
			}
			wantFiles(t, s, c, f, 1, 0, 5)
			again := table.Publication{Tables: s, Catalog: c, Name: orders, Day: day, Footer: f, Seen: held(t, s).Whole(), Held: *held(t, s)}
			if got, err := table.Publish(t.Context(), again); err != nil || got.Written {
				t.Errorf("what is there is registered again: %+v, %v", got, err)
			}
			f = footer("theirs again", 7)
			if _, err := table.Publish(t.Context(), others(t, s, c, f, 7)); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, s, c, f, 7)
			last := footer("ours again", 8)
			replace(t, s, c, last)
			wantRead(t, s, c, last)
		})
	}
}

func folder(t *testing.T) lake.Store {
	t.Helper()
	s, err := file.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// wantFiles checks that readers and catalogs have files of so many rows, of the run of f.
func wantFiles(t *testing.T, s lake.Store, c table.Catalog, f table.Footer, rows ...int64) {
	t.Helper()
	h := held(t, s)
	files := h.Files()
	if len(files) != len(rows) {
		t.Fatalf("read are %d files, want %d", len(files), len(rows))
	}
	for i, file := range files {
		o, err := s.Stat(t.Context(), file.Object.Key)
		if err != nil || file.Object.Size != o.Size || file.Footer.Rows != rows[i] {
			t.Errorf("file %d of %d bytes has %d rows, want %d of %d, %v", i, file.Object.Size, file.Footer.Rows, o.Size, rows[i], err)
		}
	}
	for name, c := range map[string]table.Catalog{"told": c, "made": catalog(t, s)} {
		ps, err := c.Partitions(t.Context(), orders)
		if err != nil || len(ps) != 1 || ps[0].Rows != f.Rows || ps[0].Files != len(rows) || path.Dir(ps[0].Key) != path.Dir(files[0].Object.Key) {
			t.Errorf("the catalog that was %s has %+v, %v", name, ps, err)
		}
	}
	if got := h.Whole().Footer.Run; got != f.Run {
		t.Errorf("read is run %s, want %s", got, f.Run)
	}
}

// junk is the key of what is no Parquet file.
func junk(t *testing.T, s lake.Store) string {
	t.Helper()
	const key = "shop/orders/_runs/junk/part-00000"
	if _, err := s.Put(t.Context(), key, strings.NewReader("PAR1"), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
	return key
}

func TestFilesOfOthersRefused(t *testing.T) {
	boom := errors.New("connection reset")
	for name, test := range map[string]struct {
		spoil func(*table.Publication)
		rule  lakefault.Rule
		want  error
		says  string
	}{
		"rows are missing":        {func(p *table.Publication) { p.Files = p.Files[1:] }, lakefault.Rule{}, nil, "have 5 rows, and should have 6"},
		"a file is missing":       {func(p *table.Publication) { p.Files[0] += "x" }, lakefault.Rule{}, lake.ErrNotExist, "part-00000"},
		"a file is none":          {func(p *table.Publication) { p.Files[0] = junk(t, p.Tables) }, lakefault.Rule{}, table.ErrNotParquet, "part-00000"},
		"fewer than there were":   {func(p *table.Publication) { p.Footer.Rows = 1 }, lakefault.Rule{}, table.ErrShrink, "holds 2"},
		"the commit's put fails":  {nil, lakefault.Rule{Op: lakefault.Put, KeyContains: "-v0", When: lakefault.Before, Err: boom}, boom, ""},
		"another was there first": {func(p *table.Publication) { swap(t, p.Tables, catalog(t, p.Tables), footer("first", 9)) }, lakefault.Rule{}, table.ErrOutdated, "run it again"},
	} {
		plain := mem.New()
		c := catalog(t, plain)
		swap(t, plain, c, footer("old", 2))
		p := others(t, plain, c, footer("new", 6), 1, 5)
		if test.spoil != nil {
			test.spoil(&p)
		}
		before := held(t, plain).Whole().Footer.Run
		if test.rule.Err != nil {
			p.Tables = lakefault.New(plain, test.rule)
		}
		_, err := table.Publish(t.Context(), p)
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if now := held(t, plain).Whole().Footer.Run; now != before {
			t.Errorf("%s: read is run %s", name, now)
		}
	}
}

// TestFilesOfOthersWithALostReply: a commit whose answer is lost is ours, and another engine's files of the same run are not.
func TestFilesOfOthersWithALostReply(t *testing.T) {
	plain := mem.New()
	c := catalog(t, plain)
	f := footer("new", 6)
	p, slow := others(t, plain, c, f, 6), others(t, plain, c, f, 2, 4)
	p.Tables = lakefault.New(plain, lakefault.Rule{Op: lakefault.Put, KeyContains: "-v0", When: lakefault.After, Err: errors.New("connection reset")})
	if _, err := table.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, plain, c, f, 6)
	if _, err := table.Publish(t.Context(), slow); !errors.Is(err, table.ErrOutdated) {
		t.Errorf("the slower of two: %v", err)
	}
	wantFiles(t, plain, c, f, 6)
	// Its files are read by nobody, and go when it must be dead.
	if err := table.Sweep(t.Context(), plain, *held(t, plain), time.Hour); err != nil || len(keys(t, plain)) != 4 {
		t.Errorf("%v, left are %v", err, keys(t, plain))
	}
	if err := table.Sweep(t.Context(), plain, *held(t, aged{plain, "/"}), time.Hour); err != nil || len(keys(t, plain)) != 2 {
		t.Errorf("%v, left are %v", err, keys(t, plain))
	}
	wantFiles(t, plain, c, f, 6)
}
