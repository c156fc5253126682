package serialize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"headwater/envelope"
	"headwater/schema"
	"headwater/schema/ledger"
	"headwater/table"
)

// recordsPerObject is how far apart the numbers of the records of two objects are, as schema.First counts them.
const recordsPerObject = 1 << 40

// readLedger reads what is known of the columns before this run.
func (r *run) readLedger(ctx context.Context) (err error) {
	if !r.job.Schema.hasLedger() {
		return nil
	}
	if r.head, err = r.log().Head(ctx); err != nil || r.head.Number == 0 {
		return err
	}
	raw, flat := r.names(r.head, layoutOf(r.head))
	r.raw.columns, r.flat.columns = raw.schema, flat.schema
	return nil
}

// log is the ledger of the source, which is that of its flat table.
func (r *run) log() ledger.Log { return ledger.Log{Store: r.Tables, Table: r.job.Flat.String()} }

// named is a table's schema with the names of its columns.
type named struct {
	schema  schema.Type
	renamed []schema.Renamed
	all     schema.Names
}

// names makes the two tables' schemas of what records are cut into; what v says of names holds. v may be nil.
func (r *run) names(v *ledger.Version, l layout) (raw, flat named) {
	var givenRaw, givenFlat schema.Names
	if v != nil {
		givenRaw, givenFlat = v.RawNames, v.FlatNames
	}
	if r.job.Schema.Dialect == DialectSpark {
		raw.schema, raw.renamed = schema.UniqueSpark(l.record, ownKeys)
		flat.schema, flat.renamed = schema.FlattenSpark(fieldType(l.record, envelope.KeyRawData), r.Config.Flat.Separator)
		return raw, flat
	}
	raw.schema, raw.renamed, raw.all = schema.Unique(l.record, ownKeys, givenRaw)
	flat.schema, flat.renamed, flat.all = schema.Flatten(fieldType(l.record, envelope.KeyRawData), r.Config.Flat.Separator, givenFlat)
	if l.rescue {
		rescued := schema.Field{Name: schema.Rescued, Type: schema.Type{Kind: schema.String}}
		raw.schema.Fields = append(raw.schema.Fields, rescued)
		last := len(flat.schema.Fields) - 1
		flat.schema.Fields = append(flat.schema.Fields[:last:last], rescued, flat.schema.Fields[last])
	}
	return raw, flat
}

// rescues says whether the tables have the column of what no other takes, where no ledger says it.
func (r *run) rescues() bool {
	for _, hint := range r.job.Schema.Hints {
		if hint != "string" {
			return true
		}
	}
	return r.job.Schema.Rescued
}

// settle decides, now that all records are known, what they are to be cut into: what the ledger says with what the day brings, or what the day
// says if there is no ledger.
func (r *run) settle(ctx context.Context, s *scanned) error {
	if r.head == nil {
		s.layout = r.alone(s)
		return nil
	}
	if r.fixed {
		s.layout = layoutOf(r.head)
		s.misfit = s.misfit || s.layout.rows != s.rowsOf()
		return nil
	}
	evidence := s.evidenceOfRows()
	rules := ledger.Rules{MaxRewrite: r.job.Schema.MaxRewrite, Hints: r.job.Schema.Hints, Rescued: r.job.Schema.Rescued}
	head, err := r.log().Change(ctx, "serialize "+r.job.Day.String(), func(v *ledger.Version) (bool, error) {
		rules.Frozen = r.job.Schema.Columns != ColumnsEvolve && v.Number > 0 // the first day gives the columns that are kept
		before := layoutOf(v)
		changed, err := v.Add(ledger.Day{Evidence: evidence, Place: r.place, Touched: r.touched(ctx, v)}, rules)
		if err != nil || !changed {
			return changed, err
		}
		if err := r.checkColumns(v.Evidence().Resolve()); err != nil {
			return false, err
		}
		r.keepNames(v, before)
		return true, nil
	})
	if errors.Is(err, ledger.ErrRewrite) {
		return dataError("%w", err)
	}
	if err != nil {
		return fmt.Errorf("deciding the columns: %w", err)
	}
	r.head = head
	s.layout = layoutOf(head)
	s.misfit = s.misfit || s.layout.rows != s.rowsOf() // another day has brought the first objects while this one was read
	raw, flat := r.names(head, s.layout)
	r.raw.columns, r.flat.columns = raw.schema, flat.schema
	return nil
}

// alone is what the records are to be cut into where no other day counts.
func (r *run) alone(s *scanned) layout {
	evidence := s.evidenceOfRows()
	if r.job.Schema.Dialect == DialectSpark {
		return layout{record: evidence.ResolveSpark(), rows: s.rowsOf()}
	}
	return layout{pinned(evidence, r.job.Schema.Hints), s.rowsOf(), r.rescues()}
}

// layoutOf is what the ledger says that records are to be cut into.
func layoutOf(v *ledger.Version) layout {
	l := layout{record: v.Evidence().Resolve(), rows: classBare, rescue: v.Rescued}
	if v.HasObjects() {
		l.rows = classObject
	}
	return l
}

// pinned is the type of the evidence with the hints.
func pinned(evidence *schema.Evidence, hints map[string]string) schema.Type {
	for path, hint := range hints {
		if e := evidence.Fields[envelope.KeyRawData].Find(path); e != nil && e.Seen != 0 {
			pin, err := schema.ParseHint(hint)
			if err == nil {
				e.Pin = &pin
			}
		}
	}
	return evidence.Resolve()
}

// keepNames gives the columns of before the names that they have, whatever has come beside them, and notes those of all columns.
func (r *run) keepNames(v *ledger.Version, before layout) {
	if v.Number > 0 {
		raw, flat := r.names(v, before)
		v.RawNames, v.FlatNames = raw.all, flat.all
	}
	raw, flat := r.names(v, layoutOf(v))
	v.RawNames, v.FlatNames = raw.all, flat.all
}

// place is what a number of schema.First stands for.
func (r *run) place(at int64) ledger.Place {
	in, record := r.inputs[at/recordsPerObject], at%recordsPerObject
	p := ledger.Place{Day: r.job.Day.String(), Object: in.Key, Record: record + 1, Offset: -1}
	if offset, ok := in.offset(record); ok {
		p.Offset = offset
	}
	return p
}

// touched lists the days, this one left out, whose files have a column otherwise than records of a type give it. The files' footers are read once.
func (r *run) touched(ctx context.Context, v *ledger.Version) ledger.Touched {
	footers := sync.OnceValues(func() ([]table.Footer, error) {
		raw, err := table.Footers(ctx, r.Tables, r.job.Raw)
		if err != nil {
			return nil, err
		}
		flat, err := table.Footers(ctx, r.Tables, r.job.Flat)
		return append(raw, flat...), err
	})
	return func(record schema.Type) (days []string, err error) {
		files, err := footers()
		raw, flat := r.names(v, layout{record: record, rescue: v.Rescued})
		for _, f := range files {
			columns := raw.schema
			if f.Table == r.job.Flat.String() {
				columns = flat.schema
			}
			if f.Day != r.job.Day.String() && !schema.Conforms(f.Schema, columns) && !slices.Contains(days, f.Day) {
				days = append(days, f.Day)
			}
		}
		return days, err
	}
}

// moved says that the ledger has gone on since the files were written, to other types than theirs.
func (r *run) moved(ctx context.Context) (bool, error) {
	if r.head == nil {
		return false, nil
	}
	head, err := r.log().Head(ctx)
	if err != nil || head.Number == r.head.Number {
		return false, err
	}
	raw, flat := r.names(head, layoutOf(head))
	return !schema.Conforms(r.raw.footer.Schema, raw.schema) || !schema.Conforms(r.flat.footer.Schema, flat.schema), nil
}

// Schema is a source's ledger with what changes of it need to know of the tables.
type Schema struct {
	Log ledger.Log
	run *run
}

// Schema opens the ledger of the job's source, whatever the job's day. It is an error if the source has none by its configuration.
func (z *Serializer) Schema(job Job) (*Schema, error) {
	if !job.Schema.hasLedger() {
		return nil, fmt.Errorf("source %s has no schema ledger: its schema.ledger is %s, its schema.dialect %s", job.Source, job.Schema.Ledger, job.Schema.Dialect)
	}
	r := &run{Serializer: z, job: job, raw: &output{name: job.Raw}, flat: &output{name: job.Flat}}
	return &Schema{Log: r.log(), run: r}, nil
}

// Change makes a change that a person has decided, and returns the version that has it. The days that it touches are stale afterwards.
func (s *Schema) Change(ctx context.Context, by string, change func(v *ledger.Version, touched ledger.Touched) error) (*ledger.Version, error) {
	s.run.job.Day = table.Day{}
	return s.Log.Change(ctx, by, func(v *ledger.Version) (bool, error) {
		before := layoutOf(v)
		if err := change(v, s.run.touched(ctx, v)); err != nil {
			return false, err
		}
		s.run.keepNames(v, before)
		return true, nil
	})
}

// Tables are the schemas of the two tables in a version, with the columns that have other names than their fields.
func (s *Schema) Tables(v *ledger.Version) (raw, flat schema.Type) {
	r, f := s.run.names(v, layoutOf(v))
	return r.schema, f.schema
}

// Record is a record of a raw object, for those who look at the data behind a schema.
type Record struct {
	Place ledger.Place
	Value json.RawMessage
}

// Records reads the records of a day that are JSON, as they are. It ends at the first error.
func (s *Schema) Records(ctx context.Context, day table.Day) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r := *s.run
		r.job.Day = day
		var err error
		if r.inputs, err = r.list(ctx, day); err != nil {
			yield(Record{}, err)
			return
		}
		how := r.reading()
		for i, in := range r.inputs {
			for l, err := range r.lines(ctx, in) {
				if err != nil {
					yield(Record{}, err)
					return
				}
				text, reason := how.unpack(l.text)
				if reason != "" || !json.Valid(text) {
					continue
				}
				if !yield(Record{r.place(int64(i)*recordsPerObject + l.record), text}, nil) {
					return
				}
			}
		}
	}
}
