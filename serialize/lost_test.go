package serialize

import (
	"bytes"
	"errors"
	"testing"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/table"
)

// TestEveryStoreCallFails has each call to each store of a run fail in turn, before it takes effect and after, when only its reply is lost.
// The run ends well or with an error that may pass, and the next one leaves what a run without faults leaves: on an empty table,
// and on one that is replaced.
func TestEveryStoreCallFails(t *testing.T) {
	t.Parallel()
	clean := newWorld(t)
	begin(t, clean)
	clean.run(t)
	clean.put(t, envelopeOf(`{"a":3.5}`))
	clean.run(t)
	for _, store := range []string{"raw", "tables"} {
		for _, when := range []lakefault.When{lakefault.Before, lakefault.After} {
			fired := 0
			for nth := 1; ; nth++ {
				w := newWorld(t)
				begin(t, w)
				if !failNth(t, w, store, when, nth) {
					break
				}
				w.put(t, envelopeOf(`{"a":3.5}`))
				if !failNth(t, w, store, when, nth) {
					break
				}
				fired++
				sameAs(t, w, clean)
				if t.Failed() {
					t.Fatalf("with call %d of the %s layer failing, %v", nth, store, when)
				}
			}
			if fired < 5 {
				t.Errorf("only %d calls of the %s layer failed", fired, store)
			}
		}
	}
}

func begin(t *testing.T, w *world) {
	t.Helper()
	w.put(t, envelopeOf(`{"a":1,"b":[{"c":"x"}]}`), `bad`)
	w.put(t, envelopeOf(`{"a":2}`))
}

// failNth runs with one fault, and again without; it is false if the run made too few calls to meet the fault.
func failNth(t *testing.T, w *world, store string, when lakefault.When, nth int) bool {
	t.Helper()
	rule := lakefault.Rule{Nth: nth, When: when}
	raw, tables := lakefault.New(w.raw), lakefault.New(w.tables)
	faulty := map[string]*lakefault.Store{"raw": raw, "tables": tables}[store]
	faulty.Set(rule)
	w.Raw, w.Tables = raw, tables
	w.Quarantine = lake.Quarantine{Store: raw, Dir: t.TempDir()}
	_, err := w.Run(t.Context(), w.job)
	met := faulty.Fired() > 0
	if err != nil && (!errors.Is(err, lakefault.ErrInjected) || retry.Classify(err) == retry.Permanent) {
		t.Errorf("it ended with %v, which nobody would try again", err)
	}
	w.Raw, w.Tables, w.Quarantine = w.raw, w.tables, lake.Quarantine{Store: w.raw, Dir: t.TempDir()}
	w.run(t)
	return met
}

func sameAs(t *testing.T, w, clean *world) {
	t.Helper()
	for _, n := range []table.Name{w.job.Raw, w.job.Flat} {
		if !bytes.Equal(clean.file(t, n), w.file(t, n)) {
			t.Errorf("%s has other bytes than runs without a fault make", n)
		}
		if ps, err := w.Catalog.Partitions(t.Context(), n); err != nil || len(ps) != 1 {
			t.Error(ps, err)
		}
	}
	key := lake.QuarantineKey("serialize", "ticks", "2026-07-05", "2026-07-05")
	if !bytes.Equal(bytesOf(t, clean.raw, key), bytesOf(t, w.raw, key)) {
		t.Error("other records are in quarantine")
	}
}
