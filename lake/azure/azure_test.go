package azure

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/lake/laketest"
	"headwater/tests/interop/fixture"
)

func TestMain(m *testing.M) {
	for _, e := range fixture.AzureEnv {
		name, value, _ := strings.Cut(e, "=")
		_ = os.Setenv(name, value)
	}
	os.Exit(m.Run())
}

func at(location string) (lake.Store, error) { return Open(context.Background(), location) }

func TestStore(t *testing.T) {
	server := fixture.NewAzure(t)
	var n atomic.Int32
	open := func(t *testing.T) lake.Store {
		s, err := at(strings.Replace(server.Bucket(t, fmt.Sprintf("bucket-%d", n.Add(1))), "?", "/team/a?", 1))
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
		none, err := Open(t.Context(), "azblob://none?endpoint="+server.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if err := none.Probe(t.Context()); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "create it") {
			t.Errorf("no container: %v", err)
		}
	})
}

// TestRace is between goroutines alone: it is the server that decides, and lake/s3 has the processes.
func TestRace(t *testing.T) {
	server := fixture.NewAzure(t)
	s, err := at(server.Bucket(t, "goroutines"))
	if err != nil {
		t.Fatal(err)
	}
	laketest.Race(t, s)
}
