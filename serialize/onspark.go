package serialize

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"headwater/envelope"
	"headwater/internal/retry"
	"headwater/internal/setting"
	"headwater/lake"
	"headwater/schema"
	"headwater/serialize/spark"
	"headwater/table"
)

// ErrEngine refuses to have a day made by an engine that cannot make it.
var ErrEngine = errors.New("the engine cannot make these tables")

// OnSpark is the lake as Spark finds it.
type OnSpark struct {
	// Raw and Tables are the URLs of the stores, without a slash at their ends; empty where Spark has no name for a store.
	Raw, Tables string
	// Properties are the settings by which it finds them.
	Properties map[string]string
	// Place is the key that a folder of the tables store has below it, where tables lie in places of their own; nil is its own.
	Place func(folder string) (string, error)
}

// table is the URL of a folder of the tables store.
func (o OnSpark) table(folder string) (string, error) {
	if o.Place == nil {
		return o.Tables + "/" + folder, nil
	}
	below, err := o.Place(folder)
	return o.Tables + "/" + below, err
}

// chooseEngine decides who makes the day, now that its objects are known.
func (r *run) chooseEngine() error {
	engine, size := cmp.Or(r.job.Engine, r.Config.Engine), setting.Bytes(sizesOf(r.inputs).Bytes)
	auto := engine == EngineAuto
	if auto && size <= r.Config.Spark.AutoAbove || engine != EngineAuto && engine != EngineSpark {
		return nil
	}
	why := r.notOnSpark()
	switch {
	case why == "":
		r.engine = EngineSpark
	case !auto:
		return retry.Stop(fmt.Errorf("%w: engine spark %s", ErrEngine, why))
	}
	if auto {
		r.Logger.Info("the day is larger than serialize.spark.auto_above", "source", r.job.Source, "day", r.job.Day, "size", size.Rounded(), "engine", cmp.Or(r.engine, EngineNative), "because", why)
	}
	return nil
}

// NotOnSpark says why Spark cannot make the tables of a source; it is empty if it can.
func NotOnSpark(c SchemaConfig, shape envelope.Shape) string {
	shape = shape.Landed()
	switch {
	case c.Dialect != DialectSpark:
		return "needs schema: {dialect: spark}, because Spark gives each day the types that it finds in it, and not those of the schema ledger"
	case shape.Unit != "" || shape.InString:
		return "reads times in milliseconds and raw_data as it is, and the source is declared to have others: write engine: native"
	}
	return ""
}

// notOnSpark says why Spark cannot make the day.
func (r *run) notOnSpark() string {
	if r.Spark.Raw == "" || r.Spark.Tables == "" {
		return "reads folders, s3:// and gs://, and the lake is elsewhere: write engine: native"
	}
	if r.leaveOut {
		return "reads days whole, and late: quarantine leaves records of this one out: make it with --engine native"
	}
	for _, at := range append([]string{r.Spark.Raw, r.Spark.Tables}, keysOf(r.inputs)...) {
		if strings.ContainsAny(at, `{}[]*?\`) {
			return fmt.Sprintf("takes what is in %s for a pattern: move it to a place without any of {}[]*?\\, or write engine: native", at)
		}
	}
	if r.job.Legacy.Dedupes() {
		return "does not look for doubled lines, as legacy.dedupe asks for: write engine: native"
	}
	return NotOnSpark(r.job.Schema, r.job.Shape)
}

func keysOf(inputs []input) (keys []string) {
	for _, in := range inputs {
		keys = append(keys, in.Key)
	}
	return keys
}

// clusterDay is the day while Spark makes it. It implements spark.Decider.
type clusterDay struct {
	*run
	scanned
	// at has the inputs' indexes by the places that Spark names.
	at map[string]int
	// bad has, by input, the hashes of the lines that are no rows, and how many there are of each.
	bad []map[string]int
	// rows are objects, or bare values where there are none.
	rows class
}

// onSpark is tables on another engine.
func (r *run) onSpark(ctx context.Context) (*scanned, error) {
	d := &clusterDay{run: r, at: map[string]int{}, bad: make([]map[string]int, len(r.inputs)), rows: classBare}
	d.objects, d.reasons = make([]scannedObject, len(r.inputs)), map[string]int64{}
	request, folders, err := d.request()
	if err != nil {
		return nil, err
	}
	defer r.removeScratch(context.WithoutCancel(ctx), request.Scratch[len(r.Spark.Raw)+1:])
	made, err := spark.Run(ctx, spark.Options{Config: r.Config.Spark, Properties: r.Spark.Properties, Temp: r.Temp, Logger: r.Logger.With("source", r.job.Source, "day", r.job.Day)}, request, d)
	if failure, is := errors.AsType[spark.Failure](err); is && failure.Data {
		return nil, dataError("%w; --engine native may say more, and quarantines single records that stop Spark", err)
	}
	if err != nil {
		return nil, err
	}
	if err := d.findBad(ctx); err != nil {
		return nil, err
	}
	d.count()
	for i, m := range []spark.Made{made.Raw, made.Flat} {
		o := []*output{r.raw, r.flat}[i]
		o.footer.Rows, o.footer.Quarantined = d.scanned.rows, d.quarantined
		if m.Rows != o.footer.Rows || !schema.Equal(m.Schema, o.footer.Schema) || len(m.Files) == 0 {
			return nil, fmt.Errorf("of Spark there are %d files of %d rows of %v for %s, and it should have made %d rows of %v: nothing is published; run it again, or with --engine native",
				len(m.Files), m.Rows, m.Schema, o.name, o.footer.Rows, o.footer.Schema)
		}
		for _, file := range m.Files {
			o.made = append(o.made, folders[i]+"/"+path.Base(file))
		}
		slices.Sort(o.made)
	}
	return &d.scanned, nil
}

// request is what Spark is asked for, and the folders of the two tables as the tables store has them.
func (d *clusterDay) request() (spark.Request, [2]string, error) {
	folders := [2]string{table.NewFolder(d.raw.name, d.job.Day, d.raw.held), table.NewFolder(d.flat.name, d.job.Day, d.flat.held)}
	r := spark.Request{
		From: dayStart(d.job.Day, 0, d.Location), To: dayStart(d.job.Day, 1, d.Location), RecordBytes: int64(d.Config.RecordBytes),
		Scratch: d.Spark.Raw + "/" + scratchPrefix + rand.Text(),
	}
	for i, at := range []*string{&r.Raw, &r.Flat} {
		var err error
		if *at, err = d.Spark.table(folders[i]); err != nil {
			return r, folders, err
		}
	}
	for i, in := range d.inputs {
		uri := d.Spark.Raw + "/" + in.Key
		d.at[placeOf(uri)] = i
		r.Inputs = append(r.Inputs, uri)
	}
	return r, folders, nil
}

// placeOf is a URI without what is spelled in several ways: file:/a is file:///a.
func placeOf(uri string) string {
	_, after, _ := strings.Cut(uri, ":")
	return strings.TrimLeft(after, "/")
}

func (d *clusterDay) input(uri string) (int, error) {
	i, found := d.at[placeOf(uri)]
	if !found {
		return 0, fmt.Errorf("what Spark tells of, %s, it was not asked for", uri)
	}
	return i, nil
}

// Counted implements spark.Decider. What is not as the objects themselves say is not read any further.
func (d *clusterDay) Counted(counts []spark.Count) (clean spark.Clean, err error) {
	kinds := make([]map[string]bool, len(d.inputs))
	for _, c := range counts {
		i, err := d.input(c.URI)
		if err != nil {
			return clean, err
		}
		if c.Size != d.inputs[i].Size {
			return clean, fmt.Errorf("reading %s: it was replaced since the day was listed: %w; run again", d.inputs[i].Key, lake.ErrChanged)
		}
		d.objects[i].records += c.Records
		if kinds[i] == nil {
			kinds[i] = map[string]bool{}
		}
		kinds[i][c.What] = true
		if c.What == spark.Object {
			d.rows, clean.Bare = classObject, true
		}
	}
	for i, in := range d.inputs {
		if err := in.checkCount(d.objects[i].records); err != nil {
			return clean, err
		}
		if kinds[i][spark.Bad] || kinds[i][spark.Long] || clean.Bare && kinds[i][spark.Bare] {
			d.bad[i] = map[string]int{}
			clean.URIs = append(clean.URIs, d.Spark.Raw+"/"+in.Key)
		}
	}
	return clean, d.checkConnector(&d.scanned)
}

// LeftOut implements spark.Decider.
func (d *clusterDay) LeftOut(record spark.Record) error {
	i, err := d.input(record.URI)
	if err == nil {
		d.bad[i][record.SHA256]++
	}
	return err
}

// Inferred implements spark.Decider.
func (d *clusterDay) Inferred(t schema.Type) (p spark.Plan, err error) {
	if fieldType(t, spark.Corrupt).Kind != schema.Undecided {
		return p, dataError("Spark cannot read some of the records that it has found to be whole, as those with half a character in a key: run it with --engine native, which quarantines them")
	}
	p.Read = shallow(withTime(t), 0)
	if err := d.plan(layout{record: p.Read, rows: d.rows}); err != nil {
		return p, err
	}
	p.Raw = d.raw.footer.Schema
	var data []spark.Column
	for i, f := range p.Read.Fields {
		column := p.Raw.Fields[i]
		switch f.Name {
		case envelope.KeyTimestamp:
			p.Time = column.Name
		case envelope.KeyRawData:
			data = leavesOf(column.Type, []string{column.Name})
		}
	}
	if len(data) == 0 {
		data = []spark.Column{{Path: []string{p.Time}, Millis: true}} // a file needs a column
	}
	flat := d.flat.footer.Schema.Fields
	if len(data) != len(flat) {
		return p, fmt.Errorf("the flat table has %d columns for %d values", len(flat), len(data))
	}
	for i, f := range flat {
		data[i].Name = f.Name
	}
	p.Flat = data
	return p, nil
}

// leavesOf are the columns that a flat table has of a type, in its order, without their names.
func leavesOf(t schema.Type, at []string) (all []spark.Column) {
	if t.Kind != schema.Struct {
		return []spark.Column{{Path: at}}
	}
	for _, f := range t.Fields {
		all = append(all, leavesOf(f.Type, append(slices.Clip(at), f.Name))...)
	}
	return all
}

// withTime is the type of a record, which always has a time, with the field of it: where there is no record Spark finds none.
func withTime(t schema.Type) schema.Type {
	t.Kind = schema.Struct
	if fieldType(t, envelope.KeyTimestamp).Kind == schema.Undecided {
		t.Fields = append(slices.Clip(t.Fields), schema.Field{Name: envelope.KeyTimestamp, Type: schema.Type{Kind: schema.Long}})
	}
	return t
}

// shallow is the type with texts in the place of what is nested deeper than columns are.
func shallow(t schema.Type, depth int) schema.Type {
	if (t.Kind == schema.Struct || t.Kind == schema.List) && depth >= schema.DeepestColumn {
		return schema.Type{Kind: schema.String}
	}
	if t.Kind == schema.List {
		t.Elem = new(shallow(*t.Elem, depth+1))
	}
	t.Fields = slices.Clone(t.Fields)
	for i := range t.Fields {
		t.Fields[i].Type = shallow(t.Fields[i].Type, depth+1)
	}
	return t
}

// findBad finds the lines that Spark has left out, of which it knows no more than their hashes, and why they are no rows.
func (d *clusterDay) findBad(ctx context.Context) error {
	w := newInferrer(d.reading(), dayStart(d.job.Day, 0, d.Location), dayStart(d.job.Day, 1, d.Location), math.MaxInt)
	for i, hashes := range d.bad {
		if len(hashes) == 0 {
			continue
		}
		told, o := 0, &d.objects[i]
		for _, n := range hashes {
			told += n
		}
		for l, err := range d.lines(ctx, d.inputs[i]) {
			if err != nil {
				return err
			}
			if l.tooLong || hashes[hashOf(l.text)] > 0 || hashes[hashOf(append(slices.Clip(l.text), '\r'))] > 0 {
				o.bad = append(o.bad, badLine{l.number, d.reason(w, l)})
			}
		}
		if len(o.bad) != told {
			return fmt.Errorf("%s has %d records of those that Spark has left out, and it has told of %d: nothing is published; run it again, or with --engine native", d.inputs[i].Key, len(o.bad), told)
		}
	}
	return nil
}

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// reasonSpark: Spark cannot read what we could.
const reasonSpark = "not-for-spark"

func (d *clusterDay) reason(w *inferrer, l line) string {
	if l.tooLong {
		return reasonTooLong
	}
	of, reason := w.record(l.text)
	if reason == "" && of == classBare && d.rows == classObject {
		reason = reasonKind
	}
	return cmp.Or(reason, reasonSpark)
}

// scratchPrefix begins the keys, in the raw store, of copies of objects without the records that are no rows.
const scratchPrefix = "_spark/copies/"

// removeScratch deletes copies that Spark has not: it was killed, in this run or long ago.
func (r *run) removeScratch(ctx context.Context, own string) {
	err := func() error {
		for o, err := range r.Raw.List(ctx, scratchPrefix, "") {
			if err != nil {
				return err
			}
			if !strings.HasPrefix(o.Key, own+"/") && time.Since(o.Modified) < max(r.Config.Grace, 24*time.Hour) {
				continue
			}
			if err := r.Raw.Delete(ctx, o.Key); err != nil && !errors.Is(err, lake.ErrNotExist) {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		r.Logger.Warn("copies of raw objects that Spark has made are left for a later run to delete", "folder", scratchPrefix, "error", err)
	}
}
