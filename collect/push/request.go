package push

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"headwater/collect"
	"headwater/envelope"
)

// answer is the body of every answer.
type answer struct {
	// Records is how many records the request has in Kafka.
	Records int `json:"records"`
	// Repeated says that an earlier request with the same key had brought all of them.
	Repeated bool `json:"repeated,omitempty"`
	// Challenge is for a sender that wants to have it back.
	Challenge string `json:"challenge,omitempty"`
	Error     string `json:"error,omitempty"`
}

// ServeHTTP takes one request.
func (s *Source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.busy.Add(1)
	defer func() {
		s.last.Store(time.Now().UnixNano())
		s.busy.Add(-1)
	}()
	got, err := s.take(w, r)
	code := http.StatusOK
	if err != nil {
		code = http.StatusServiceUnavailable
		if refused, is := errors.AsType[*refusal](err); is {
			code = refused.code
		}
		got.Error = err.Error()
	}
	h := w.Header()
	switch code {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(got); err != nil {
		s.log.Debug("answering a sender", "err", err)
	}
}

func (s *Source) take(w http.ResponseWriter, r *http.Request) (answer, error) {
	if r.Method != http.MethodPost {
		return answer{}, &refusal{http.StatusMethodNotAllowed, "send items by POST"}
	}
	if !s.tokenFits(r) {
		return answer{}, &refusal{http.StatusUnauthorized, "the bearer token is not this source's"}
	}
	claim, err := s.room.enter()
	if err != nil {
		return answer{}, err
	}
	defer claim.give()
	// A server that does not support deadlines has its own.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.c.ReadTimeout))
	sent, body, err := s.readBody(r, claim)
	if err != nil {
		return answer{}, err
	}
	if h := s.c.HMAC; h != nil {
		if err := h.check(r.Header, sent, time.Now()); err != nil {
			return answer{}, &refusal{http.StatusUnauthorized, err.Error()}
		}
		if text := h.challenge(body); text != "" {
			return answer{Challenge: text}, nil // it is about the address, and no item
		}
	}
	if len(body) == 0 {
		return answer{}, &refusal{http.StatusBadRequest, "the body is empty"}
	}
	v := s.join()
	if v == nil {
		return answer{}, &refusal{http.StatusServiceUnavailable, "the source is not running at the moment"}
	}
	defer v.taking.Done()
	return v.record(r, s.itemsOf(r.Header.Get("Content-Type"), body))
}

// record brings the items into the topic.
func (v *visit) record(r *http.Request, items []envelope.Item) (answer, error) {
	if len(items) == 0 {
		return answer{}, nil
	}
	key := ""
	if name := v.s.c.IdempotencyHeader; name != "" {
		key = r.Header.Get(name)
	}
	if key == "" {
		return v.recordOnce(r, items)
	}
	return v.recordKeyed(r, key, items)
}

// recordOnce puts the items, one after the other, into one of the lanes.
func (v *visit) recordOnce(r *http.Request, items []envelope.Item) (answer, error) {
	n := v.lane.Add(1) % lanes
	t := v.ticket(len(items))
	resume := fmt.Appendf(nil, `{"at":%d}`, time.Now().UnixMilli()) // there is nothing to resume; it is for people
	v.lanes[n].Lock()
	err := v.emit(r, items, 0, func(i int) collect.Item {
		return collect.Item{Stream: "post/" + strconv.FormatUint(n, 10), Resume: resume, Position: strconv.Itoa(i), Done: t.done}
	})
	v.lanes[n].Unlock()
	if err == nil {
		err = v.acknowledged(t.all)
	}
	if err != nil {
		return answer{}, fmt.Errorf("the records may not all be in Kafka; send the request again, with an %s to have none of them twice: %w", v.s.c.IdempotencyHeader, err)
	}
	return answer{Records: len(items)}, nil
}

// recordKeyed goes on where an earlier request with the key has ended. Invariant 3.
func (v *visit) recordKeyed(r *http.Request, key string, items []envelope.Item) (answer, error) {
	e, err := v.keys.take(v.ctx, key)
	if err != nil {
		return answer{}, err
	}
	defer v.keys.give(e)
	want := resume{Items: len(items), Sum: sumOf(items)}
	if e.done > 0 && e.resume != want {
		return answer{}, &refusal{http.StatusUnprocessableEntity, "another request came with this key: give each its own"}
	}
	if e.done == int64(len(items)) {
		return answer{Records: len(items), Repeated: true}, nil
	}
	e.resume = want
	position, err := json.Marshal(want)
	if err != nil {
		return answer{}, err
	}
	first := int(e.done)
	t := v.ticket(len(items) - first)
	err = v.emit(r, items, first, func(i int) collect.Item {
		return collect.Item{Stream: e.stream, Resume: position, Position: key + "/" + strconv.Itoa(i), Done: t.done}
	})
	if err == nil {
		err = v.acknowledged(t.all)
	}
	if err != nil {
		return answer{}, fmt.Errorf("the records may not all be in Kafka; send the request again: %w", err)
	}
	e.done = int64(len(items))
	return answer{Records: len(items)}, nil
}

// ticket counts the acknowledgements of a request.
type ticket struct {
	left atomic.Int64
	all  chan struct{} // closed when none is left
}

func (v *visit) ticket(n int) *ticket {
	t := &ticket{all: make(chan struct{})}
	t.left.Store(int64(n))
	return t
}

func (t *ticket) done() {
	if t.left.Add(-1) == 0 {
		close(t.all)
	}
}

// emit hands over the items from first on. It does not stop because the sender has gone: what has come whole is kept.
func (v *visit) emit(r *http.Request, items []envelope.Item, first int, item func(i int) collect.Item) error {
	var headers [][2]string
	for _, name := range v.s.c.Headers {
		for _, value := range r.Header.Values(name) {
			headers = append(headers, [2]string{name, value})
		}
	}
	for i := first; i < len(items); i++ {
		it := item(i)
		it.Item, it.Origin, it.Headers = items[i], r.URL.Path, headers
		if err := v.out.Emit(v.ctx, it); err != nil {
			return err
		}
	}
	return nil
}

func (s *Source) tokenFits(r *http.Request) bool {
	token := s.c.Token.Reveal()
	if token == "" {
		return true
	}
	got, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return found && subtle.ConstantTimeCompare([]byte(got), []byte(token)) == 1
}
