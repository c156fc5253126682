package file

import (
	"os"
	"testing"

	"headwater/lake"
	"headwater/lake/laketest"
)

func openStore(dir string) (lake.Store, error) { return Open(dir) }

func TestMain(m *testing.M) { laketest.Main(m, openStore) }

func testStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	laketest.Run(t, func(t *testing.T) lake.Store { return testStore(t) })
}

func TestRaceProcesses(t *testing.T) {
	laketest.RaceProcesses(t, t.TempDir(), openStore)
}

func TestRaceGoroutines(t *testing.T) {
	laketest.Race(t, testStore(t))
}

var _ = os.Remove
