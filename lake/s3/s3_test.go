package s3

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"headwater/lake"
	"headwater/lake/laketest"
	"headwater/tests/interop/fixture"
)

func TestMain(m *testing.M) {
	for _, e := range fixture.S3Env {
		name, value, _ := strings.Cut(e, "=")
		_ = os.Setenv(name, value)
	}
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
