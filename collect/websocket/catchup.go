package websocket

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/collect"
	"headwater/collect/rest"
	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

// CatchUp is where items that the feed has left out can be asked for, by their numbers.
type CatchUp struct {
	// URL is http:// or https://. It, Params and Headers may have the placeholders of asked.
	URL     string                    `yaml:"url"`
	Params  map[string]setting.Secret `yaml:"params"`
	Headers map[string]setting.Secret `yaml:"headers"`
	// Records is the jq that gives the items of an answer; without, the whole answer is one item.
	Records string `yaml:"records"`
	// Number is the jq that gives an item's number.
	Number string `yaml:"number"`
	// RateLimit is how many requests a second may be made; 0 is any number.
	RateLimit float64 `yaml:"rate_limit"`
	// Timeout is how long a request may take, to the last byte of its answer.
	Timeout time.Duration `yaml:"timeout"`
	// GiveUp is for how long a process asks for numbers that do not come.
	GiveUp time.Duration `yaml:"give_up"`
}

// asked are the placeholders of a request and their values.
func (q *sequence) asked(s span) []string {
	of := q.of
	if text := ""; json.Unmarshal([]byte(of), &text) == nil {
		of = text
	}
	// The times are those of our clock, and the feed may have sent much later than the items are of.
	since, until := time.UnixMilli(s.Since).Add(-time.Minute).UTC(), time.UnixMilli(s.Until).Add(time.Minute).UTC()
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	return []string{
		"{of}", of,
		"{from}", number(s.From), "{to}", number(s.To), "{after}", number(s.From - 1), "{before}", number(s.To + 1),
		"{from_s}", number(since.Unix()), "{to_s}", number(until.Unix()),
		"{from_ms}", number(since.UnixMilli()), "{to_ms}", number(until.UnixMilli()),
		"{from_iso}", since.Format(time.RFC3339), "{to_iso}", until.Format(time.RFC3339),
	}
}

// resource is the request as package rest has it.
func (u *CatchUp) resource(ca string) rest.Config {
	c := rest.DefaultConfig()
	c.URL, c.Params, c.Headers, c.Records, c.RateLimit, c.Timeout, c.CA = u.URL, u.Params, u.Headers, u.Records, u.RateLimit, u.Timeout, ca
	c.Incremental.Path, c.Incremental.Format, c.Incremental.Initial = u.Number, "integer", "0"
	return c
}

func (u *CatchUp) validate(f *setting.Faults, numbered bool) {
	if u.URL == "" {
		if u.Number != "" || u.Records != "" || len(u.Params) > 0 || len(u.Headers) > 0 {
			f.Add([]string{"catch_up", "url"}, "is missing: write an address as https://api.example/trades")
		}
		return
	}
	if !numbered {
		f.Add([]string{"sequence", "path"}, "is missing, and catch_up goes by numbers: write where an item has its own, as $.seq")
	}
	c := u.resource("")
	for _, fault := range c.Validate() {
		if fault.Path[0] == "incremental" {
			fault.Path = []string{"number"}
		}
		f.Add(append([]string{"catch_up"}, fault.Path...), "%s", fault.Text)
	}
	if u.Number == "" {
		f.Add([]string{"catch_up", "number"}, "is missing: write where an item of an answer has its number, as .seq")
	}
	texts := []string{u.URL}
	for _, values := range []map[string]setting.Secret{u.Params, u.Headers} {
		for _, v := range values {
			texts = append(texts, v.Reveal())
		}
	}
	if !regexp.MustCompile(`\{(from|to|after|before)(_s|_ms|_iso)?\}`).MatchString(strings.Join(texts, " ")) {
		f.Add([]string{"catch_up", "params"}, "must say what is missing: write {from} and {to}, or others that the page of websocket has, into params or url")
	}
	if u.GiveUp <= 0 {
		f.Add([]string{"catch_up", "give_up"}, "must be positive, got %v", u.GiveUp)
	}
}

// sequencePrefix begins the streams of sequences with catch_up: sequence/<what sequence.per gives>.
const sequencePrefix = "sequence/"

// standing is the resume of these streams.
type standing struct {
	// At is when the last item came, in milliseconds since 1970, and Seq its number.
	At  int64 `json:"at"`
	Seq int64 `json:"seq"`
	// Open are the numbers below Seq that did not come yet.
	Open []span `json:"open,omitempty"`
}

// catcher asks for what the feed has left out. Whoever emits to the stream of a sequence holds its mu: invariant 5.
type catcher struct {
	s       *Source
	out     collect.Out
	numbers *numbers
	api     *rest.Fetcher
	origin  string
	wake    chan struct{} // something new is open
	told    string        // the last error
}

func (s *Source) catcher(out collect.Out) (*catcher, error) {
	u := &s.c.CatchUp
	api, err := rest.NewFetcher(u.resource(s.c.CA), s.base, s.log)
	if err != nil {
		return nil, fmt.Errorf("catch_up: %w", err)
	}
	k := &catcher{s: s, out: out, api: api, wake: make(chan struct{}, 1), numbers: &numbers{Sequence: s.c.Sequence, all: map[string]*sequence{}}}
	if address, err := url.Parse(u.URL); err == nil {
		k.origin = bare(address)
	}
	for name, at := range out.Streams() {
		of, found := strings.CutPrefix(name, sequencePrefix)
		if !found {
			continue
		}
		var r standing
		if err := json.Unmarshal(at.Resume, &r); err != nil {
			return nil, retry.Stop(fmt.Errorf("reading where stream %s stands, %s: %w", name, at.Resume, err))
		}
		for i := range r.Open {
			r.Open[i].Tried = time.Now().UnixMilli() // the API may not have been asked while no process was there
		}
		k.numbers.all[of] = &sequence{of: of, begun: true, last: r.Seq, at: r.At, open: r.Open}
	}
	return k, nil
}

// live emits an item that has come on a connection.
func (k *catcher) live(ctx context.Context, c *connection, q *sequence, number int64, it envelope.Item, position string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := c.told.UnixMilli()
	item := collect.Item{Item: it, Origin: c.origin, Position: position, Headers: c.headers}
	if i := q.covering(number); i >= 0 { // it is only late
		return k.fill(ctx, q, i, number, item)
	}
	switch after, before, why := q.fault(number); {
	case why == "":
	case number <= q.last:
		c.f.log.Warn("the feed has left out items", "gap", why, "of", q.of)
		for len(q.open) > 0 { // their numbers may soon be those of others
			if err := k.drop(ctx, q, why); err != nil {
				return err
			}
		}
		if err := k.gap(ctx, q, after, before, why); err != nil {
			return err
		}
	default:
		c.f.log.Warn("the feed has left out items, which are asked for", "gap", why, "of", q.of)
		if len(q.open) == mostOpen {
			if err := k.drop(ctx, q, tooMany); err != nil {
				return err
			}
		}
		q.open = append(q.open, span{From: after + 1, To: before - 1, Since: q.at, Until: now, Tried: now})
		q.fresh = true
		defer k.rouse()
	}
	q.begun, q.last, q.at = true, number, now
	return k.emit(ctx, q, item)
}

const tooMany = "too many other ranges are missing"

func (k *catcher) rouse() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// emit hands over an item of a sequence, as it stands with that.
func (k *catcher) emit(ctx context.Context, q *sequence, it collect.Item) error {
	text, err := json.Marshal(standing{q.at, q.last, q.open})
	if err != nil {
		return err
	}
	it.Stream, it.Resume = sequencePrefix+q.of, text
	if err := k.out.Emit(ctx, it); err != nil {
		return notTaken{err}
	}
	return nil
}

// headers name the connection, where that is what has the numbers.
func (k *catcher) headers(q *sequence) [][2]string {
	if k.numbers.Per != "" || q.of == "" {
		return nil
	}
	return [][2]string{{"connection", q.of}}
}

// gap emits a gap record.
func (k *catcher) gap(ctx context.Context, q *sequence, after, before int64, why string) error {
	record, err := k.numbers.gapRecord(q, after, before, why)
	if err != nil {
		return err
	}
	return k.emit(ctx, q, collect.Item{Item: record, Origin: k.origin, Position: fmt.Sprintf("%d/gap", before), Headers: k.headers(q)})
}

// drop records that the least open range stays missing.
func (k *catcher) drop(ctx context.Context, q *sequence, why string) error {
	lost := q.open[0]
	q.open = q.open[1:]
	return k.lose(ctx, q, lost, why)
}

func (k *catcher) lose(ctx context.Context, q *sequence, lost span, why string) error {
	why = missing(lost.From, lost.To) + " did not come, and could not be caught up: " + why
	k.s.log.Error("items are missing", "gap", why, "of", q.of)
	return k.gap(ctx, q, lost.From-1, lost.To+1, why)
}

// covering is the index of the open range that has the number; -1 if none has.
func (q *sequence) covering(number int64) int {
	return slices.IndexFunc(q.open, func(s span) bool { return s.From <= number && number <= s.To })
}

// fill emits the item of an open number, of the range with index i.
func (k *catcher) fill(ctx context.Context, q *sequence, i int, number int64, it collect.Item) error {
	if s := q.open[i]; s.From < number && number < s.To && len(q.open) == mostOpen {
		lost := q.open[0]
		if i == 0 { // what is before the number
			lost.To = number - 1
			q.open[0].From = number
		} else {
			q.open = q.open[1:]
			i--
		}
		if err := k.lose(ctx, q, lost, tooMany); err != nil {
			return err
		}
	}
	before, after := q.open[i], q.open[i]
	before.To, after.From = number-1, number+1
	before.Tried, after.Tried = time.Now().UnixMilli(), time.Now().UnixMilli()
	parts := slices.DeleteFunc([]span{before, after}, func(s span) bool { return s.From > s.To })
	q.open = slices.Replace(q.open, i, i+1, parts...)
	return k.emit(ctx, q, it)
}

// run asks for what is open until ctx ends, or once more when over is closed. Only what is the whole Run's is its error, and with over what the API
// has failed with.
func (k *catcher) run(ctx context.Context, over <-chan struct{}) error {
	defer k.api.Close()
	wait := retry.Backoff{Min: time.Second, Max: time.Minute}
	due := time.NewTimer(0)
	defer due.Stop()
	var failing error
	for {
		moved := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			_, err := k.round(ctx, true)
			return err
		case <-k.wake:
			if failing != nil {
				continue // it waits with the others
			}
			_, failing = k.round(ctx, false)
			moved = true
		case <-due.C:
			moved, failing = k.round(ctx, true)
		}
		if stops(failing) {
			return failing
		}
		if moved {
			wait.Reset()
		}
		due.Reset(wait.Next())
	}
}

// errAbsent is why numbers are not caught up that the API could be asked for.
var errAbsent = errors.New("the answers do not have them")

// round asks for all that is open, or only for what is new. An error of the API is the last one; one that may pass ends the asking.
func (k *catcher) round(ctx context.Context, all bool) (moved bool, failed error) {
	for _, q := range k.pending(all) {
		err := failed
		if failed == nil || retry.Classify(failed) == retry.Permanent { // which may be about one sequence
			var some bool
			some, err = k.ask(ctx, q)
			moved = moved || some
		}
		switch {
		case ctx.Err() != nil:
			return moved, ctx.Err()
		case stops(err):
			return moved, err
		case err != nil:
			failed = err
			if k.told != err.Error() {
				k.s.log.Warn("catching up failed, trying again", "of", q.of, "err", err)
			}
			k.told = err.Error()
		}
		if err := k.giveUp(ctx, q, cmp.Or(err, errAbsent)); err != nil {
			return moved, err
		}
	}
	if failed == nil {
		k.told = ""
	}
	return moved, failed
}

// pending are the sequences of which something is open, in any order, so that one that always fails is not always before the others.
func (k *catcher) pending(all bool) []*sequence {
	k.numbers.mu.Lock()
	sequences := slices.Collect(maps.Values(k.numbers.all))
	k.numbers.mu.Unlock()
	return slices.DeleteFunc(sequences, func(q *sequence) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.open) == 0 || !all && !q.fresh
	})
}

// mostAsked is how many numbers are asked for at first. Where nothing comes more are, so that the end of a long range is reached of which the API has forgotten
// the beginning.
const mostAsked = 10_000

// ask asks for all that is open of a sequence.
func (k *catcher) ask(ctx context.Context, q *sequence) (moved bool, err error) {
	q.mu.Lock()
	open := slices.Clone(q.open)
	q.fresh = false
	q.mu.Unlock()
	for _, s := range open {
		for at, most := s.From, int64(mostAsked); ; {
			part, some := q.missing(at, s.To, most)
			if !some {
				break
			}
			came, err := k.fetch(ctx, q, part)
			if err != nil {
				return moved || came, err
			}
			if came {
				moved, most = true, mostAsked // what is left is asked for again: an answer need not have all
				continue
			}
			at, most = part.To+1, min(2*most, math.MaxInt64/2)
		}
	}
	return moved, nil
}

// missing is the first open range of those from at to to, at most so many numbers.
func (q *sequence) missing(at, to, most int64) (span, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.open {
		s.From, s.To = max(s.From, at), min(s.To, to)
		if s.From > s.To {
			continue
		}
		if s.To-s.From >= most {
			s.To = s.From + most - 1
		}
		return s, true
	}
	return span{}, false
}

// fetch asks for a range and emits what comes of it, or of anything else that is open.
func (k *catcher) fetch(ctx context.Context, q *sequence, part span) (came bool, err error) {
	left := max(k.s.c.CatchUp.Timeout, time.Until(time.UnixMilli(part.Tried).Add(k.s.c.CatchUp.GiveUp)))
	ctx, cancel := context.WithTimeoutCause(ctx, left, errors.New("there was no answer within give_up"))
	defer cancel()
	strange := 0
	err = k.api.Fetch(ctx, q.asked(part), func(items []rest.Fetched) (bool, error) {
		numbered := map[int64]rest.Fetched{}
		for _, it := range items {
			number, err := strconv.ParseInt(string(bytes.Trim(it.Number, `"`)), 10, 64)
			if err != nil {
				strange++
				continue
			}
			numbered[number] = it
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, number := range slices.Sorted(maps.Keys(numbered)) {
			i := q.covering(number)
			if i < 0 {
				continue // it has come
			}
			it := numbered[number]
			came = true
			err := k.fill(ctx, q, i, number, collect.Item{
				Item: it.Item, Origin: it.Origin, Position: it.Position, Headers: append(k.headers(q), [2]string{"caught_up", strconv.FormatInt(number, 10)}),
			})
			if err != nil {
				return false, err
			}
		}
		return len(q.open) > 0, nil
	})
	if err == nil && strange > 0 {
		err = retry.Stop(fmt.Errorf("catch_up: %d items of an answer have no whole number at %s: check records and number", strange, k.s.c.CatchUp.Number))
	}
	return came, err
}

// giveUp records what has been asked for in vain for too long.
func (k *catcher) giveUp(ctx context.Context, q *sequence, why error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := 0; i < len(q.open); {
		lost := q.open[i]
		if time.Since(time.UnixMilli(lost.Tried)) < k.s.c.CatchUp.GiveUp {
			i++
			continue
		}
		q.open = slices.Delete(q.open, i, i+1)
		if err := k.lose(ctx, q, lost, why.Error()); err != nil {
			return err
		}
	}
	return nil
}
