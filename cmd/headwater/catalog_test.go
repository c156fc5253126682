package main

import (
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
	"headwater/table/dir"
	"headwater/table/hive"
	"headwater/table/hivefault"
	"headwater/table/metastore"
)

// told1 is a catalog that tells a metastore of one table's one day.
type told1 struct {
	*catalog
	proxy *hivefault.Proxy
	calls atomic.Int64 // of all kinds
	spoil atomic.Int64 // so many changes of a partition yet
}

// newTold1 makes one, whose metastore meets changes of a partition with the fault when it is asked to.
func newTold1(t *testing.T, f hivefault.Fault) *told1 {
	t.Helper()
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "state.db"), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	c := &told1{}
	c.proxy, err = hivefault.New(hivefault.Options{Target: m.Addr(), Late: time.Hour, Fault: func(call string) hivefault.Fault {
		c.calls.Add(1)
		if call == "alter_partitions_with_environment_context" && c.spoil.Add(-1) >= 0 {
			return f
		}
		return hivefault.None
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.proxy.Close() })
	files, err := dir.Open(t.Context(), mem.New())
	if err != nil {
		t.Fatal(err)
	}
	o := hive.Options{Config: hive.DefaultConfig(), Location: "file:///srv/tables"}
	o.Config.URIs, o.Config.Timeout = []string{"thrift://" + c.proxy.Addr()}, 500*time.Millisecond
	h, err := hive.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	c.catalog = &catalog{Catalog: files, hive: h, calls: h, told: map[table.Name]*told{}}
	t.Cleanup(func() { _ = c.close() })
	return c
}

var toldOf = table.Name{Database: "db", Table: "orders"}

// register tells of a run, with the next changes of a partition spoiled, and gives how many calls that took.
func (c *told1) register(t *testing.T, run string, spoil int64) (calls int64, err error) {
	t.Helper()
	c.spoil.Store(spoil)
	before := c.calls.Load()
	on := table.Day{Year: 2026, Month: 7, Day: 5}
	s := schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "n", Type: schema.Type{Kind: schema.Long}}}}
	p := table.Partition{Day: on, Key: table.PartKey(toldOf, on), Files: 1, Schema: s, Rows: 1, Bytes: 100, Run: run}
	err = errors.Join(c.Ensure(t.Context(), table.Table{Name: toldOf, Schema: s}), c.SetPartitions(t.Context(), toldOf, []table.Partition{p}))
	return c.calls.Load() - before, err
}

func (c *told1) must(t *testing.T, run string, spoil int64) (calls int64) {
	t.Helper()
	calls, err := c.register(t, run, spoil)
	if err != nil {
		t.Fatalf("run %s: %v", run, err)
	}
	return calls
}

func (c *told1) want(t *testing.T, run string) {
	t.Helper()
	ps, err := c.hive.Partitions(t.Context(), toldOf)
	if err != nil || len(ps) != 1 || ps[0].Run != run {
		t.Errorf("the metastore has %v, %v, want run %s", ps, err, run)
	}
}

// TestLateCalls: what a metastore did late, over what it was told after it, is told again, and nothing else is.
func TestLateCalls(t *testing.T) {
	t.Parallel()
	c := newTold1(t, hivefault.Late)
	c.must(t, "a", 0)
	c.must(t, "b", 1) // asked twice: the first call comes late
	c.must(t, "c", 0)
	c.proxy.Heal()
	if n := c.must(t, "c", 0); n > 0 {
		t.Error("what the metastore knows was told again")
	}
	c.forget()
	c.must(t, "c", 0)
	c.want(t, "c")
	c.forget()
	if n := c.must(t, "c", 0); n > 0 {
		t.Error("it was told again although every call was answered since")
	}
}

// TestLostAnswers: a metastore that has done what it did not say is told what is so, also if that is what it had before.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	c := newTold1(t, hivefault.Unanswered)
	c.must(t, "a", 0)
	if _, err := c.register(t, "b", 10); err == nil {
		t.Fatal("no answer is none to worry about")
	}
	c.want(t, "b")
	c.must(t, "a", 0)
	c.want(t, "a")
}
