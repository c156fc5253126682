package rest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/retry"
)

// The streams of a source with incremental: windowStream says where the next window begins, and each item that may come again is a
// stream of its own, item/<digest>/<beginning of its window, base 36>. The name cannot come twice: the item is forgotten when a window begins
// after it, and what is before a window is passed over.
const (
	windowStream = "windows"
	itemPrefix   = "item/"
)

// windowResume is the resume of windowStream.
type windowResume struct {
	// Start is exact, whatever the format: a time as iso has it, or a number.
	Start string `json:"start"`
}

// exact is the format of resumes. A coarser one would bring back items that are forgotten.
func (i *Incremental) exact() *Incremental {
	if i.Format == spellInteger {
		return i
	}
	return &Incremental{Format: spellISO}
}

// itemResume is the resume of an item's stream.
type itemResume struct {
	// At is the item's time of change, in microseconds since 1970, or its number.
	At int64 `json:"at"`
}

// forEver is the time of an item that has none: it is never before a window.
const forEver = math.MaxInt64

// known is an item that Kafka has.
type known struct {
	at     int64
	stream string
}

// windows is the state of incremental polls. Times are in microseconds since 1970; with integers they are those.
type windows struct {
	s     *Source
	c     *client
	out   collect.Out
	start int64 // of the next window
	seen  map[digest]known

	newest   int64       // of the items of this window
	dirty    bool        // something was emitted since the last drain
	families []relatives // items whose children are emitted, and perhaps on their way
}

// windows gives what polls for what is new, and when it is due.
func (s *Source) windows(c *client, out collect.Out) (poll func(context.Context) error, due time.Time, err error) {
	w := &windows{s: s, c: c, out: out, seen: map[digest]known{}}
	inc := &s.c.Incremental
	streams := out.Streams()
	var at windowResume
	begun, err := recall(streams, windowStream, &at)
	if err != nil {
		return nil, due, err
	}
	if begun {
		w.start, err = inc.exact().parse(at.Start)
	} else {
		w.start, err = inc.parse(inc.Initial)
	}
	if err != nil {
		return nil, due, retry.Stop(fmt.Errorf("the next window begins at %q, which does not go with the format %s: give the source another name to begin anew", at.Start, inc.Format))
	}
	for name := range streams {
		text, is := strings.CutPrefix(name, itemPrefix)
		if !is {
			continue
		}
		text, _, _ = strings.Cut(text, "/")
		sum, err := base64.RawURLEncoding.DecodeString(text)
		var at itemResume
		if found, e := recall(streams, name, &at); e != nil || err != nil || len(sum) != len(digest{}) || !found {
			return nil, due, retry.Stop(fmt.Errorf("stream %s is none of a rest source with incremental: give the source another name", name))
		}
		w.seen[digest(sum)] = known{at.At, name}
	}
	if s.ranged {
		return w.backfill, time.Time{}, nil
	}
	return w.poll, time.Time{}, nil
}

// parse reads a time or a number in the format.
func (i *Incremental) parse(text string) (int64, error) {
	quoted, err := json.Marshal(text)
	if err != nil {
		return 0, err
	}
	return i.read(quoted)
}

// read reads a JSON text that is a time or a number.
func (i *Incremental) read(raw []byte) (int64, error) {
	unit := envelope.ISO
	switch i.Format {
	case spellInteger:
		text := strings.Trim(string(raw), `"`)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, errors.New("is no whole number of 64 bits")
		}
		return n, nil
	case spellSeconds:
		unit = envelope.Seconds
	case spellMillis:
		unit = envelope.Millis
	}
	return unit.Micros(raw, time.UTC)
}

// spell writes a time or a number as the API takes it: up, if it is the end of a window, where the format is coarser.
func (i *Incremental) spell(at int64, up bool) string {
	round := func(unit int64) int64 {
		n := at / unit
		if at%unit < 0 {
			n--
		}
		if up && at%unit != 0 {
			n++
		}
		return n
	}
	switch i.Format {
	case spellInteger:
		return strconv.FormatInt(at, 10)
	case spellSeconds:
		return strconv.FormatInt(round(1e6), 10)
	case spellMillis:
		return strconv.FormatInt(round(1e3), 10)
	case spellDate:
		const day = 24 * 60 * 60 * 1e6
		return time.UnixMicro(round(day) * day).UTC().Format(time.DateOnly)
	}
	return time.UnixMicro(at).UTC().Format("2006-01-02T15:04:05.999999Z07:00")
}

// lag is how far windows overlap.
func (i *Incremental) lag() int64 {
	if i.Format == spellInteger {
		return 0
	}
	return i.Lag.Microseconds()
}

// poll reads all windows up to now.
func (w *windows) poll(ctx context.Context) error {
	inc := &w.s.c.Incremental
	now := time.Now().UnixMicro()
	bounded := w.s.c.mentions("{incremental.end}") && inc.Format != spellInteger
	for {
		end := int64(math.MaxInt64)
		old := inc.Step > 0 && w.start+inc.Step.Microseconds() <= now-inc.lag()
		switch {
		case old:
			end = w.start + inc.Step.Microseconds()
		case bounded:
			end = now
		}
		w.newest = w.start
		if err := w.read(ctx, end, old); err != nil {
			return err
		}
		next := end - inc.lag()
		if !old {
			// The items say how far the API's clock is; what they say of the future is not believed, because a window there would hide all that comes.
			next = w.newest - inc.lag()
			if inc.Format != spellInteger {
				next = min(next, w.c.jobs.asOf(now)-inc.lag())
			}
		}
		stale := w.c.jobs.stale()
		if err := w.advance(ctx, next); err != nil || !old && !stale {
			return err
		}
	}
}

// backfill reads the windows up to the end of the range, in which nothing is new.
func (w *windows) backfill(ctx context.Context) error {
	for w.start < w.s.until {
		end := w.s.until
		if step := w.s.c.Incremental.Step.Microseconds(); step > 0 {
			end = min(end, w.start+step)
		}
		w.newest = w.start
		if err := w.read(ctx, end, true); err != nil {
			return err
		}
		if err := w.advance(ctx, end); err != nil {
			return err
		}
	}
	return nil
}

// advance moves the beginning of the next window.
func (w *windows) advance(ctx context.Context, to int64) error {
	if to <= w.start {
		return w.c.jobs.finish(ctx)
	}
	// Invariant 2: the mark is about the items of other streams.
	if err := w.drain(ctx); err != nil {
		return err
	}
	w.start = to
	if err := mark(ctx, w.out, windowStream, windowResume{w.s.c.Incremental.exact().spell(to, false)}); err != nil {
		return err
	}
	for sum, k := range w.seen {
		if k.at >= to {
			continue
		}
		if err := mark(ctx, w.out, k.stream, nil); err != nil {
			return err
		}
		delete(w.seen, sum)
	}
	return w.c.jobs.finish(ctx)
}

func (w *windows) drain(ctx context.Context) error {
	if !w.dirty {
		return nil
	}
	w.dirty = false
	err := w.out.Drain(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// passes bounds how often a window is read.
const passes = 10

// read reads the window from w.start to end.
func (w *windows) read(ctx context.Context, end int64, old bool) error {
	if w.s.c.Incremental.Order == orderAscending {
		return w.slide(ctx, end)
	}
	for n := range passes {
		before := w.newest
		if old {
			before = end // nothing new comes into a window of the past
		}
		pages, missed, err := w.pass(ctx, end, before, old)
		switch {
		case err != nil:
			return err
		case pages <= 1 || !w.s.c.Paginate.Reread:
			return nil
		case n > 0 && !missed:
			w.newest = before // what is after that was seen by one pass alone, which may have missed something there
			return nil
		}
	}
	return w.restless(w.start)
}

// pass reads all pages of the window. missed says that it has found what is before a time up to which an earlier pass should have found all.
func (w *windows) pass(ctx context.Context, end, before int64, old bool) (pages int, missed bool, err error) {
	p := w.pages(w.start, end)
	p.span = strconv.FormatInt(w.start, 10)
	if old {
		p.span += "-" + strconv.FormatInt(end, 10) // otherwise it ends with the job, whatever the time is by now
	}
	alike := map[digest]int{}
	for {
		pg, err := p.next(ctx)
		if pg == nil || err != nil {
			return pages, missed, err
		}
		pages++
		if p.jobs == nil {
			clear(alike) // what says the same on another page has moved there
		}
		t, err := w.take(ctx, pg, w.start, end, alike)
		if err != nil {
			return pages, false, err
		}
		missed = missed || t.fresh > 0 && t.oldest < before
	}
}

func (w *windows) pages(start, end int64) *pager {
	inc := &w.s.c.Incremental
	until := ""
	if end != math.MaxInt64 {
		until = inc.spell(end, true)
	}
	return w.s.pages(w.c, w.s.items, window(inc.spell(start, false), until))
}

// slide reads a window whose items come in order: after each page it asks for what is from that page's last item on, so that nothing that
// moves meanwhile is missed. Where it ends nothing is passed: the next poll begins there.
func (w *windows) slide(ctx context.Context, end int64) error {
	inc := &w.s.c.Incremental
	from, until := w.start, w.now()
	for n := 0; ; n++ {
		if n == passes {
			return w.restless(from)
		}
		to, settled, err := w.forward(ctx, from, end, n > 0)
		switch {
		case err != nil:
			return err
		case !settled:
		case to == from || from >= until: // what has come meanwhile is the next poll's
			w.newest = from
			return nil
		default:
			from, n = to, -1
			if err := w.advance(ctx, min(from, until)-inc.lag()); err != nil {
				return err
			}
		}
	}
}

// forward reads the items from one time on, page by page as long as they have no other time than that, as the API spells it. It gives the
// last item's time, from itself if there is nothing else. It is not settled if something may be missing before that: what comes on the second
// page need not go on where the first one ended, if items have moved meanwhile, so that another pass has to find the same.
func (w *windows) forward(ctx context.Context, from, end int64, again bool) (to int64, settled bool, err error) {
	inc := &w.s.c.Incremental
	other := func(at int64) bool { return at > from && inc.spell(at, false) != inc.spell(from, false) }
	before, missed, fresh := w.newest, false, 0
	p := w.pages(from, end)
	for {
		pg, err := p.next(ctx)
		if err != nil {
			return 0, false, err
		}
		if pg == nil {
			// An API without pages is asked again until nothing comes.
			return from, w.s.c.Paginate.any() || fresh == 0, nil
		}
		t, err := w.take(ctx, pg, from, end, map[digest]int{})
		if err != nil {
			return 0, false, err
		}
		fresh += t.fresh
		missed = missed || t.fresh > 0 && t.oldest < before
		switch {
		case !other(t.last):
		case pg.Page == 1:
			return t.last, true, nil
		default: // up to before two passes have found the same
			return min(t.last, before), again && !missed && other(before), nil
		}
	}
}

// restless is the error of a window that cannot be read to its end.
func (w *windows) restless(from int64) error {
	return fmt.Errorf("after %d passes over the pages from %s on there are still items that the passes before had missed, because they move from page to page: "+
		"have the API sort by time of change and set incremental.order: ascending, or ask it for longer pages", passes, w.s.c.Incremental.spell(from, false))
}

// now bounds what an item's time is believed.
func (w *windows) now() int64 {
	if w.s.c.Incremental.Format == spellInteger {
		return math.MaxInt64
	}
	return time.Now().UnixMicro()
}

// taken is what a page had.
type taken struct {
	fresh        int   // items that Kafka had not
	oldest, last int64 // the least time of these; that of the page's last item
}

// wanted is an item of a page that Kafka has not.
type wanted struct {
	known
	sum   digest
	index int
}

// take emits the items of a page that are in the window and that Kafka has not. alike counts those that say the same.
func (w *windows) take(ctx context.Context, pg *page, start, end int64, alike map[digest]int) (taken, error) {
	t, all, stop := w.choose(ctx, pg, start, end, alike)
	records := make([]*record, len(all))
	for i, item := range all {
		records[i] = &pg.records[item.index]
	}
	a := w.s.ahead(ctx, w.c, records, nil)
	defer a.close()
	for i, item := range all {
		r := records[i]
		if w.s.children != nil {
			if err := w.family(ctx, a, r, item.sum, item.known); err != nil {
				return t, err
			}
		}
		if w.s.children == nil || r.Malformed != "" {
			if err := w.emit(ctx, r, item.known, pg, item.index); err != nil {
				return t, err
			}
		}
	}
	if stop != nil {
		return t, stop
	}
	return t, w.settle(ctx)
}

// choose finds these, up to one that stops the source.
func (w *windows) choose(ctx context.Context, pg *page, start, end int64, alike map[digest]int) (t taken, all []wanted, err error) {
	inc := &w.s.c.Incremental
	t = taken{oldest: math.MaxInt64, last: start}
	for i := range pg.records {
		r := &pg.records[i]
		at, err := w.timeOf(ctx, r)
		switch {
		case err != nil:
			return t, all, err
		case at == forEver:
		case at < start || at >= end:
			continue // another window's
		case inc.Order == orderAscending && at < t.last:
			return t, all, retry.Stop(fmt.Errorf("page %d: an item of %s comes after one of %s, and incremental.order says ascending: have the API sort by %s, or set order: any",
				pg.Page, inc.spell(at, false), inc.spell(t.last, false), inc.Path))
		default:
			t.last = at
			w.newest = max(w.newest, at)
		}
		sum, err := r.name(ctx, w.s.key, at, alike)
		if err != nil {
			return t, all, err
		}
		if _, is := w.seen[sum]; is {
			continue
		}
		if err := w.room(); err != nil {
			return t, all, err
		}
		item := known{at, w.stream(sum)}
		w.seen[sum] = item
		all = append(all, wanted{item, sum, i})
		t.fresh, t.oldest = t.fresh+1, min(t.oldest, at)
	}
	return t, all, nil
}

// room says whether another item can be remembered.
func (w *windows) room() error {
	inc := &w.s.c.Incremental
	if len(w.seen) < inc.MaxSeen {
		return nil
	}
	return retry.Stop(fmt.Errorf("the window from %s on has more than incremental.max_seen (%d) items: set incremental.order: ascending if the API can sort by %s, "+
		"set incremental.step, or raise it (a million takes about 200 MB)", inc.spell(w.start, false), inc.MaxSeen, inc.Path))
}

// stream is that of an item.
func (w *windows) stream(sum digest) string {
	return itemPrefix + base64.RawURLEncoding.EncodeToString(sum[:]) + "/" + strconv.FormatInt(w.start, 36)
}

// emit hands over an item that Kafka has not.
func (w *windows) emit(ctx context.Context, r *record, k known, pg *page, i int) error {
	w.dirty = true
	return w.s.emit(ctx, w.out, r, k.stream, itemResume{k.at}, pg, i)
}

// timeOf is an item's time of change; an item that has none becomes malformed.
func (w *windows) timeOf(ctx context.Context, r *record) (int64, error) {
	if r.value == nil && r.Malformed != "" {
		return forEver, nil
	}
	v, err := w.s.value.one(ctx, r.value)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	var at int64
	if err == nil {
		var raw []byte
		if raw, err = gojq.Marshal(v); err == nil {
			at, err = w.s.c.Incremental.read(raw)
		}
	}
	if err != nil {
		r.Malformed = fmt.Sprintf("incremental: %s: %v", w.s.c.Incremental.Path, err)
		return forEver, nil
	}
	return at, nil
}

// name is what an item is known by: its key and time, or else all that it says, in whatever order. Items of one page, or job, that say the same are different ones.
func (r *record) name(ctx context.Context, key query, at int64, alike map[digest]int) (digest, error) {
	if r.value == nil {
		return digestOf(r.Data), nil
	}
	if key.code != nil {
		v, err := key.one(ctx, r.value)
		if err == nil && v != nil {
			text, err := gojq.Marshal(v)
			return digestOf(text, strconv.AppendInt(nil, at, 10)), err
		}
	}
	text, err := gojq.Marshal(r.value)
	if err != nil {
		return digest{}, err
	}
	sum := digestOf(text)
	n := alike[sum]
	alike[sum]++
	if n == 0 {
		return sum, nil
	}
	return digestOf(text, strconv.AppendInt(nil, int64(n), 10)), nil
}
