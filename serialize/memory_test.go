package serialize

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/google/go-cmp/cmp"

	"headwater/lake"
)

func TestWaiting(t *testing.T) {
	w := newWaiting(10)
	ctx, cancel := context.WithCancel(t.Context())
	w.enter(ctx, 0, 100) // it is the writer's
	entered := make(chan int, 9)
	for object := 1; object < 4; object++ {
		go func() {
			w.enter(ctx, object, 4)
			entered <- object
		}()
	}
	next := func(wait time.Duration) int {
		select {
		case object := <-entered:
			return object
		case <-time.After(wait):
			return 0
		}
	}
	const soon, late = 20 * time.Millisecond, 10 * time.Second
	got := []int{next(soon)}
	w.turn(2)
	got = append(got, next(late), next(soon))
	w.leave(100)
	got = append(got, min(1, next(late)), next(soon)) // then 8 are there
	cancel()
	got = append(got, min(1, next(late)))
	if diff := cmp.Diff([]int{0, 2, 0, 1, 0, 1}, got); diff != "" {
		t.Errorf("objects were let in (-want +got):\n%s", diff)
	}
}

// stalled is a store in which reading one object waits until no other has been read for a while.
type stalled struct {
	lake.Store
	key string

	mu   sync.Mutex
	read map[string]bool
	// ahead is how many others were read before it.
	ahead int
}

func (s *stalled) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	if offset == 0 {
		s.mu.Lock()
		s.read[key] = true
		s.mu.Unlock()
	}
	for before, tries := -1, 0; key == s.key && offset == 0 && tries < 40 && (before != s.ahead || before < 2); time.Sleep(300 * time.Millisecond) {
		tries++
		before = s.ahead
		s.mu.Lock()
		s.ahead = len(s.read) - 1
		s.mu.Unlock()
	}
	return s.Store.Get(ctx, key, offset, n)
}

// TestWaitingBatches: while one object comes slowly, those after it do not all go to memory.
func TestWaitingBatches(t *testing.T) {
	w := newWorld(t)
	w.Config.Workers, w.Config.MaxMemory = 2, 128<<20
	first := w.put(t, envelopeOf(`{"s":"first"}`))
	w.runOnce(t)
	const objects, records = 16, 200
	line := envelopeOf(`{"s":"` + strings.Repeat("x", 20_000) + `"}`)
	for range objects {
		w.put(t, strings.Split(strings.TrimSuffix(strings.Repeat(line+"\n", records), "\n"), "\n")...)
	}
	store := &stalled{Store: w.raw, key: first, read: map[string]bool{}}
	w.Raw = store
	if r := w.runOnce(t); r.Rows != 1+objects*records {
		t.Error(r.Rows)
	}
	if ahead := store.ahead; ahead < 2 || ahead > 10 {
		t.Errorf("of %d objects %d were read before the first had come; 32 MiB may wait, and each is 4 MB", objects, ahead)
	}
}

// TestRowGroupsBySize: what is encoded of a row group takes no more than its share of the memory.
func TestRowGroupsBySize(t *testing.T) {
	w := newWorld(t)
	w.Config.MaxMemory = 16 << 20
	r, noise := rand.NewChaCha8([32]byte{}), make([]byte, 675)
	for range 6 {
		var lines []string
		for range 1_500 {
			_, _ = r.Read(noise) // which never fails
			lines = append(lines, envelopeOf(`{"s":"`+base64.StdEncoding.EncodeToString(noise)+`"}`))
		}
		w.put(t, lines...)
	}
	w.runOnce(t)
	f, err := file.NewParquetReader(bytes.NewReader(w.file(t, w.job.Flat)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.NumRowGroups() != 2 {
		t.Errorf("%d row groups", f.NumRowGroups())
	}
	if size := f.RowGroup(0).ByteSize(); size < 4<<20 || size > 6<<20 {
		t.Errorf("the first row group has %d bytes, and its share is 4 MiB", size)
	}
}
