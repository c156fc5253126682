package rest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/itchyny/gojq"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/retry"
)

// Children are what is read for every item, in its place.
type Children struct {
	// Resource may have {parent.…} in its texts, where .… is a jq of the item; a URL that begins so is an address that the item has.
	Resource `yaml:",inline"`
	// Include are the jq of what children get of the item, by the names that it has there.
	Include map[string]string `yaml:"include"`
	// Key is the jq that names a child among those of its item, for children whose other bytes change.
	Key string `yaml:"key"`
	// NotFound is what an item is whose children are not found: malformed or empty.
	NotFound string `yaml:"not_found"`
}

const (
	notFoundMalformed = "malformed"
	notFoundEmpty     = "empty"

	parentPrefix = "{parent."
)

var placeholder = regexp.MustCompile(`\{parent(\.[^{}]*)\}`)

func (h *Children) check(k checker, c *Config) {
	if h.URL == "" {
		if h.Records != "" || len(h.Include) > 0 || len(h.Params) > 0 || h.Body != "" || h.Paginate.any() {
			k.fault("url", "is missing: write an address as https://api.example/v2/orders/{parent.id}/lines")
		}
		return
	}
	if !strings.HasPrefix(h.URL, parentPrefix) {
		k.address("url", placeholder.ReplaceAllString(h.URL, "0"))
	}
	h.Resource.check(k)
	k.jq("key", h.Key)
	k.oneOf("not_found", h.NotFound, notFoundMalformed, notFoundEmpty)
	found := false
	for _, text := range h.texts() {
		for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
			found = true
			k.jq("url", m[1])
		}
		if strings.Contains(text, "{incremental.") {
			k.fault("url", "and what else children are asked with cannot have {incremental.…}: have it in url")
		}
	}
	if !found {
		k.fault("url", "has nothing of the item: write an address as https://api.example/v2/orders/{parent.id}/lines")
	}
	for name, text := range h.Include {
		if name == "" || text == "" {
			k.fault("include", "must be names and jq, as {order_id: .id}")
		}
		k.at("include").jq(name, text)
	}
	for _, v := range c.Headers {
		if strings.Contains(v.Reveal(), "{incremental.") {
			k.fault("url", "cannot go with {incremental.…} in headers, which are sent to children too: have it in params")
		}
	}
}

// parent is something that an item has for its children.
type parent struct {
	name  string // of the placeholder, or on the child
	value query
}

func (s *Source) compileChildren() (err error) {
	h := &s.c.Children
	if s.children, err = h.Resource.compile(); err != nil {
		return err
	}
	add := func(to *[]parent, name, text string) error {
		q, err := compile(text)
		*to = append(*to, parent{name, q})
		return err
	}
	for _, text := range h.texts() {
		for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
			if err := add(&s.parents, m[0], m[1]); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.Include)) {
		if err := add(&s.include, name, h.Include[name]); err != nil {
			return err
		}
	}
	s.own, err = compile(h.Key)
	return err
}

// family is what the children of one item have of it.
type family struct {
	fill   fill
	names  []string
	values [][]byte
	texts  []string
}

// kin is an item's family, and the pages of its children; nil if the item is malformed.
type kin struct {
	family
	pages *pager
}

// ahead has the first page of the children of an item asked for while those of the items before it are emitted. It is asked for and not parsed, so that
// what is held is bounded by max_body.
type ahead struct {
	s       *Source
	c       *client
	ctx     context.Context // of the requests
	cancel  context.CancelFunc
	running sync.WaitGroup

	items []*record // that come after those of queue
	queue []kin
	from  *childPlace // where the children of the first item go on
}

// ahead begins; next is to be called once for each of the items, and close in the end.
func (s *Source) ahead(ctx context.Context, c *client, items []*record, from *childPlace) *ahead {
	own := *c
	own.gate = newGate(c.gate.limit)
	own.gate.lasting = ctx
	a := &ahead{s: s, c: &own, items: items, from: from}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a
}

// next is the family of the next item.
func (a *ahead) next(ctx context.Context) (kin, error) {
	// Of the item whose turn it is only one request at a time is on its way, so that these are all that are.
	for len(a.queue) < a.s.c.Concurrency && len(a.items) > 0 {
		k, err := a.kinOf(ctx, a.items[0])
		if err != nil {
			return kin{}, err
		}
		a.items, a.queue, a.from = a.items[1:], append(a.queue, k), nil
	}
	k := a.queue[0]
	a.queue = a.queue[1:]
	return k, nil
}

func (a *ahead) kinOf(ctx context.Context, r *record) (kin, error) {
	if r.Malformed != "" {
		return kin{}, nil
	}
	f, able, err := a.s.familyOf(ctx, r)
	if err != nil || !able {
		return kin{}, err
	}
	p := a.s.pages(a.c, a.s.children, f.fill)
	if a.from != nil {
		p.at, p.whole = a.from.Spot, a.from.Spot.Page <= 1
	}
	answered := make(chan early, 1)
	p.early = answered
	a.running.Go(func() {
		got, err := p.ask(a.ctx)
		answered <- early{got, err}
	})
	return kin{f, p}, nil
}

// close drops what was read ahead and is not needed.
func (a *ahead) close() {
	a.cancel()
	a.running.Wait()
}

// familyOf reads what children need of an item; false if it lacks something, which makes it malformed.
func (s *Source) familyOf(ctx context.Context, r *record) (f family, able bool, err error) {
	var pairs []string
	for _, p := range s.parents {
		v, err := p.value.one(ctx, r.value)
		if ctx.Err() != nil {
			return f, false, context.Cause(ctx)
		}
		text := ""
		switch v := v.(type) {
		case nil, map[string]any, []any:
		case string:
			text = v
		default:
			raw, _ := gojq.Marshal(v) // a number or a boolean
			text = string(raw)
		}
		// As a part of a path these are other resources.
		if err != nil || text == "" || text == "." || text == ".." {
			r.Malformed = fmt.Sprintf("children: %s gives nothing to ask with", p.name)
			return f, false, nil
		}
		pairs = append(pairs, p.name, text)
	}
	f.fill = filling(pairs...)
	for _, p := range s.include {
		values, texts, err := p.value.texts(ctx, r.value, r.Data)
		if r.Kind != envelope.JSON {
			if values, err = p.value.all(ctx, r.value); err == nil && len(values) > 0 {
				var text []byte
				text, err = gojq.Marshal(values[0])
				texts = [][]byte{text}
			}
		}
		switch {
		case ctx.Err() != nil:
			return f, false, context.Cause(ctx)
		case err != nil:
			r.Malformed = fmt.Sprintf("children: include.%s: %v", p.name, err)
			return f, false, nil
		case len(values) == 0:
			values, texts = []any{nil}, [][]byte{[]byte("null")}
		}
		plain, isText := values[0].(string)
		if !isText {
			plain = string(texts[0])
		}
		f.names, f.values, f.texts = append(f.names, p.name), append(f.values, texts[0]), append(f.texts, plain)
	}
	return f, true, nil
}

// join gives a child what it has of its item, before what is its own.
func (f *family) join(child *record) {
	if len(f.names) == 0 || child.Malformed != "" {
		return
	}
	object, is := child.value.(map[string]any)
	if !is {
		if child.value != nil || child.Kind == envelope.JSON && string(child.Data) == "null" {
			child.Malformed = "children.include: the item is no object"
		}
		return // otherwise the envelope finds out why it is malformed
	}
	for _, name := range f.names {
		if _, has := object[name]; has {
			child.Malformed = fmt.Sprintf("children.include: the item has a %s of its own: write another name", name)
			return
		}
	}
	if child.Kind == envelope.Fields {
		child.Names, child.Values = append(f.names[:len(f.names):len(f.names)], child.Names...), append(f.texts[:len(f.texts):len(f.texts)], child.Values...)
		return
	}
	var joined []byte
	for i, name := range f.names {
		joined = append(member(joined, name), f.values[i]...)
	}
	start := envelope.SkipSpace(child.Data, 0) + 1
	if len(object) > 0 {
		joined = append(joined, ',')
	}
	child.Data = append(append([]byte{'{'}, joined...), child.Data[start:]...)
}

// lost says whether the children of an item are not found, and what that makes of it.
func (s *Source) lost(r *record, at spot, err error) bool {
	no := denied(err)
	if at.Page > 1 || no.code != http.StatusNotFound && no.code != http.StatusGone {
		return false
	}
	if s.c.Children.NotFound == notFoundMalformed {
		r.Malformed = fmt.Sprintf("children: the server answers %d", no.code)
	}
	return true
}

// offspring emits the children of an item from where last says on; false if they are no longer as they were.
func (s *Source) offspring(ctx context.Context, a *ahead, out collect.Out, r *record, last *snapshot) (same bool, err error) {
	k, err := a.next(ctx)
	if err != nil || k.pages == nil {
		return true, err
	}
	from := last.Child
	for {
		at := k.pages.at
		pg, err := k.pages.next(ctx)
		switch {
		case err != nil && s.lost(r, at, err):
			return true, nil
		case err != nil && from != nil && at.Page > 1 && retry.Classify(err) == retry.Permanent:
			return false, nil // a cursor may have run out
		case err != nil || pg == nil:
			return true, err
		}
		first := 0
		if from != nil {
			if string(pg.sum[:]) != string(from.Sum) { // Invariant 3
				return false, nil
			}
			first, from = from.Items, nil
		}
		for i := first; i < len(pg.records); i++ {
			child := &pg.records[i]
			k.join(child)
			last.Child = &childPlace{pg.spot, i + 1, pg.sum[:]}
			if err := s.emit(ctx, out, child, snapshotStream, last, pg, i); err != nil {
				return true, err
			}
		}
	}
}

// relatives are an item that is read, and the children of it that Kafka has.
type relatives struct {
	known
	children []digest
}

// family emits the children of an item that Kafka has not. They are remembered until their item is.
func (w *windows) family(ctx context.Context, a *ahead, r *record, sum digest, item known) error {
	of, err := a.next(ctx)
	if err != nil || of.pages == nil {
		return err
	}
	all := relatives{known: item}
	defer func() { w.families = append(w.families, all) }()
	for n := range passes {
		fresh, pages := false, 0
		p := of.pages
		if n > 0 {
			p = w.s.pages(a.c, w.s.children, of.fill)
		}
		for {
			at := p.at
			pg, err := p.next(ctx)
			if err != nil && w.s.lost(r, at, err) {
				return nil
			}
			if err != nil {
				return err
			}
			if pg == nil {
				break
			}
			pages++
			alike := map[digest]int{}
			for i := range pg.records {
				child := &pg.records[i]
				name, err := child.name(ctx, w.s.own, item.at, alike)
				if err != nil {
					return err
				}
				name = digestOf(sum[:], name[:])
				all.children = append(all.children, name)
				if _, is := w.seen[name]; is {
					continue
				}
				if err := w.room(); err != nil {
					return err
				}
				of.join(child)
				k := known{item.at, w.stream(name)}
				if err := w.emit(ctx, child, k, pg, i); err != nil {
					return err
				}
				w.seen[name], fresh = k, true
			}
		}
		if !fresh || pages <= 1 || !w.s.children.Paginate.Reread {
			return nil
		}
	}
	return fmt.Errorf("after %d passes over the children of an item there are still some that the passes before had missed, because they move from page to page: "+
		"ask for longer pages, or name what does not change as children.key", passes)
}

// settle marks the items whose children are all in Kafka, and forgets these.
func (w *windows) settle(ctx context.Context) error {
	if len(w.families) == 0 {
		return nil
	}
	// Invariant 2: the marks are about the items of other streams.
	if err := w.drain(ctx); err != nil {
		return err
	}
	for _, item := range w.families {
		if err := mark(ctx, w.out, item.stream, itemResume{item.at}); err != nil {
			return err
		}
		for _, name := range item.children {
			child, is := w.seen[name]
			if !is {
				continue // another pass has given it, too
			}
			if err := mark(ctx, w.out, child.stream, nil); err != nil {
				return err
			}
			delete(w.seen, name)
		}
	}
	w.families = nil
	return nil
}
