package push

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"headwater/collect"
	"headwater/envelope"
)

// keys are the requests that came with an idempotency key, by the key's hash.
type keys struct {
	window time.Duration
	most   int

	mu     sync.Mutex
	known  map[string]*keyed
	oldest []*keyed // in the order of their times
	newest int64    // time of the last
}

// keyed is one request that came with a key. It belongs to the request that has taken it.
type keyed struct {
	stream string
	at     int64 // when it came first, in milliseconds since 1970
	resume resume
	done   int64 // how many of its items are in Kafka
	taken  bool
	free   chan struct{} // closed when it is not taken any more
}

// resume is what a record of a keyed request says beside its number.
type resume struct {
	// Items is how many items the request has.
	Items int `json:"items"`
	// Sum is of the items: the first 12 bytes of a SHA-256 in base64url.
	Sum string `json:"sum"`
}

// keyPrefix begins the streams of keyed requests: key/<hash>/<time in base 36>.
const keyPrefix = "key/"

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// recall finds the keyed requests among the streams of the cursor.
func recall(streams map[string]envelope.StreamCursor, c Config) *keys {
	k := &keys{window: c.KeyWindow, most: c.MaxKeys, known: map[string]*keyed{}}
	for name, at := range streams {
		hash, clock, ok := strings.Cut(strings.TrimPrefix(name, keyPrefix), "/")
		ms, err := strconv.ParseInt(clock, 36, 64)
		if !strings.HasPrefix(name, keyPrefix) || !ok || err != nil {
			continue
		}
		e := &keyed{stream: name, at: ms, done: at.Seq + 1}
		if json.Unmarshal(at.Resume, &e.resume) != nil {
			continue
		}
		if other := k.known[hash]; other == nil || other.at < ms {
			k.known[hash] = e
		}
		k.oldest = append(k.oldest, e)
		k.newest = max(k.newest, ms)
	}
	slices.SortFunc(k.oldest, func(a, b *keyed) int { return int(a.at - b.at) })
	return k
}

// take gives the request of a key, a new one if it is not known, to this caller alone until give. It waits for another that has it.
func (k *keys) take(ctx context.Context, key string) (*keyed, error) {
	hash := hashOf(key)
	for {
		k.mu.Lock()
		e := k.known[hash]
		if e == nil {
			e = k.add(hash)
		}
		if !e.taken {
			e.taken, e.free = true, make(chan struct{})
			k.mu.Unlock()
			return e, nil
		}
		free := e.free
		k.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// add makes a stream whose name was never there: a key may come again after it was forgotten. mu is held.
func (k *keys) add(hash string) *keyed {
	k.newest = max(k.newest+1, time.Now().UnixMilli())
	e := &keyed{stream: keyPrefix + hash + "/" + strconv.FormatInt(k.newest, 36), at: k.newest}
	k.known[hash] = e
	k.oldest = append(k.oldest, e)
	return e
}

func (k *keys) give(e *keyed) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e.taken = false
	close(e.free)
}

// forget drops the keys that are too old or too many, in the cursor too.
func (k *keys) forget(ctx context.Context, out collect.Out, now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	kept := 0
	for i, e := range k.oldest {
		old := now.UnixMilli()-e.at > k.window.Milliseconds() || len(k.oldest)-i+kept > k.most
		if !old {
			k.oldest = append(k.oldest[:kept], k.oldest[i:]...)
			return nil
		}
		if e.taken {
			k.oldest[kept] = e
			kept++
			continue
		}
		hash, _, _ := strings.Cut(strings.TrimPrefix(e.stream, keyPrefix), "/")
		if k.known[hash] == e {
			delete(k.known, hash)
		}
		if err := out.Mark(ctx, e.stream, nil, true, nil); err != nil {
			return fmt.Errorf("forgetting an idempotency key: %w", err)
		}
	}
	k.oldest = k.oldest[:kept]
	return nil
}

// sumOf tells whether a request that comes again has the same items.
func sumOf(items []envelope.Item) string {
	h := sha256.New()
	for _, it := range items {
		_, _ = fmt.Fprintf(h, "%d %d ", it.Kind, len(it.Data)) // hashes never fail
		_, _ = h.Write(it.Data)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}
