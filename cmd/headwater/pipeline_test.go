package main

import (
	"testing"

	"headwater/envelope"
	"headwater/lake"
	"headwater/lake/mem"
)

// TestKeptOnce: what was kept for a process that was killed comes again, with the number of another item. Each is there once.
func TestKeptOnce(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(data string) string{
		"items with keys":    func(data string) string { return "key of " + data },
		"items without keys": func(string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := mem.New()
			q := quarantine{Quarantine: lake.Quarantine{Store: store, Dir: t.TempDir()}}
			keep := func(seq int64, data string) {
				at := envelope.Position{Stream: "s", Seq: seq, Key: key(data)}
				if err := q.Keep(t.Context(), "odd", at, "too-large", []byte(data)); err != nil {
					t.Fatal(err)
				}
			}
			keep(5, "a")
			keep(5, "a") // killed before the record
			keep(5, "b") // killed again
			if key("") != "" {
				keep(6, "a") // in the other order; what has no key is not known again
			}
			kept := map[string]int{}
			for o, err := range store.List(t.Context(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				for e, err := range q.Read(t.Context(), o.Key) {
					if err != nil {
						t.Fatal(err)
					}
					kept[string(e.Data)]++
				}
			}
			if len(kept) != 2 || kept["a"] != 1 || kept["b"] != 1 {
				t.Errorf("kept %v, want a and b once", kept)
			}
		})
	}
}
