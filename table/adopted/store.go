package adopted

import (
	"context"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/lake"
	"headwater/table"
)

// fresh is how long the Records are believed that were read. Another process may have adopted or released a table since.
const fresh = 5 * time.Second

// Under is a store with what a process does to it as a whole.
type Under interface {
	lake.Store
	Sweep(ctx context.Context) (int, error)
	Close() error
}

// Store is the tables store with the adopted tables in their places: an object of theirs has the key that it would have if Headwater had made the table. What lies under such keys
// in the store below has none.
type Store struct {
	Under
	mu      sync.Mutex
	records map[table.Name]Record
	read    time.Time
}

// local is a Store of this machine's files.
type local struct{ *Store }

// Path implements lake.Local.
func (l local) Path(key string) string {
	below, err := l.below(context.Background(), key)
	if err != nil {
		return ""
	}
	return l.Under.(lake.Local).Path(below)
}

// Registry is what says where tables lie.
type Registry interface {
	Under
	// Layout is where the table lies; false if it was not adopted, or was released.
	Layout(n table.Name) (table.Layout, bool)
	// Place is the key in the store below.
	Place(key string) (string, error)
	store() *Store
}

// Open reads what was adopted.
func Open(ctx context.Context, s Under) (Registry, error) {
	out := &Store{Under: s}
	if err := out.reload(ctx); err != nil {
		return nil, err
	}
	if _, here := s.(lake.Local); here {
		return local{out}, nil
	}
	return out, nil
}

func (s *Store) store() *Store { return s }

// Layout implements Registry.
func (s *Store) Layout(n table.Name) (table.Layout, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, found := s.records[n]
	return r.Layout, found && r.State != Released
}

// Place implements Registry.
func (s *Store) Place(key string) (string, error) { return s.below(context.Background(), key) }

func (s *Store) reload(ctx context.Context) error {
	at := time.Now()
	all, err := readAll(ctx, s.Under)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records, s.read = all, at
	return nil
}

// known are the Records, read anew if they are old.
func (s *Store) known(ctx context.Context) (map[table.Name]Record, error) {
	s.mu.Lock()
	all, old := s.records, time.Since(s.read) > fresh
	s.mu.Unlock()
	if !old {
		return all, nil
	}
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records, nil
}

// nameOf is the table of a key, and what follows it.
func nameOf(key string) (n table.Name, rest string, ok bool) {
	database, rest, _ := strings.Cut(key, "/")
	name, rest, ok := strings.Cut(rest, "/")
	return table.Name{Database: database, Table: name}, rest, ok
}

// below is the key in the store below.
func (s *Store) below(ctx context.Context, key string) (string, error) {
	n, rest, ok := nameOf(key)
	if !ok {
		return key, nil
	}
	all, err := s.known(ctx)
	if err != nil {
		return "", err
	}
	r, found := all[n]
	switch {
	case !found:
		return key, nil
	case r.State != Adopted:
		return "", r.refuse() // invariant 1
	}
	return r.Prefix + "/" + r.Below(rest), nil
}

// Put implements lake.Store.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	below, err := s.below(ctx, key)
	if err != nil {
		return lake.Object{}, err
	}
	o, err := s.Under.Put(ctx, below, body, cond)
	return named(o, key), err
}

// Get implements lake.Store.
func (s *Store) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	below, err := s.below(ctx, key)
	if err != nil {
		return nil, lake.Object{}, err
	}
	r, o, err := s.Under.Get(ctx, below, offset, n)
	return r, named(o, key), err
}

// Stat implements lake.Store.
func (s *Store) Stat(ctx context.Context, key string) (lake.Object, error) {
	below, err := s.below(ctx, key)
	if err != nil {
		return lake.Object{}, err
	}
	o, err := s.Under.Stat(ctx, below)
	return named(o, key), err
}

// Delete implements lake.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	below, err := s.below(ctx, key)
	if err != nil {
		return err
	}
	return s.Under.Delete(ctx, below)
}

func named(o lake.Object, key string) lake.Object {
	if o.Key != "" {
		o.Key = key
	}
	return o
}

// List implements lake.Store. Of a table that is not Headwater's it is an error to list it alone; whoever lists more does not see it.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		all, err := s.known(ctx)
		if err != nil {
			yield(lake.Object{}, err)
			return
		}
		if n, rest, ok := nameOf(prefix); ok {
			if r, found := all[n]; found {
				objects, err := s.table(ctx, r, n, rest, after)
				one(yield, objects, err)
				return
			}
		}
		s.merged(ctx, all, prefix, after, yield)
	}
}

func one(yield func(lake.Object, error) bool, objects []lake.Object, err error) {
	for _, o := range objects {
		if !yield(o, nil) {
			return
		}
	}
	if err != nil {
		yield(lake.Object{}, err)
	}
}

// table lists an adopted table's objects whose keys begin with its name and rest. Its folders may have another order below, so all are sorted.
func (s *Store) table(ctx context.Context, r Record, n table.Name, rest, after string) (out []lake.Object, err error) {
	if r.State != Adopted {
		return nil, r.refuse()
	}
	own := n.Database + "/" + n.Table + "/"
	from := r.Prefix + "/"
	if table.InDay(rest) || strings.HasPrefix(rest, "_runs/") {
		from += r.Below(rest)
	}
	for o, err := range s.Under.List(ctx, from, "") {
		if err != nil {
			return nil, err
		}
		o.Key = own + r.Above(o.Key[len(r.Prefix)+1:])
		if strings.HasPrefix(o.Key, own+rest) && o.Key > after {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b lake.Object) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

// merged lists what lies in no adopted table's place with what the adopted tables have.
func (s *Store) merged(ctx context.Context, all map[table.Name]Record, prefix, after string, yield func(lake.Object, error) bool) {
	var theirs []lake.Object
	var hidden []string
	for n, r := range all {
		own := n.Database + "/" + n.Table + "/"
		hidden = append(hidden, own, r.Prefix+"/")
		if r.State != Adopted || !strings.HasPrefix(own, prefix) {
			continue
		}
		objects, err := s.table(ctx, r, n, "", after)
		if err != nil {
			yield(lake.Object{}, err)
			return
		}
		theirs = append(theirs, objects...)
	}
	slices.SortFunc(theirs, func(a, b lake.Object) int { return strings.Compare(a.Key, b.Key) })
	for o, err := range s.Under.List(ctx, prefix, after) {
		if err != nil {
			yield(o, err)
			return
		}
		if slices.ContainsFunc(hidden, func(place string) bool { return strings.HasPrefix(o.Key, place) }) {
			continue
		}
		for ; len(theirs) > 0 && theirs[0].Key < o.Key; theirs = theirs[1:] {
			if !yield(theirs[0], nil) {
				return
			}
		}
		if !yield(o, nil) {
			return
		}
	}
	one(yield, theirs, nil)
}
