package adopted

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/lake"
	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
)

// readers bounds how many days are looked at at a time.
const readers = 8

// Metastore is where the other job has registered its tables. *hive.Catalog is one.
type Metastore interface {
	Theirs(ctx context.Context, n table.Name) (hive.Theirs, error)
	Adopt(ctx context.Context, n table.Name, columns schema.Type) error
	Release(ctx context.Context, n table.Name, ps []table.Partition, before map[string]string) error
}

// Options are what tables are taken over with.
type Options struct {
	Store     Registry
	Metastore Metastore
	// Others are the tables that Headwater has.
	Others []table.Name
	// Temp is a folder for files on their way; empty is the system's.
	Temp string
	// Progress, if not nil, is told how many of the days of a table are done.
	Progress func(n table.Name, done, all int)
}

// Refusal says everything that is in the way of taking a table over, or of giving it back. Nothing was changed.
type Refusal struct {
	Table  string
	Faults []string
}

func (r Refusal) Error() string {
	return fmt.Sprintf("%s stays as it is: %s", r.Table, strings.Join(r.Faults, "; "))
}

func (r *Refusal) add(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

func (r *Refusal) orNil() error {
	if len(r.Faults) == 0 {
		return nil
	}
	return *r
}

// Plan is what taking over a table comes to.
type Plan struct {
	Name     table.Name
	Location string
	Record   Record
	// Days are those that are taken over, Ours is how many Headwater has already.
	Days []table.Taken
	Ours int
	// Empty are the days that are registered and have no file: they stay so.
	Empty []table.Day
	// Unregistered are days that have files and are not registered: they are not taken over.
	Unregistered []table.Day
	// Columns are those of all files together.
	Columns schema.Type
	// Differing are the columns that have several types.
	Differing []Differing
	// Notes say what else a person would want to know.
	Notes []string
}

// Differing is a column whose type is not the same on all days.
type Differing struct {
	Column string
	// Types are its types in order, with the days that have it so.
	Types []TypeDays
	// All is what holds them all.
	All string
}

// TypeDays are the days on which a column has a type.
type TypeDays struct {
	Type string
	Days []table.Day
}

// PlanAdoption looks at the table and at all of its files, and changes nothing. Errors: table.ErrNotExist if the metastore does not have it, Refusal.
func (o Options) PlanAdoption(ctx context.Context, n table.Name) (p Plan, err error) {
	theirs, err := o.Metastore.Theirs(ctx, n)
	if err != nil {
		return p, err
	}
	p = Plan{Name: n, Location: theirs.Location}
	before, known, err := read(ctx, o.Store.store().Under, recordKey(n))
	if err != nil {
		return p, err
	}
	refusal := &Refusal{Table: n.String()}
	refuseTable(refusal, theirs)
	o.refusePlace(ctx, refusal, n, theirs, before, known)
	p.Record = before
	if !known || before.State == Released {
		p.Record = Record{Table: n.String(), Parameters: theirs.Parameters, object: before.object}
		p.Record.Prefix = theirs.Below
		p.Record.Folders, p.Record.Values = spelling(refusal, theirs)
	}
	if err := refusal.orNil(); err != nil {
		return p, err
	}
	days, err := o.take(ctx, &p, theirs, refusal)
	if err != nil {
		return p, err
	}
	p.compare(refusal, theirs, days)
	return p, refusal.orNil()
}

// refuseTable says what of the table itself is in the way.
func refuseTable(r *Refusal, t hive.Theirs) {
	if !t.External {
		r.add("it is a managed table, whose files are deleted with it: make it external (ALTER TABLE ... SET TBLPROPERTIES ('EXTERNAL'='TRUE'))")
	}
	if t.Format != "" {
		r.add("its files are not Parquet but of %s", t.Format)
	}
	if t.Outside {
		r.add("it lies at %s, which is not below lake.tables: have lake.tables name a place above it", t.Location)
	}
	var names []string
	for _, k := range t.Keys {
		names = append(names, k.Name)
		if !slices.Contains([]string{"int", "bigint", "smallint", "tinyint", "string"}, k.Type) {
			r.add("its partition column %s is of type %s, and must be an integer or a string", k.Name, k.Type)
		}
	}
	if !slices.Equal(names, []string{"year", "month", "day"}) {
		r.add("it is partitioned by (%s), and must be by (year, month, day)", strings.Join(names, ", "))
	}
	if _, spark := t.Parameters["spark.sql.sources.schema.numParts"]; t.SchemaErr != nil && (spark || t.Parameters["spark.sql.sources.schema"] != "") {
		r.add("%v", t.SchemaErr)
	}
}

// refusePlace says what of the table's place is in the way.
func (o Options) refusePlace(ctx context.Context, r *Refusal, n table.Name, t hive.Theirs, before Record, known bool) {
	switch {
	case known && before.State == Releasing:
		r.add("it is being given back: end that first, with headwater tables release")
		return
	case known && before.State == Adopted && before.Prefix != t.Below:
		r.add("it was adopted at %s, and lies at %s now: move it back, or release it", before.Prefix, t.Location)
		return
	case t.Ours && (!known || before.State == Released):
		r.add("it is Headwater's already, of this pipeline or another one")
		return
	case t.Outside:
		return
	}
	if strings.HasPrefix(t.Below, "_") || strings.HasPrefix(t.Below, ".") {
		r.add("it lies at %s, in a folder whose name begins with _ or .: readers do not look there", t.Location)
	}
	for _, other := range o.Others {
		place := other.Database + "/" + other.Table
		if l, adopted := o.Store.Layout(other); adopted {
			place = l.Prefix
		}
		if other != n && (strings.HasPrefix(place+"/", t.Below+"/") || strings.HasPrefix(t.Below+"/", place+"/")) {
			r.add("it lies at %s, and Headwater's table %s at %s: one has to go elsewhere", t.Below, other, place)
		}
	}
	own := n.Database + "/" + n.Table
	if known && before.State != Released || own == t.Below {
		return
	}
	for found, err := range o.Store.store().Under.List(ctx, own+"/", "") {
		if err != nil {
			r.add("listing %s: %v", own, err)
		} else {
			r.add("there is something of this name in lake.tables already, %s: move it away", found.Key)
		}
		return
	}
}

// spelling finds out how many digits the days have, in the names of folders and in the metastore's values, and refuses tables that have it both ways.
func spelling(r *Refusal, t hive.Theirs) (folders, values [3]int) {
	var inValues, inFolders [3][]string
	for _, p := range t.Partitions {
		if _, err := dayOf(p.Values); err != nil {
			r.add("its partition %s is not a day: %v", strings.Join(p.Values, "/"), err)
			return
		}
		if p.Outside != "" {
			r.add("its partition %s lies at %s, outside the table", strings.Join(p.Values, "/"), p.Outside)
			return
		}
		m := strings.FieldsFunc(p.Below, func(c rune) bool { return c == '/' || c == '=' })
		if len(m) != 6 || m[0] != "year" || m[2] != "month" || m[4] != "day" {
			r.add("its partition %s lies in %s, and must in a folder as year=2026/month=7/day=5", strings.Join(p.Values, "/"), p.Below)
			return
		}
		for i, v := range p.Values {
			inValues[i], inFolders[i] = append(inValues[i], v), append(inFolders[i], m[2*i+1])
		}
	}
	strings := len(t.Keys) == 3 && t.Keys[2].Type == "string"
	values = digits(inValues, strings, [3]int{})
	folders = digits(inFolders, strings, values)
	for _, p := range t.Partitions {
		d, _ := dayOf(p.Values)
		spelled := d.Spell(values)
		if want := (table.Layout{Folders: folders}).Below(d.Path()); !slices.Equal(spelled[:], p.Values) || p.Below != want {
			r.add("it spells its days in several ways: partition %s lies in %s, and as others are spelled it would be %s in %s", join(p.Values), p.Below, join(spelled[:]), want)
			return
		}
	}
	return folders, values
}

func join(values []string) string { return strings.Join(values, "/") }

// digits are the least numbers of digits. Where they do not show, month and day are taken to be alike, then to be as like is, and then to be as Spark's date_format has them if they
// are strings, and as its month() and day() if they are numbers.
func digits(texts [3][]string, isString bool, like [3]int) (out [3]int) {
	for i, all := range texts {
		for _, text := range all {
			switch {
			case text[0] == '0' && len(text) > 1:
				out[i] = len(text)
			case len(text) == 1 && out[i] == 0:
				out[i] = 1
			}
		}
	}
	usual := 1
	if isString {
		usual = 2
	}
	out[0] = max(out[0], 1)
	month := cmp.Or(out[1], out[2], like[1], usual)
	out[2] = cmp.Or(out[2], out[1], like[2], usual)
	out[1] = month
	return out
}

// dayOf reads a partition's values.
func dayOf(values []string) (d table.Day, err error) {
	if len(values) != 3 {
		return d, fmt.Errorf("it has %d values", len(values))
	}
	for i, into := range []*int{&d.Year, &d.Month, &d.Day} {
		if *into, err = strconv.Atoi(values[i]); err != nil {
			return d, errors.New("its values are no numbers")
		}
	}
	if again, err := table.ParseDay(d.String()); err != nil || again != d {
		return d, errors.New("there is no such day")
	}
	return d, nil
}

// view is the store as it will be when the table is taken over.
func (o Options) view(r Record) lake.Store {
	r.State = Adopted
	return &Store{Under: o.Store.store().Under, records: map[table.Name]Record{r.Name(): r}, read: time.Now().AddDate(100, 0, 0)}
}

// take reads the footers of the days' files. It returns the days that are registered.
func (o Options) take(ctx context.Context, p *Plan, theirs hive.Theirs, refusal *Refusal) (days map[table.Day]bool, err error) {
	days = map[table.Day]bool{}
	for _, part := range theirs.Partitions {
		d, err := dayOf(part.Values)
		if err != nil {
			refusal.add("its partition %s is not a day: %v", join(part.Values), err)
			continue
		}
		days[d] = true
	}
	view := o.view(p.Record)
	var mu sync.Mutex
	done := 0
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, d := range slices.SortedFunc(maps.Keys(days), table.Day.Compare) {
		g.Go(func() error {
			t, found, err := table.Take(gctx, view, p.Name, d)
			mu.Lock()
			defer mu.Unlock()
			if done++; o.Progress != nil {
				o.Progress(p.Name, done, len(days))
			}
			switch {
			case errors.Is(err, table.ErrNotParquet), errors.Is(err, table.ErrForeign), errors.Is(err, table.ErrVersion), errors.Is(err, table.ErrDamaged):
				refusal.add("%s: %v", d, err)
			case err != nil:
				return err
			case !found:
				p.Ours++
			case len(t.Files) == 0:
				p.Empty = append(p.Empty, d)
			default:
				p.Days = append(p.Days, t)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("looking at the days of %s: %w", p.Name, err)
	}
	slices.Sort(refusal.Faults)
	slices.SortFunc(p.Empty, table.Day.Compare)
	slices.SortFunc(p.Days, func(a, b table.Taken) int { return a.Day.Compare(b.Day) })
	there, err := table.Days(ctx, view, p.Name)
	for _, d := range there {
		if !days[d] {
			p.Unregistered = append(p.Unregistered, d)
		}
	}
	return days, err
}

// compare makes one type of the files' types and says where they differ.
func (p *Plan) compare(refusal *Refusal, theirs hive.Theirs, days map[table.Day]bool) {
	by := map[string]map[string][]table.Day{}
	for _, t := range p.Days {
		if path := schema.Clash(p.Columns, t.Schema); path != "" {
			refusal.add("%s: column %s is nested on this day and not on days before, or the other way round, and no type holds both", t.Day, path)
		}
		p.Columns = schema.Merge(p.Columns, t.Schema)
		leaves(t.Schema, "", func(column, name string) {
			if by[column] == nil {
				by[column] = map[string][]table.Day{}
			}
			by[column][name] = append(by[column][name], t.Day)
		})
	}
	all := map[string]string{}
	leaves(p.Columns, "", func(column, name string) { all[column] = name })
	for _, column := range slices.Sorted(maps.Keys(by)) {
		if len(by[column]) < 2 {
			continue
		}
		d := Differing{Column: column, All: all[column]}
		for _, name := range slices.Sorted(maps.Keys(by[column])) {
			d.Types = append(d.Types, TypeDays{name, by[column][name]})
		}
		p.Differing = append(p.Differing, d)
	}
	if len(days) == 0 {
		p.Notes = append(p.Notes, "it has no partitions")
	}
	p.compareTable(refusal, theirs)
}

// compareTable says what the files have otherwise than the table.
func (p *Plan) compareTable(refusal *Refusal, theirs hive.Theirs) {
	if theirs.SchemaErr == nil {
		if path := schema.Clash(theirs.Schema, p.Columns); path != "" {
			refusal.add("column %s is nested in the files and not in the table, or the other way round", path)
		}
		of := map[string]schema.Type{}
		for _, f := range theirs.Schema.Fields {
			of[f.Name] = f.Type
		}
		for _, f := range p.Columns.Fields {
			switch was, found := of[f.Name]; {
			case !found:
				p.Notes = append(p.Notes, fmt.Sprintf("column %s of the files is not in the table: it is added to it", f.Name))
			case !schema.Equal(schema.Merge(was, f.Type), was):
				p.Notes = append(p.Notes, fmt.Sprintf("column %s is %s in the table and %s in files: it becomes %s", f.Name, was, f.Type, schema.Merge(was, f.Type)))
			}
		}
		return
	}
	of := map[string]string{} // Hive knows names in lower case alone
	for _, f := range p.Columns.Fields {
		of[strings.ToLower(f.Name)] = f.Type.Hive()
	}
	for _, c := range theirs.Columns {
		if of[c.Name] != c.Type {
			refusal.add("column %s is %s in the table, which Spark has not made, and %q in its files", c.Name, c.Type, of[c.Name])
		}
	}
}

// leaves calls do with each column, or field of one, and the name of its type.
func leaves(t schema.Type, at string, do func(column, name string)) {
	switch t.Kind {
	case schema.Struct:
		for _, f := range t.Fields {
			leaves(f.Type, strings.TrimPrefix(at+"."+f.Name, "."), do)
		}
	case schema.List, schema.Map:
		leaves(*t.Elem, at+"[]", do)
	default:
		do(at, t.String())
	}
}

// Adopt does what was planned. Done again, after it was interrupted, it ends it. ledger, which may be nil, is called before the table is Headwater's.
func (o Options) Adopt(ctx context.Context, p Plan, ledger func(ctx context.Context) error) error {
	under := o.Store.store().Under
	if p.Record.State != Adopted {
		if err := p.Record.write(ctx, under, Adopting); err != nil { // invariant 2
			return err
		}
	}
	view := o.view(p.Record)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, t := range p.Days {
		g.Go(func() error {
			if err := table.AdoptDay(gctx, view, p.Name, t); err != nil {
				return fmt.Errorf("taking over %s of %s: %w", t.Day, p.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := o.Metastore.Adopt(ctx, p.Name, p.Columns); err != nil {
		return err
	}
	if ledger != nil {
		if err := ledger(ctx); err != nil {
			return err
		}
	}
	if p.Record.State != Adopted {
		if err := p.Record.write(ctx, under, Adopted); err != nil {
			return err
		}
	}
	return o.Store.store().reload(ctx)
}

// PlanRelease says what Headwater has of a table that it is to give back, and changes nothing.
func (o Options) PlanRelease(ctx context.Context, n table.Name) (r Record, days []table.Day, err error) {
	r, known, err := read(ctx, o.Store.store().Under, recordKey(n))
	if err != nil {
		return r, nil, err
	}
	if !known {
		return r, nil, Refusal{n.String(), []string{"it was never adopted: headwater tables drop is for tables that are Headwater's own"}}
	}
	if r.State == Released {
		return r, nil, Refusal{n.String(), []string{"it was given back at " + r.At.Format(time.RFC3339)}}
	}
	days, err = table.Days(ctx, o.view(r), n)
	return r, days, err
}

// Release gives the table back: the files of each day lie in its folder afterwards, the partitions are registered there, and nothing in the metastore says that Headwater was
// there. Done again, after it was interrupted, it ends it.
func (o Options) Release(ctx context.Context, r Record, days []table.Day) error {
	under, n := o.Store.store().Under, r.Name()
	if r.State != Releasing {
		if err := r.write(ctx, under, Releasing); err != nil { // invariant 2
			return err
		}
	}
	if err := o.Store.store().reload(ctx); err != nil {
		return err
	}
	view := o.view(r)
	var mu sync.Mutex
	var ps []table.Partition
	done := 0
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, d := range days {
		g.Go(func() error {
			p, exists, err := table.Plain(gctx, view, n, d, o.Temp)
			if err != nil {
				return fmt.Errorf("putting the files of %s of %s into its folder: %w", d, n, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if exists {
				ps = append(ps, p)
			}
			if done++; o.Progress != nil {
				o.Progress(n, done, len(days))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.SortFunc(ps, func(a, b table.Partition) int { return a.Day.Compare(b.Day) })
	if err := o.Metastore.Release(ctx, n, ps, r.Parameters); err != nil && !errors.Is(err, table.ErrNotExist) {
		return err
	}
	if err := table.Forget(ctx, view, n); err != nil {
		return err
	}
	if err := r.write(ctx, under, Released); err != nil {
		return err
	}
	return o.Store.store().reload(ctx)
}
