// Package serialize turns the raw objects of a source's day into two Parquet files and publishes them: the raw table,
// the envelopes as they are, and the flat table, one level of columns made of raw_data. Format: docs/format/tables.md.
//
// What enters: the objects under <topics.dir>/<topic>/date=<day>/, gzip or plain, one JSON record a line. What leaves: a
// file per table, by way of package table, and the day's file in quarantine.
//
// Invariants:
//  1. Every record is read and its schema verified: one pass gathers the evidence, decides which records go to quarantine, and cuts the
//     others into the columns that a sample promises. If the evidence of all records promises others, nothing of that pass is kept but
//     the evidence, and a second one has the right columns. The files are the same as if nothing had been guessed.
//  2. rows + quarantined = records, and the records of an object are as many as its tail says. Nothing else is published.
//  3. What is left out is in quarantine before the tables are published without it.
//  4. Equal objects and settings give equal bytes, whatever the number of workers.
//  5. A run looks at the table partitions before it lists the objects, and publishes only over what it saw.
//  6. Nothing recurses on the depth of a document; only types recurse, which are at most schema.DeepestColumn deep and a
//     little, and evidence, which is as deep as the limit of a document.
//
// A day may be made by Spark instead (package serialize/spark): then its bytes are others each time, and its rows the same.
//
// Goroutines: Run starts at most Config.Workers that read objects, as many that encode columns, and one that writes; all have ended when it
// returns.
package serialize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"headwater/envelope"
	"headwater/internal/crash"
	"headwater/lake"
	"headwater/schema"
	"headwater/schema/ledger"
	"headwater/table"
)

var (
	// ErrData is returned for objects that cannot be made into a table as they are: damaged, doubled, or with more columns
	// than a table may have. Trying again gives the same error.
	ErrData = errors.New("bad data")
	// ErrNoInput is returned for a day that has no objects. What the tables hold of the day stays.
	ErrNoInput = errors.New("there are no objects for the day")
)

// Options are what a Serializer works with.
type Options struct {
	Config Config
	// Raw has the objects, Tables the Parquet files.
	Raw, Tables lake.Store
	Catalog     table.Catalog
	Quarantine  lake.Quarantine
	// TopicsDir is the first segment of the objects' keys; it may be empty.
	TopicsDir string
	// Location decides where a day begins and ends; nil is UTC.
	Location *time.Location
	// Temp is the folder for the files in the making; empty is the system's.
	Temp string
	// Spark is the lake for the engine of that name.
	Spark  OnSpark
	Logger *slog.Logger
}

// Serializer makes tables of raw objects. What it keeps between runs only spares it work.
type Serializer struct {
	Options
	sampling sampling
	// settled has, by table and day, the version of the ledger under which a day was found to have the types that it should.
	settled *sync.Map
	// mostOpen is how many files an open day may have before they are made into one.
	mostOpen int
}

// New makes a Serializer; it touches nothing yet.
func New(o Options) *Serializer {
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Serializer{Options: o, sampling: defaultSampling(), settled: &sync.Map{}, mostOpen: 100}
}

// Job is one day of one source.
type Job struct {
	Source, Topic string
	// Shape is what is declared of the topic's records, if somebody else fills it.
	Shape envelope.Shape
	// Raw and Flat are the tables.
	Raw, Flat table.Name
	Day       table.Day
	// Schema is how the columns are decided.
	Schema SchemaConfig
	// Legacy is about the objects of others.
	Legacy LegacyConfig
	// Engine, if not empty, makes the day instead of Config.Engine, also if another has made it of the same objects: EngineNative, EngineSpark or EngineAuto.
	Engine string
	// Full makes the files anew even if the tables have been made from the same objects.
	Full bool
	// AllowShrink lets the tables end with fewer rows than they have.
	AllowShrink bool
	// Open: the day is not over. Files of its new objects are added to those that there are, and the one file of the day is made by a later run
	// without Open. It has no effect on a source without a schema ledger, or with Legacy.Dedupe, whose days are known only when they are over.
	Open bool
	// Guard, if not nil, is asked right before anything is published; nothing is after an error of it, which Run returns.
	Guard func(context.Context) error
	// Logger, if not nil, gets what Run has to say instead of Options.Logger.
	Logger *slog.Logger
}

// Result is what a run did, or, if NoOp, what an earlier one had done.
type Result struct {
	// Rows is how many each of the two tables has of the day; Rows + Quarantined is how many records there are.
	Rows, Quarantined int64
	// NewRows and NewQuarantined are those of them that the run made: all, or those of an open day's new objects.
	NewRows, NewQuarantined int64
	// Objects and Bytes are how much was read, compressed.
	Objects int
	Bytes   int64
	// NoOp: the tables had been made from these objects and settings already.
	NoOp bool
	// Reasons counts the quarantined records; it is nil if NoOp.
	Reasons map[string]int64
	// Late is how many of the records came when the day had been closed. It is 0 if NoOp, and of days that Spark has made.
	Late int64
	// LoneSurrogates counts escapes that stand for half a character and became U+FFFD in string columns.
	LoneSurrogates int64
	// RenamedRaw and RenamedFlat have the columns whose names collided, and the place of their values in the data.
	RenamedRaw, RenamedFlat map[string]string
	Raw, Flat               table.Result
	// Publishing is how long it took to publish both tables.
	Publishing time.Duration
}

// Run serializes the day. It may be repeated, and killed at any line. Errors that a caller tells apart: ErrData,
// ErrNoInput, table.ErrShrink, table.ErrOutdated; others may pass by themselves.
func (z *Serializer) Run(ctx context.Context, job Job) (Result, error) {
	if job.Logger != nil {
		own := *z
		own.Logger, z = job.Logger, &own
	}
	r := &run{Serializer: z, job: job}
	do := r.do
	if job.Open && job.Schema.hasLedger() && !job.Legacy.Dedupes() {
		do = r.grow
	}
	if job.Open && z.Config.Late == LateQuarantine {
		if err := r.lookClosed(ctx); err != nil {
			return Result{}, err
		}
		if r.closed != nil {
			do = r.do
		}
	}
	result, err := do(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("serializing %s, %s: %w", job.Source, job.Day, err)
	}
	return result, nil
}

// Days lists the days that the topic has objects of, in order.
func (z *Serializer) Days(ctx context.Context, topic string) ([]table.Day, error) {
	prefix := z.topicPrefix(topic)
	var days []table.Day
	for after := ""; ; {
		key, err := z.firstKey(ctx, prefix, after)
		if err != nil || key == "" {
			return days, err
		}
		text, _, _ := strings.Cut(key[len(prefix):], "/")
		if day, err := table.ParseDay(text); err == nil {
			days = append(days, day)
		} else {
			z.Logger.Warn("ignoring a folder whose name is no day", "folder", prefix+text)
		}
		after = prefix + text + "0" // the byte after the slash: on to the next folder, however many objects this one has
	}
}

// Marked are the days that had columns of other types when the ledger's columns changed, but for those that a Run of this process has found as they should
// be since.
func (z *Serializer) Marked(ctx context.Context, job Job) (days []table.Day, err error) {
	r := &run{Serializer: z, job: job, raw: &output{name: job.Raw}, flat: &output{name: job.Flat}}
	if err := r.readLedger(ctx); err != nil || r.head == nil {
		return nil, err
	}
	return r.marked(), nil
}

func (r *run) marked() (days []table.Day) {
	for _, text := range r.head.Rewrite {
		version, settled := r.settled.Load(r.job.Flat.String() + " " + text)
		if day, err := table.ParseDay(text); err == nil && !(settled && version == r.head.Number) {
			days = append(days, day)
		}
	}
	return days
}

func (z *Serializer) firstKey(ctx context.Context, prefix, after string) (string, error) {
	for o, err := range z.Raw.List(ctx, prefix, after) {
		if err != nil {
			return "", fmt.Errorf("listing %s: %w", prefix, err)
		}
		return o.Key, nil
	}
	return "", nil
}

// Stale reports whether a Run without Full would have something to do: the day has objects, and one of the tables was not
// made from them, or has columns of other types than they have now.
func (z *Serializer) Stale(ctx context.Context, job Job) (bool, error) {
	r := &run{Serializer: z, job: job}
	if err := r.look(ctx); err != nil {
		return false, fmt.Errorf("comparing %s, %s: %w", job.Source, job.Day, err)
	}
	return r.mustCast() || len(r.inputs) > 0 && !(r.raw.upToDate() && r.flat.upToDate()), nil
}

// run is one Run.
type run struct {
	*Serializer
	job Job
	// head is the ledger's version that the types are of; nil if there is no ledger.
	head *ledger.Version
	// fixed: head is not to be changed.
	fixed bool
	// unfit is how many records are in quarantine, and counted there, because of what the ledger has become since they may have been rows.
	unfit int64
	// quarantineVersion is that of what was in quarantine when the run began to look.
	quarantineVersion string
	inputs            []input
	// closed is where the day has ended, if it is closed and somebody has looked; leaveOut: what came after that goes to quarantine.
	closed   *lake.DayEnd
	leaveOut bool
	// doubled has, by input, the numbers of the lines that are equal to earlier ones, if these are looked for.
	doubled [][]int64
	// engine is who makes the day, empty for EngineNative.
	engine string
	raw    *output
	flat   *output
	// folder and part are the place of the files if they are those of an open day.
	folder, part int
}

// output is one of the two tables on its way.
type output struct {
	name table.Name
	held table.Held
	// seen is what is in the place of the file to be.
	seen   table.Seen
	footer table.Footer
	// equal are the runs of which the file may be, to be up to date: those of all engines, whose tables are equal, unless one is asked for.
	equal []string
	// taken: the day is as another job has made it, and none of its objects is younger than that.
	taken bool
	// columns are those that the ledger gives the table; Undecided where it gives none.
	columns schema.Type
	// sources feed the file's columns.
	sources []source
	// file is nil if the table partition need not be written.
	file *tempParquet
	// made are the keys of the files that another engine has made instead.
	made []string
}

// upToDate: what is in the place of the file was made from the same inputs by the same settings, its columns have the types that they have
// now, and it is what readers read; or somebody has taken just that out of their sight.
func (o *output) upToDate() bool {
	made := o.taken || slices.Contains(o.equal, o.seen.Footer.Run) || slices.Contains(o.equal, o.held.Undone())
	return o.seen.Exists && len(o.held.Open) == 0 && len(o.held.Lost) == 0 && len(o.held.Foreign) == 0 && made && o.conforms(o.seen)
}

// conforms says whether all columns of the files have the types that the table has now, where a ledger gives any.
func (o *output) conforms(files ...table.Seen) bool {
	return o.columns.Kind == schema.Undecided || !slices.ContainsFunc(files, func(f table.Seen) bool { return !schema.Conforms(f.Footer.Schema, o.columns) })
}

// look finds out what there is: first the tables (invariant 5) and the quarantine, then the objects.
func (r *run) look(ctx context.Context) (err error) {
	if err = r.lookQuarantine(ctx); err != nil {
		return err
	}
	r.raw, r.flat = &output{name: r.job.Raw}, &output{name: r.job.Flat}
	for _, o := range []*output{r.raw, r.flat} {
		if o.held, err = table.LookDay(ctx, r.Tables, o.name, r.job.Day); err != nil {
			return err
		}
		o.seen = o.held.Whole()
	}
	if err := r.readLedger(ctx); err != nil {
		return err
	}
	r.doubled = nil
	if r.inputs, err = r.list(ctx, r.job.Day); err != nil {
		return err
	}
	if err := cmp.Or(r.lookLate(ctx), r.chooseEngine()); err != nil {
		return err
	}
	r.beginFooters()
	for _, o := range []*output{r.raw, r.flat} {
		o.footer.Closes = o.held.Closing()
		o.taken = o.held.Adopts() && !slices.ContainsFunc(r.inputs, func(in input) bool { return in.Modified.After(o.held.Commit.Made) })
	}
	return nil
}

// swaps says whether the table's file of the day is put beside what is read: files of another job are not to be beside it in the day's folder.
func (r *run) swaps(o *output) bool {
	return r.Config.Publish == PublishSwap || len(o.held.Commit.Adopted) > 0
}

func (r *run) lookQuarantine(ctx context.Context) (err error) {
	r.quarantineVersion, err = r.Quarantine.Version(ctx, "serialize", r.job.Source, r.job.Day.String())
	return err
}

// beginFooters says in the footers what the files are made from.
func (r *run) beginFooters() {
	inputs := footerInputs(r.inputs)
	for _, o := range []*output{r.raw, r.flat} {
		o.footer = table.Footer{
			Table: o.name.String(), Day: r.job.Day.String(), Inputs: inputs, Engine: cmp.Or(r.engine, EngineNative), Settings: r.settings(),
		}
	}
	r.flat.footer.Settings["flat.separator"] = r.Config.Flat.Separator
	for _, o := range []*output{r.raw, r.flat} {
		o.footer.Run = o.footer.Digest()
		o.equal = []string{o.footer.Run}
		for _, engine := range []string{EngineNative, EngineSpark} {
			if r.job.Engine == "" {
				other := o.footer
				other.Engine = engine
				o.equal = append(o.equal, other.Digest())
			}
		}
	}
}

// settings are those that change rows.
func (r *run) settings() map[string]string {
	s := map[string]string{"dialect": r.job.Schema.Dialect, "timezone": r.Location.String()}
	if n := r.Config.RecordBytes; n != DefaultConfig().RecordBytes {
		s["record_bytes"] = n.String() // named only where it was changed, so that another default makes no table stale
	}
	if r.leaveOut {
		s["late"] = r.lateSetting()
	}
	if r.job.Legacy.Dedupes() {
		s["legacy.dedupe"] = r.job.Legacy.Dedupe
	}
	shape := r.job.Shape.Landed()
	if !r.job.Schema.hasLedger() { // with a ledger the columns' types are compared instead
		for path, hint := range r.job.Schema.Hints {
			s["hint "+path] = hint
		}
	}
	if shape.Unit != "" {
		s["external.timestamp"] = string(shape.Unit)
	}
	if shape.InString {
		s["external.raw_data"] = "json_string"
	}
	return s
}

// sizesOf is a Result of how much there is to read.
func sizesOf(inputs []input) Result {
	result := Result{Objects: len(inputs)}
	for _, in := range inputs {
		result.Bytes += in.Size
	}
	return result
}

// do makes the files of the whole day.
func (r *run) do(ctx context.Context) (result Result, err error) {
	for range rereads {
		if result, err = r.tryDay(ctx); !errors.Is(err, errAgain) {
			return result, err
		}
	}
	return result, fmt.Errorf("making the day %d times: %w; run it again", rereads, err)
}

// tryDay is do until another writer is in its way: errAgain.
func (r *run) tryDay(ctx context.Context) (Result, error) {
	if err := r.look(ctx); err != nil {
		return Result{}, err
	}
	result := sizesOf(r.inputs)
	if r.mustCast() {
		return r.cast(ctx)
	}
	if len(r.inputs) == 0 {
		r.isSettled()
		return result, r.noInput()
	}
	r.sweep(ctx)
	if !r.job.Full && r.raw.upToDate() && r.flat.upToDate() {
		r.isSettled()
		return r.repeat(ctx, result)
	}
	defer r.discard()
	s, err := r.make(ctx)
	if err != nil {
		return result, err
	}
	others := r.together(ctx)
	r.unfit = s.reasons[reasonSchema] + s.reasons[reasonKind] + s.reasons[reasonLate]
	result.Rows, result.Quarantined, result.Reasons, result.LoneSurrogates = s.rows, s.quarantined, s.reasons, s.lone
	result.NewRows, result.NewQuarantined, result.Late = s.rows, s.quarantined, s.late
	result.RenamedRaw, result.RenamedFlat = r.raw.footer.Renamed, r.flat.footer.Renamed
	if err := r.publishBoth(ctx, &result); err != nil {
		return result, err
	}
	for _, o := range others {
		o.release(ctx)
	}
	return result, nil
}

// make makes the day's files, and puts what is in none of them into quarantine.
func (r *run) make(ctx context.Context) (*scanned, error) {
	for _, o := range []*output{r.raw, r.flat} {
		if err := o.held.Changed(); err != nil {
			return nil, err
		}
		if r.swaps(o) || r.engine == EngineSpark {
			continue
		}
		if err := table.Beside(ctx, r.Tables, o.name, r.job.Day); err != nil { // it is not made for nothing
			return nil, err
		}
	}
	if r.closed == nil {
		if err := r.lookClosed(ctx); err != nil { // late records are counted
			return nil, err
		}
	}
	work := r.tables
	if r.engine == EngineSpark {
		work = r.onSpark
	}
	s, err := work(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.quarantine(ctx, s); err != nil { // invariant 3
		return nil, err
	}
	crash.Point("serialize.after-write")
	if moved, err := r.moved(ctx); err != nil {
		return nil, err
	} else if moved {
		return nil, errAgain
	}
	return s, nil
}

// isSettled notes that the day's files have the types that the ledger gives.
func (r *run) isSettled() {
	if r.head != nil {
		r.settled.Store(r.job.Flat.String()+" "+r.job.Day.String(), r.head.Number)
	}
}

func (r *run) noInput() error {
	return fmt.Errorf("%w under %s%s/; what the tables hold of it stays", ErrNoInput, r.topicPrefix(r.job.Topic), r.job.Day)
}

// publishBoth publishes the raw table and then the flat one. A catalog that does not answer keeps neither file from its place.
func (r *run) publishBoth(ctx context.Context, result *Result) error {
	began := time.Now()
	defer func() { result.Publishing = time.Since(began) }()
	var unregistered, err error
	if result.Raw, unregistered = r.publish(ctx, r.raw); unregistered != nil && !errors.Is(unregistered, table.ErrUnregistered) {
		return unregistered
	}
	crash.Point("serialize.between-tables")
	result.Flat, err = r.publish(ctx, r.flat)
	return errors.Join(unregistered, err)
}

// repeat makes sure of the registration of what an earlier run published; it may have been killed before it.
func (r *run) repeat(ctx context.Context, result Result) (Result, error) {
	result.NoOp = true
	for _, o := range []*output{r.raw, r.flat} {
		if !o.taken && !slices.Contains(o.equal, o.seen.Footer.Run) {
			r.Logger.Info("the table was rolled back from what would be made of the day, which --full makes all the same", "table", o.name, "day", r.job.Day)
		}
		o.footer = o.seen.Footer
	}
	result.Rows, result.Quarantined = r.raw.footer.Rows, r.raw.footer.Quarantined
	result.RenamedRaw, result.RenamedFlat = r.raw.footer.Renamed, r.flat.footer.Renamed
	return result, r.publishBoth(ctx, &result)
}

func (r *run) publish(ctx context.Context, o *output) (table.Result, error) {
	p, err := r.publication(o)
	if err != nil {
		return table.Result{}, err
	}
	return table.Publish(ctx, p)
}

func (r *run) publication(o *output) (table.Publication, error) {
	had, _ := o.held.Rows()
	p := table.Publication{
		Tables: r.Tables, Catalog: r.Catalog, Name: o.name, Day: r.job.Day, Folder: r.folder, Part: r.part, Files: o.made,
		Swap: r.swaps(o), Success: r.Config.SuccessFile && !o.held.Adopts(),
		Guard: r.job.Guard, Footer: o.footer, Seen: o.seen, Held: o.held, AllowShrink: r.job.AllowShrink || o.footer.Rows+r.unfit >= had,
	}
	if o.file == nil {
		return p, nil
	}
	body, err := o.file.reader()
	if err != nil {
		return p, err
	}
	p.File = body
	if r.folder == 0 && !p.Swap {
		p.Seen = o.held.Plain // what the file is to replace, whatever is read
	}
	return p, nil
}

func (r *run) discard() {
	for _, o := range []*output{r.raw, r.flat} {
		if o.file != nil {
			o.file.discard()
			o.file = nil
		}
	}
}

// plan decides the tables' columns.
func (r *run) plan(l layout) error {
	if err := r.checkColumns(l.record); err != nil {
		return err
	}
	raw, flat := r.names(r.head, l)
	for o, n := range map[*output]named{r.raw: raw, r.flat: flat} {
		o.footer.Schema, o.footer.Renamed = n.schema, byColumn(n.renamed)
	}
	r.raw.sources, r.flat.sources = feeds(l.record, r.job.Shape.Landed().Unit != "", l.rescue)
	if r.job.Schema.Dialect == DialectSpark && len(r.flat.sources) > 1 {
		r.flat.sources = r.flat.sources[:len(r.flat.sources)-1] // the time of ingestion is no column there
	}
	return nil
}

// checkColumns refuses a type of whole records that has too many columns.
func (r *run) checkColumns(record schema.Type) error {
	if n := columnsOf(record); n > r.job.Schema.MaxColumns {
		return dataError("the day needs %d columns, more than max_columns, %d: %s", n, r.job.Schema.MaxColumns, adviceOnKeys)
	}
	return nil
}

func columnsOf(record schema.Type) int {
	_, leaves := newColumn(record)
	return len(leaves)
}

func byColumn(renamed []schema.Renamed) map[string]string {
	if len(renamed) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, n := range renamed {
		out[n.Column] = n.Path
	}
	return out
}

func fieldType(t schema.Type, name string) schema.Type {
	for _, f := range t.Fields {
		if f.Name == name {
			return f.Type
		}
	}
	return schema.Type{}
}

// feeds says which leaf of a record goes into which column of the two files. The flat file has the leaves of raw_data,
// in the same order, and the time of ingestion. After the record's leaves come, if there are such, that of what is rescued, for both files, and
// that of the time if it is converted.
func feeds(record schema.Type, converted, rescue bool) (raw, flat []source) {
	root, leaves := newColumn(record)
	for i := range leaves {
		raw = append(raw, source{leaf: i})
	}
	time := -1
	for i, f := range record.Fields {
		c := root.fields[i]
		switch f.Name {
		case envelope.KeyRawData:
			for leaf := c.from; leaf < c.to; leaf++ {
				flat = append(flat, source{leaf: leaf, above: leaves[leaf].above})
			}
		case envelope.KeyTimestamp:
			time = c.from
		}
	}
	extra := len(leaves)
	if rescue {
		raw, flat = append(raw, source{leaf: extra}), append(flat, source{leaf: extra})
		extra++
	}
	if converted {
		return raw, append(flat, source{leaf: extra})
	}
	return raw, append(flat, source{leaf: time, micros: true})
}
