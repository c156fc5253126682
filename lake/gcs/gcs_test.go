package gcs

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/lake/laketest"
	"headwater/tests/interop/fixture"
)

func at(location string) (lake.Store, error) { return Open(context.Background(), location) }

// serve starts a server that Open finds.
func serve(t *testing.T) fixture.GCS {
	t.Helper()
	server := fixture.NewGCS(t)
	t.Setenv(emulator, server.Addr)
	return server
}

func TestStore(t *testing.T) {
	server := serve(t)
	var n atomic.Int32
	open := func(t *testing.T) lake.Store {
		s, err := at(server.Bucket(t, fmt.Sprintf("bucket-%d", n.Add(1))) + "/team/a?storage_class=NEARLINE")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Run("Contract", func(t *testing.T) { laketest.Run(t, open) })
	t.Run("Probe", func(t *testing.T) {
		s := open(t).(*Store)
		if err := s.Probe(t.Context()); err != nil {
			t.Error(err)
		}
		for o, err := range s.List(t.Context(), "", "") {
			t.Errorf("the probe left %v, %v", o, err)
		}
		none, err := Open(t.Context(), "gs://none")
		if err != nil {
			t.Fatal(err)
		}
		if err := none.Probe(t.Context()); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "create it") {
			t.Errorf("no bucket: %v", err)
		}
	})
}

// TestRace is between goroutines alone: it is the server that decides, and lake/s3 has the processes.
func TestRace(t *testing.T) {
	server := serve(t)
	s, err := at(server.Bucket(t, "goroutines"))
	if err != nil {
		t.Fatal(err)
	}
	laketest.Race(t, s)
}
