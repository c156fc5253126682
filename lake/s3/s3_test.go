package s3

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"headwater/lake"
	"headwater/lake/laketest"
	"headwater/tests/interop/fixture"
)

func TestMain(m *testing.M) {
	fixture.SetAWS()
	laketest.Main(m, at)
}

func at(location string) (lake.Store, error) { return Open(context.Background(), location) }

func TestStore(t *testing.T) {
	server := fixture.NewS3(t)
	var n atomic.Int32
	laketest.Run(t, func(t *testing.T) lake.Store {
		s, err := at(server.Bucket(t, fmt.Sprintf("bucket-%d", n.Add(1))))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestRace(t *testing.T) {
	server := fixture.NewS3(t)
	s, err := at(server.Bucket(t, "goroutines"))
	if err != nil {
		t.Fatal(err)
	}
	laketest.Race(t, s)
	laketest.RaceProcesses(t, server.Bucket(t, "processes"), at)
}
