package look

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"headwater/collect"
	"headwater/collect/file"
	"headwater/collect/websocket"
	"headwater/envelope"
	"headwater/schema"
	"headwater/serialize"
)

// How much is looked at. A file gives one item at least, which may be as long as max_item.
const (
	mostItems = 1000
	mostBytes = 8 << 20
	mostFiles = 100
	// probed is how many files are asked for the delimiter of their rows.
	probed = 5
	// patience bounds a listing, and a look at the files of one source.
	patience = 30 * time.Second
	// listening is how long a feed is listened to.
	listening = 10 * time.Second
)

// errEnough ends a look.
var errEnough = errors.New("enough was seen")

// taker is an Out that keeps nothing but what take makes of items.
type taker struct {
	take func(it collect.Item) error
	// begun is called at a mark: a feed makes one when it is connected.
	begun func()
}

func (t taker) Streams() map[string]envelope.StreamCursor { return nil }

func (t taker) Emit(ctx context.Context, it collect.Item) error { return cmp.Or(ctx.Err(), t.take(it)) }

func (t taker) Mark(context.Context, string, json.RawMessage, bool, func()) error {
	if t.begun != nil {
		t.begun()
	}
	return nil
}

func (t taker) Drain(context.Context) error { return nil }

// sample is what was seen of a source.
type sample struct {
	formats   []string
	files, of int // how many were looked at, and of how many
	items     int
	bytes     int
	malformed map[string]int
	unread    []error
	inference *serialize.Inference
	csv       file.CSV
	text      []byte
}

func newSample() *sample {
	return &sample{malformed: map[string]int{}, inference: serialize.NewInference(), csv: file.DefaultConfig().CSV}
}

// take makes the record of an item that a run would make, and learns from it.
func (s *sample) take(it collect.Item) {
	s.items++
	s.bytes += len(it.Data)
	malformed := it.Malformed
	if malformed == "" {
		s.text, malformed = envelope.Append(s.text[:0], it.Item, &envelope.Metadata{}, time.Unix(0, 0), envelope.DefaultLimits)
	}
	if malformed != "" {
		s.malformed[malformed]++
		return
	}
	s.inference.Add(s.text)
}

// sample looks at files of the group, from all over it.
func (l *looker) sample(ctx context.Context, g *group) (*sample, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := newSample()
	s.files, s.of = min(len(g.files), mostFiles), len(g.files)
	paths := make([]string, s.files)
	for i := range paths {
		paths[i] = g.files[i*s.of/s.files].path
	}
	c := file.DefaultConfig()
	c.CSV = l.rowsOf(bounded, paths[:min(s.files, probed)])
	s.csv = c.CSV
	source := file.New(c, l.Dir, nil)
	for i, path := range paths {
		items, bytes := 0, s.bytes
		formats, err := source.Look(bounded, path, taker{take: func(it collect.Item) error {
			s.take(it)
			if items++; items >= mostItems/s.files || s.bytes-bytes >= mostBytes/s.files {
				return errEnough
			}
			return nil
		}})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case bounded.Err() != nil:
			s.files = i
		case err != nil && !errors.Is(err, errEnough):
			s.unread = append(s.unread, err)
		}
		s.formats = append(s.formats, formats...)
	}
	slices.Sort(s.formats)
	s.formats = slices.Compact(s.formats)
	return s, nil
}

// unfit is why nothing of the source can be read; "" if something can, or nothing is there.
func (s *sample) unfit() string {
	bad := 0
	for _, n := range s.malformed {
		bad += n
	}
	switch {
	case len(s.unread) == s.files && s.files > 0:
		return s.unread[0].Error() + "; see that it can be read"
	case s.items == 0 || bad < s.items:
		return ""
	}
	reason := mostOften(s.malformed)[0]
	if reason == envelope.InvalidUTF8 {
		reason += ", it is no UTF-8: convert it, as with iconv"
	}
	return "nothing in it can be read: " + reason
}

// shapeless says that nothing but text or bytes was seen.
func (s *sample) shapeless() bool {
	return !slices.ContainsFunc(s.formats, func(f string) bool { return f != "lines" && f != "bytes" })
}

// mostOften are the keys, those with the greatest numbers first.
func mostOften(n map[string]int) []string {
	return slices.SortedFunc(maps.Keys(n), func(a, b string) int { return cmp.Or(cmp.Compare(n[b], n[a]), strings.Compare(a, b)) })
}

// rows is how files look if their rows are cut at a delimiter.
type rows struct {
	delimiter  string
	items, bad int
	columns    int // in the very first row
	firsts     map[string][]string
}

// betterThan prefers rows that have fields at all, then those of which fewer are malformed, then more fields.
func (r rows) betterThan(o rows) bool {
	if r.columns < 2 || o.columns < 2 {
		return r.columns > o.columns
	}
	return cmp.Or(cmp.Compare(r.bad*o.items, o.bad*r.items), cmp.Compare(o.columns, r.columns)) < 0
}

// rowsOf is how the rows of CSV files are cut: as by default, unless another way is better.
func (l *looker) rowsOf(ctx context.Context, paths []string) file.CSV {
	best := l.rows(ctx, paths, "")
	if len(best.firsts) == 0 {
		return file.DefaultConfig().CSV
	}
	for _, delimiter := range []string{";", "\t", "|", ","} {
		if r := l.rows(ctx, paths, delimiter); r.betterThan(best) {
			best = r
		}
	}
	return file.CSV{Delimiter: best.delimiter, Header: best.header()}
}

// rows reads the first rows of files, the header too. What fails here fails again in sample.
func (l *looker) rows(ctx context.Context, paths []string, delimiter string) rows {
	r := rows{delimiter: delimiter, firsts: map[string][]string{}}
	c := file.DefaultConfig()
	c.CSV = file.CSV{Delimiter: delimiter}
	source := file.New(c, l.Dir, nil)
	for _, path := range paths {
		items, bytes := 0, 0
		_, _ = source.Look(ctx, path, taker{take: func(it collect.Item) error {
			r.take(it.Item, it.Origin)
			items, bytes = items+1, bytes+len(it.Data)
			if items >= mostItems/probed || bytes >= mostBytes/probed {
				return errEnough
			}
			return nil
		}})
	}
	return r
}

func (r *rows) take(it envelope.Item, origin string) {
	r.items++
	if it.Malformed != "" {
		r.bad++
	}
	if it.Kind == envelope.Fields && r.firsts[origin] == nil {
		if len(r.firsts) == 0 {
			r.columns = len(it.Values)
		}
		r.firsts[origin] = slices.Clone(it.Values)
	}
}

var (
	number = regexp.MustCompile(`^[-+]?[0-9]*[.,]?[0-9]+([eE][-+]?[0-9]+)?$`)
	date   = regexp.MustCompile(`^([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}[./][0-9]{1,2}[./][0-9]{2,4}$)`)
	year   = regexp.MustCompile(`^(19|20)[0-9]{2}$`) // which may well be the name of a column
)

// header says whether the first rows have names: they do if they are all the same, or if one of them holds no number and no date.
func (r rows) header() bool {
	var rows [][]string
	for _, origin := range slices.Sorted(maps.Keys(r.firsts)) {
		rows = append(rows, r.firsts[origin])
	}
	same := !slices.ContainsFunc(rows, func(row []string) bool { return !slices.Equal(row, rows[0]) })
	if same && len(rows) > 1 {
		return true
	}
	return slices.ContainsFunc(rows, func(row []string) bool {
		return !slices.ContainsFunc(row, func(field string) bool {
			field = strings.TrimSpace(field)
			return number.MatchString(field) && !year.MatchString(field) || date.MatchString(field)
		})
	})
}

// columns is the flat table that the sample becomes, and what would go to quarantine, by reason.
func (s *sample) columns() ([]schema.Field, map[string]int) {
	flat, unfit := s.inference.Columns()
	maps.Copy(unfit, s.malformed)
	return flat.Fields, unfit
}

// feed listens to a feed for a while.
func (l *looker) feed(ctx context.Context, address string) error {
	c := websocket.DefaultConfig()
	c.URL = address
	if faults := c.Validate(); len(faults) > 0 {
		return faultf("the address of the feed %s", faults[0].Text)
	}
	bounded, cancel := context.WithTimeout(ctx, listening)
	defer cancel()
	s, closed := newSample(), false
	err := websocket.New(c, l.Dir, nil).Run(bounded, taker{take: func(it collect.Item) error {
		if closed = strings.HasPrefix(it.Malformed, "gap:"); closed {
			return errEnough // it would be connected to again and again
		}
		s.take(it)
		if s.items >= mostItems || s.bytes >= mostBytes {
			return errEnough
		}
		return nil
	}, begun: func() { s.files = 1 }}, true)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.files == 0 {
		return fmt.Errorf("%w; check the address, or write the source by hand: docs/sources/websocket.md", err)
	}
	l.sources = append(l.sources, s.live(l.unique(feedName(address)), l.Database, address, closed))
	return nil
}
