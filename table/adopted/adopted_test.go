package adopted

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
	"headwater/table/metastore"
	"headwater/table/tabletest"
)

// errDead is what everything returns to a process that is no more.
var errDead = errors.New("the process was killed")

// life ends after a number of writes; less than 0 is never.
type life struct{ left atomic.Int64 }

func (l *life) write() error {
	for {
		left := l.left.Load()
		switch {
		case left == 0:
			return errDead
		case left < 0, l.left.CompareAndSwap(left, left-1):
			return nil
		}
	}
}

// mortal is a store and a metastore as a process has them that may be killed.
type mortal struct {
	lake.Store
	hive *hive.Catalog
	*life
}

func (m mortal) Sweep(context.Context) (int, error) { return 0, nil }
func (m mortal) Close() error                       { return nil }

func (m mortal) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	if err := m.write(); err != nil {
		return lake.Object{}, err
	}
	return m.Store.Put(ctx, key, body, cond)
}

func (m mortal) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	if m.left.Load() == 0 {
		return nil, lake.Object{}, errDead
	}
	return m.Store.Get(ctx, key, offset, n)
}

func (m mortal) Delete(ctx context.Context, key string) error {
	if err := m.write(); err != nil {
		return err
	}
	return m.Store.Delete(ctx, key)
}

func (m mortal) Theirs(ctx context.Context, n table.Name) (hive.Theirs, error) {
	return m.hive.Theirs(ctx, n)
}

func (m mortal) Adopt(ctx context.Context, n table.Name, columns schema.Type) error {
	if err := m.write(); err != nil {
		return err
	}
	return m.hive.Adopt(ctx, n, columns)
}

func (m mortal) Release(ctx context.Context, n table.Name, ps []table.Partition, before map[string]string) error {
	if err := m.write(); err != nil {
		return err
	}
	return m.hive.Release(ctx, n, ps, before)
}

var (
	name    = table.Name{Database: "shop", Table: "orders"}
	columns = schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "id", Type: schema.Type{Kind: schema.Long}}}}
	texts   = schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "id", Type: schema.Type{Kind: schema.Double}}}}
)

const root = "s3a://lake/tables"

func on(day int) table.Day { return table.Day{Year: 2026, Month: 7, Day: day} }

// world is a lake and a metastore with a table of another job: two days with files, the second with two, and one that is registered without.
type world struct {
	mem  lake.Store
	hive *hive.Catalog
	// layout is how the other job spells its days.
	layout table.Layout
}

// sparkFile is a file as a job on Spark leaves it.
func sparkFile(t *testing.T, rows int64, typ schema.Type) []byte {
	t.Helper()
	text, err := typ.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return tabletest.File(t, rows, [2]string{"org.apache.spark.sql.parquet.row.metadata", string(text)})
}

func (w *world) put(t *testing.T, key string, data []byte) {
	t.Helper()
	if _, err := w.mem.Put(t.Context(), key, bytes.NewReader(data), lake.Condition{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) folder(day int) string { return w.layout.Prefix + "/" + w.layout.Below(on(day).Path()) }

func newWorld(t *testing.T, digits int) *world {
	t.Helper()
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "hive.db"), Addr: "127.0.0.1:0", Warehouse: root}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	w := &world{mem: mem.New(), layout: table.Layout{Prefix: "shop/orders", Folders: [3]int{1, digits, digits}, Values: [3]int{1, digits, digits}}}
	w.hive = w.open(t, m.Addr())
	w.put(t, w.folder(4)+"/part-00000-a.c000.snappy.parquet", sparkFile(t, 4, columns))
	w.put(t, w.folder(5)+"/part-00000-b.c000.snappy.parquet", sparkFile(t, 2, columns))
	w.put(t, w.folder(5)+"/part-00001-b.c000.snappy.parquet", sparkFile(t, 3, columns))
	w.put(t, w.folder(5)+"/_SUCCESS", nil)
	// A table of ours that was given back is one of another job.
	if err := w.hive.Ensure(t.Context(), table.Table{Name: name, Schema: columns}); err != nil {
		t.Fatal(err)
	}
	var ps []table.Partition
	for day := 4; day <= 6; day++ {
		ps = append(ps, table.Partition{Day: on(day), Key: "shop/orders/" + on(day).Path() + "/x", Files: 1, Schema: columns})
	}
	theirs, err := w.hive.Theirs(t.Context(), name)
	if err == nil {
		err = w.hive.Release(t.Context(), name, ps, theirs.Parameters)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) open(t *testing.T, addr string) *hive.Catalog {
	t.Helper()
	o := hive.Options{Config: hive.DefaultConfig(), Location: root, Layout: func(table.Name) (table.Layout, bool) { return w.layout, true }}
	o.Config.URIs = []string{"thrift://" + addr}
	h, err := hive.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// process is one that may be killed after some writes.
func (w *world) process(t *testing.T, writes int) Options {
	t.Helper()
	m := mortal{w.mem, w.hive, &life{}}
	m.left.Store(-1)
	r, err := Open(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	m.left.Store(int64(writes))
	return Options{Store: r, Metastore: m, Temp: t.TempDir()}
}

func (o Options) adoptAll(ctx context.Context) error {
	p, err := o.PlanAdoption(ctx, name)
	if err == nil {
		err = o.Adopt(ctx, p, nil)
	}
	return err
}

func (o Options) releaseAll(ctx context.Context) error {
	r, days, err := o.PlanRelease(ctx, name)
	if err == nil {
		err = o.Release(ctx, r, days)
	}
	return err
}

// untilDone has do killed after 0, 1, 2 ... writes, begun anew by another process each time, until one comes to its end.
func (w *world) untilDone(t *testing.T, do func(o Options) error) (kills int) {
	t.Helper()
	for ; ; kills++ {
		err := do(w.process(t, kills))
		if err == nil {
			return kills
		}
		if !errors.Is(err, errDead) {
			t.Fatalf("killed after %d writes: %v", kills, err)
		}
		if kills > 100 {
			t.Fatal("it never ends")
		}
	}
}

func (w *world) keys(t *testing.T) (keys []string) {
	t.Helper()
	for o, err := range w.mem.List(t.Context(), "shop/", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// rows are those of what is read of each day.
func rows(t *testing.T, s lake.Store) map[int]int64 {
	t.Helper()
	days, err := table.Days(t.Context(), s, name)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]int64{}
	err = table.LookDays(t.Context(), s, name, days, func(d table.Day, h table.Held, err error) error {
		out[d.Day], _ = h.Rows()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// publish makes a day as a run does.
func publish(t *testing.T, s lake.Store, c table.Catalog, day int, count int64) error {
	t.Helper()
	h, err := table.LookDay(t.Context(), s, name, on(day))
	if err != nil {
		return err
	}
	f := table.Footer{Table: name.String(), Day: on(day).String(), Inputs: []table.Input{{Key: fmt.Sprint("raw", day, count)}}, Rows: count, Schema: columns, Engine: "native", Closes: h.Closing()}
	f.Run = f.Digest()
	p := table.Publication{
		Tables: s, Catalog: c, Name: name, Day: on(day), File: bytes.NewReader(tabletest.Made(t, f)), Footer: f,
		Seen: h.Plain, Held: h, Swap: len(h.Commit.Adopted) > 0,
	}
	_, err = table.Publish(t.Context(), p)
	return err
}

// TestKilled: adoption and release may be killed at every write, and whoever does them again ends them; nothing of the data is touched by the one, and all of it is in the folders
// of its days after the other.
func TestKilled(t *testing.T) {
	for _, digits := range []int{1, 2} {
		t.Run(fmt.Sprint(digits), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, digits)
			before := w.keys(t)
			theirs, err := w.hive.Theirs(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if kills := w.untilDone(t, func(o Options) error { return o.adoptAll(t.Context()) }); kills < 4 {
				t.Errorf("it writes %d times: too few to be all", kills)
			}
			after := slices.DeleteFunc(w.keys(t), func(key string) bool { return strings.Contains(key, "/_runs/") })
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("adoption touches files (-before +after):\n%s", diff)
			}
			o := w.process(t, -1)
			if diff := cmp.Diff(map[int]int64{4: 4, 5: 5}, rows(t, o.Store)); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
			if _, err := o.PlanAdoption(t.Context(), name); err != nil {
				t.Errorf("adopting what is adopted: %v", err)
			}
			for day, count := range map[int]int64{5: 9, 7: 7} {
				if err := publish(t, o.Store, w.hive, day, count); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(map[int]int64{4: 4, 5: 9, 7: 7}, rows(t, o.Store)); diff != "" {
				t.Errorf("rows after publishing (-want +got):\n%s", diff)
			}

			w.untilDone(t, func(o Options) error { return o.releaseAll(t.Context()) })
			w.released(t, theirs)
		})
	}
}

// released checks that all is as the other job would have it.
func (w *world) released(t *testing.T, before hive.Theirs) {
	t.Helper()
	now, err := w.hive.Theirs(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if now.Ours {
		t.Error("the metastore still says that the table is headwater's")
	}
	delete(before.Parameters, "transient_lastDdlTime")
	delete(now.Parameters, "transient_lastDdlTime")
	if diff := cmp.Diff(before.Parameters, now.Parameters); diff != "" {
		t.Errorf("parameters (-before +after):\n%s", diff)
	}
	var places []string
	for _, p := range now.Partitions {
		places = append(places, p.Below)
	}
	slices.Sort(places)
	want := []string{w.layout.Below(on(4).Path()), w.layout.Below(on(5).Path()), w.layout.Below(on(6).Path()), w.layout.Below(on(7).Path())}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Errorf("partitions (-want +got):\n%s", diff)
	}
	count := map[string]int{}
	for _, key := range w.keys(t) {
		if strings.HasSuffix(key, ".parquet") {
			count[filepath.Dir(key)]++
		}
		if strings.Contains(key, "/_runs/") {
			t.Errorf("left behind: %s", key)
		}
	}
	if diff := cmp.Diff(map[string]int{w.folder(4): 1, w.folder(5): 1, w.folder(7): 1}, count); diff != "" {
		t.Errorf("files in folders (-want +got):\n%s", diff)
	}
	o := w.process(t, -1)
	if err := publish(t, o.Store, w.hive, 8, 8); !errors.Is(err, ErrNotOurs) {
		t.Errorf("publishing after the release: %v", err)
	}
	if _, err := o.Store.Put(t.Context(), "shop/orders/x", bytes.NewReader(nil), lake.Condition{}); !errors.Is(err, ErrNotOurs) {
		t.Errorf("writing after the release: %v", err)
	}
	if err := o.adoptAll(t.Context()); err != nil {
		t.Errorf("adopting again: %v", err)
	}
	if diff := cmp.Diff(map[int]int64{4: 4, 5: 9, 7: 7}, rows(t, o.Store)); diff != "" {
		t.Errorf("rows adopted again (-want +got):\n%s", diff)
	}
}

// TestChanged: a day that the other job writes after it was adopted is named, and adopted anew as it is then.
func TestChanged(t *testing.T) {
	w := newWorld(t, 2)
	o := w.process(t, -1)
	if err := o.adoptAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.put(t, w.folder(4)+"/part-00000-z.c000.snappy.parquet", sparkFile(t, 40, columns))
	if err := w.mem.Delete(t.Context(), w.folder(4)+"/part-00000-a.c000.snappy.parquet"); err != nil {
		t.Fatal(err)
	}
	report, err := table.Audit(t.Context(), o.Store, w.hive, name, schema.Type{})
	if err != nil || !slices.ContainsFunc(report.Findings, func(f table.Finding) bool {
		return f.Kind == table.FoundForeign && strings.Contains(f.Text, "tables adopt")
	}) {
		t.Errorf("%+v, %v", report, err)
	}
	if err := o.releaseAll(t.Context()); !errors.Is(err, table.ErrForeign) && !errors.Is(err, lake.ErrNotExist) {
		t.Errorf("a release that would lose a day: %v", err)
	}
	w = newWorld(t, 2)
	o = w.process(t, -1)
	if err := o.adoptAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.put(t, w.folder(4)+"/part-00000-z.c000.snappy.parquet", sparkFile(t, 40, columns))
	if err := o.adoptAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := rows(t, o.Store); got[4] != 44 {
		t.Errorf("adopted anew: %v", got)
	}
}

// TestRefused: what cannot be taken over is told, all at once, and nothing is changed.
func TestRefused(t *testing.T) {
	text := schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "id", Type: schema.Type{Kind: schema.List, Elem: &schema.Type{Kind: schema.Long}}}}}
	for want, spoil := range map[string]func(w *world){
		"PAR1":         func(w *world) { w.put(t, w.folder(5)+"/part-00002.parquet", []byte("no parquet")) },
		"has not made": func(w *world) { w.put(t, w.folder(5)+"/part-00002.parquet", tabletest.File(t, 1)) },
		"is nested":    func(w *world) { w.put(t, w.folder(5)+"/part-00002.parquet", sparkFile(t, 1, text)) },
		"go elsewhere": nil,
	} {
		t.Run(want, func(t *testing.T) {
			w := newWorld(t, 1)
			o := w.process(t, -1)
			if spoil == nil {
				o.Others = []table.Name{{Database: "shop", Table: "orders"}, {Database: "shop", Table: "orders/below"}}
			} else {
				spoil(w)
			}
			_, err := o.PlanAdoption(t.Context(), name)
			if _, refused := errors.AsType[Refusal](err); !refused || !strings.Contains(err.Error(), want) {
				t.Errorf("it is not refused: %v", err)
			}
		})
	}
}

// TestMatrix: columns whose type differs are named with the days that have them so.
func TestMatrix(t *testing.T) {
	w := newWorld(t, 2)
	w.put(t, w.folder(6)+"/part-00000-d.c000.snappy.parquet", sparkFile(t, 1, texts))
	w.put(t, w.folder(9)+"/part-00000-d.c000.snappy.parquet", sparkFile(t, 1, texts))
	p, err := w.process(t, -1).PlanAdoption(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	want := []Differing{{Column: "id", All: "double", Types: []TypeDays{{"bigint", []table.Day{on(4), on(5)}}, {"double", []table.Day{on(6)}}}}}
	if diff := cmp.Diff(want, p.Differing); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]table.Day{on(9)}, p.Unregistered); diff != "" {
		t.Errorf("not registered (-want +got):\n%s", diff)
	}
}

// TestStore: the store with adopted tables in it keeps the contract of a store, in the place of an adopted table too.
func TestStore(t *testing.T) {
	w := newWorld(t, 2)
	o := w.process(t, -1)
	if err := o.adoptAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.put(t, "air/flights/year=2026/month=7/day=5/part-00000.snappy.parquet", []byte("x"))
	w.put(t, "zoo/x", []byte("x"))
	for _, key := range []string{"shop/orders/year=2026/month=10/day=5/a", "shop/orders/year=2026/month=7/day=12/a"} {
		if _, err := o.Store.Put(t.Context(), key, strings.NewReader("x"), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, prefix := range []string{"", "shop/", "shop/orders/", "shop/orders/year=2026/month=7/day=5/", "shop/orders/_runs/2026-07-05-", "shop/orders/year=2026/month=7"} {
		for _, after := range []string{"", "shop/orders/year=2026/month=7/day=12/a"} {
			var keys []string
			for object, err := range o.Store.List(t.Context(), prefix, after) {
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, object.Key)
				if !strings.HasPrefix(object.Key, prefix) || object.Key <= after {
					t.Errorf("list %q after %q has %s", prefix, after, object.Key)
				}
				if got, err := o.Store.Stat(t.Context(), object.Key); err != nil || got.Key != object.Key {
					t.Errorf("stat of %s: %v, %v", object.Key, got, err)
				}
			}
			if !slices.IsSorted(keys) || len(keys) == 0 && after == "" {
				t.Errorf("list %q after %q: %v", prefix, after, keys)
			}
		}
	}
}
