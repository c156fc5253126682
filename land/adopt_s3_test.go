package land

import (
	"bytes"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/mem"
	"headwater/lake/s3"
	"headwater/tests/interop/fixture"
)

// TestAdoptOnS3 is TestAdopt on a server.
func TestAdoptOnS3(t *testing.T) {
	server := fixture.NewS3(t)
	fixture.SetAWS()
	store, err := s3.Open(t.Context(), server.Bucket(t, "raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	r := sunk(t)
	copyAll(t, store, r.store)
	there := func(o *Options) { o.Store = store }
	for range 2 {
		if _, err := r.adopt(r.lander(there)); err != nil {
			t.Fatal(err)
		}
	}
	r.land(there)
	if err := r.release(r.lander(there)); err != nil {
		t.Fatal(err)
	}
	r.store = mem.New()
	copyAll(t, r.store, store)
	if diff := cmp.Diff(ids(20, 15), r.landedIDs("topics/")); diff != "" {
		t.Error(diff)
	}
	if got := len(r.landedIDs(SupersededPrefix)); got != 8 {
		t.Errorf("%d records are superseded, want 8", got)
	}
}

func copyAll(t *testing.T, to, from lake.Store) {
	t.Helper()
	for o, err := range from.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		body, _, err := from.Get(t.Context(), o.Key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		_ = body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := to.Put(t.Context(), o.Key, bytes.NewReader(data), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
}
