package land

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// queue holds what was fetched of a Kafka partition until its writer takes it.
type queue struct {
	ready chan struct{} // there may be something to take

	mu      sync.Mutex
	records []*kgo.Record
	waiting int64 // bytes of records
	taken   int64 // bytes of what was taken last, which is in memory until the next take
	err     error
	paused  bool
	closed  bool
}

// push adds records and says how many bytes they are and whether fetching should pause.
func (q *queue) push(records []*kgo.Record) (bytes int64, full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, false
	}
	for _, r := range records {
		bytes += sizeOf(r) + 200 // for what describes it, roughly
	}
	q.records = append(q.records, records...)
	q.waiting += bytes
	q.signal()
	return bytes, q.waiting >= partitionQueue
}

// sizeOf is how many bytes a record brings.
func sizeOf(r *kgo.Record) int64 {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return int64(n)
}

// take gives all that waits. It frees the bytes of what was taken before, and says whether fetching was paused and should go on.
func (q *queue) take() (records []*kgo.Record, freed int64, resume bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	records, freed, resume = q.records, q.taken, q.paused && len(q.records) == 0
	q.taken, q.waiting, q.records = q.waiting, 0, nil
	if resume {
		q.paused = false
	}
	return records, freed, resume, q.err
}

// pause notes that fetching has been paused.
func (q *queue) pause() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = true
	q.signal()
}

// fail gives the writer an error of its Kafka partition.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	q.signal()
}

// close drops what waits and says how many bytes it was.
func (q *queue) close() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes := q.waiting + q.taken
	q.records, q.waiting, q.taken, q.closed = nil, 0, 0, true
	return bytes
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}
