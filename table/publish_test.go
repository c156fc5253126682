package table_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
	"headwater/table"
	"headwater/table/dir"
	"headwater/table/tabletest"
)

func catalog(t *testing.T, s lake.Store) *dir.Catalog {
	t.Helper()
	c, err := dir.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func look(t *testing.T, s lake.Store) table.Seen {
	t.Helper()
	seen, err := table.Look(t.Context(), s, orders, day)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func publication(t *testing.T, s lake.Store, c table.Catalog, f table.Footer, seen table.Seen) table.Publication {
	return table.Publication{Tables: s, Catalog: c, Name: orders, Day: day, File: bytes.NewReader(tabletest.Made(t, f)), Footer: f, Seen: seen}
}

// wantPublished checks that f's file is in place and that c says so.
func wantPublished(t *testing.T, s lake.Store, c table.Catalog, f table.Footer) {
	t.Helper()
	seen := look(t, s)
	if diff := cmp.Diff(f, seen.Footer); diff != "" {
		t.Errorf("in place (-want +got):\n%s", diff)
	}
	ps, err := c.Partitions(t.Context(), orders)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]table.Partition{table.PartitionOf(day, seen)}, ps); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
}

func TestPublish(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	for i, f := range []table.Footer{footer("a", 3), footer("b", 3), footer("c", 5)} {
		r, err := table.Publish(t.Context(), publication(t, s, c, f, look(t, s)))
		if err != nil || !r.Written || r.Object != look(t, s).Object {
			t.Fatalf("publish %d: %+v, %v", i, r, err)
		}
		wantPublished(t, s, c, f)
	}
}

func TestPublishOfWhatIsThereOnlyRegisters(t *testing.T) {
	s := mem.New()
	f := footer("a", 3)
	o := put(t, s, tabletest.Made(t, f))
	c, err := dir.Open(t.Context(), mem.New()) // a catalog that has lost the registration
	if err != nil {
		t.Fatal(err)
	}
	p := publication(t, s, c, f, look(t, s))
	p.File = nil
	r, err := table.Publish(t.Context(), p)
	if err != nil || r.Written || r.Object != o {
		t.Fatalf("%+v, %v", r, err)
	}
	wantPublished(t, s, c, f)

	p.Footer = footer("b", 3)
	if _, err := table.Publish(t.Context(), p); err == nil {
		t.Error("a run without a file was published over another's")
	}
}

func TestPublishRefusesToShrink(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	before := footer("a", 3)
	if _, err := table.Publish(t.Context(), publication(t, s, c, before, look(t, s))); err != nil {
		t.Fatal(err)
	}
	fewer := footer("b", 2)
	p := publication(t, s, c, fewer, look(t, s))
	_, err := table.Publish(t.Context(), p)
	if !errors.Is(err, table.ErrShrink) || !strings.Contains(err.Error(), "holds 3, the new file 2") || !strings.Contains(err.Error(), "--allow-shrink") {
		t.Errorf("got %v", err)
	}
	wantPublished(t, s, c, before)
	p.AllowShrink = true
	if _, err := table.Publish(t.Context(), p); err != nil {
		t.Errorf("with AllowShrink: %v", err)
	}
	wantPublished(t, s, c, fewer)
}

func TestPublishRefusesAnOutdatedWriter(t *testing.T) {
	for name, first := range map[string]bool{"a new partition": true, "a replaced partition": false} {
		s := mem.New()
		c := catalog(t, s)
		if !first {
			put(t, s, tabletest.Made(t, footer("old", 1)))
		}
		seen := look(t, s)
		winner := footer("winner", 3)
		if _, err := table.Publish(t.Context(), publication(t, s, c, winner, seen)); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Publish(t.Context(), publication(t, s, c, footer("loser", 9), seen)); !errors.Is(err, table.ErrOutdated) {
			t.Errorf("%s: %v, want ErrOutdated", name, err)
		}
		wantPublished(t, s, c, winner)
		// The same run twice is one success.
		r, err := table.Publish(t.Context(), publication(t, s, c, winner, seen))
		if err != nil || r.Object != look(t, s).Object {
			t.Errorf("%s: the same run again: %+v, %v", name, r, err)
		}
	}
}

func TestPublishOfADeletedPartition(t *testing.T) {
	s := mem.New()
	put(t, s, tabletest.Made(t, footer("old", 1)))
	seen := look(t, s)
	if err := s.Delete(t.Context(), seen.Object.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := table.Publish(t.Context(), publication(t, s, catalog(t, s), footer("new", 2), seen)); !errors.Is(err, table.ErrOutdated) {
		t.Errorf("got %v, want ErrOutdated", err)
	}
}

func TestPublishWithFaults(t *testing.T) {
	boom := errors.New("connection reset")
	for name, c := range map[string]struct {
		rule lakefault.Rule
		ok   bool // whether the file is in place after the first, failing or succeeding, publish
		want error
	}{
		"the put fails":             {lakefault.Rule{Op: lakefault.Put, When: lakefault.Before, Err: boom}, false, boom},
		"the put's reply is lost":   {lakefault.Rule{Op: lakefault.Put, When: lakefault.After, Err: boom}, true, nil},
		"the check after it fails":  {lakefault.Rule{Op: lakefault.Stat, When: lakefault.Before, Err: boom}, true, boom},
		"the reply says it existed": {lakefault.Rule{Op: lakefault.Put, When: lakefault.After, Err: lake.ErrExists}, true, nil},
		"the reply says it changed": {lakefault.Rule{Op: lakefault.Put, When: lakefault.After, Err: lake.ErrChanged}, true, nil},
	} {
		for _, replaces := range []bool{false, true} {
			plain := mem.New()
			if replaces {
				put(t, plain, tabletest.Made(t, footer("old", 1)))
			}
			s := lakefault.New(plain, c.rule)
			cat := catalog(t, plain)
			f := footer("new", 3)
			seen := look(t, plain)
			_, err := table.Publish(t.Context(), publication(t, s, cat, f, seen))
			if !errors.Is(err, c.want) || s.Fired() == 0 {
				t.Errorf("%s: %v after %d faults, want %v", name, err, s.Fired(), c.want)
			}
			if now := look(t, plain); (now.Footer.Run == f.Run) != c.ok {
				t.Errorf("%s: the file is in place: %t, want %t", name, !c.ok, c.ok)
			}
			// A second try of the same run ends well, whatever the first did.
			s.Set()
			if _, err := table.Publish(t.Context(), publication(t, s, cat, f, seen)); err != nil {
				t.Errorf("%s: again: %v", name, err)
			}
			wantPublished(t, plain, cat, f)
		}
	}
}

func TestNothingForeignIsOverwritten(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"another's file": {tabletest.File(t, 1), table.ErrForeign},
		"no Parquet":     {[]byte("hello"), table.ErrNotParquet},
	} {
		s := mem.New()
		o := put(t, s, c.data)
		if _, err := table.Look(t.Context(), s, orders, day); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		// A file that came after the look.
		if _, err := table.Publish(t.Context(), publication(t, s, catalog(t, s), footer("a", 3), table.Seen{})); !errors.Is(err, c.want) {
			t.Errorf("%s: publish: %v, want %v", name, err, c.want)
		}
		if now, err := s.Stat(t.Context(), o.Key); err != nil || now.Version != o.Version {
			t.Errorf("%s: it was replaced (%v)", name, err)
		}
	}
}

// lateCatalog lets another publish happen just before a registration.
type lateCatalog struct {
	table.Catalog
	before func()
}

func (l *lateCatalog) SetPartitions(ctx context.Context, n table.Name, ps []table.Partition) error {
	if f := l.before; f != nil {
		l.before = nil
		f()
	}
	return l.Catalog.SetPartitions(ctx, n, ps)
}

func TestTheLastFileIsTheOneRegistered(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	newer := footer("newer", 7)
	late := &lateCatalog{Catalog: c, before: func() {
		if _, err := table.Publish(t.Context(), publication(t, s, c, newer, look(t, s))); err != nil {
			t.Error(err)
		}
	}}
	if _, err := table.Publish(t.Context(), publication(t, s, late, footer("older", 3), table.Seen{})); err != nil {
		t.Fatal(err)
	}
	wantPublished(t, s, c, newer)
}

func TestRacingPublishers(t *testing.T) {
	s := mem.New()
	c := catalog(t, s)
	seen := look(t, s)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		p := publication(t, s, c, footer(fmt.Sprint(i), 3), seen)
		wg.Go(func() {
			_, err := table.Publish(t.Context(), p)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, table.ErrOutdated) {
				t.Errorf("publisher %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of 8 publishers won", won)
	}
	wantPublished(t, s, c, look(t, s).Footer)
}
