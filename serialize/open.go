package serialize

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"headwater/internal/crash"
	"headwater/lake"
	"headwater/table"
)

// errAgain says that what a step was planned for has changed.
var errAgain = errors.New("another run has changed the day's files, columns or quarantine meanwhile")

// step is the next pair of files of an open day.
type step struct {
	inputs       []input
	folder, part int
	// begins: the files are the first of their folder, and have all of the day.
	begins bool
	// mends: the raw table has its file already.
	mends bool
}

// IsOpen says whether readers read files of an open day, and not the one that a run without Open makes.
func (z *Serializer) IsOpen(ctx context.Context, job Job) (bool, error) {
	held, err := table.LookDay(ctx, z.Tables, job.Raw, job.Day)
	if err != nil {
		return false, fmt.Errorf("looking whether %s of %s is open: %w", job.Day, job.Source, err)
	}
	return len(held.Open) > 0, nil
}

// grow brings the files of an open day up to date. It makes a pair of files of the objects that none of the files there was made from; where
// these are too many, or have columns of other types than the table has now, a pair of files of all objects, in a new folder. What a kill has
// left half done is done first. It is the raw table's file that tells two writers apart: who creates it decides what is in both.
func (r *run) grow(ctx context.Context) (Result, error) {
	var again error
	for range rereads {
		if err := r.lookOpen(ctx); err != nil {
			return Result{}, err
		}
		if len(r.inputs) == 0 {
			return Result{}, r.noInput()
		}
		next, err := r.next(ctx)
		switch {
		case err != nil:
			return Result{}, err
		case next == nil && len(r.raw.held.Open) == 0:
			return r.do(ctx) // nothing is new since the file of the whole day, which may have columns of other types
		case next == nil:
			r.isSettled()
			return r.repeatOpen(ctx)
		}
		result, err := r.take(ctx, next)
		switch {
		case errors.Is(err, errAgain) || errors.Is(err, table.ErrOutdated):
			again = err
		case err != nil || !next.mends:
			return result, err
		}
	}
	return Result{}, fmt.Errorf("looking %d times for what the day lacks: %w; run it again", rereads, again)
}

// lookOpen is look without what the objects say of themselves: the files' footers tell it of those that they were made from.
func (r *run) lookOpen(ctx context.Context) (err error) {
	before := []*output{r.raw, r.flat}
	r.raw, r.flat = &output{name: r.job.Raw}, &output{name: r.job.Flat}
	for i, o := range []*output{r.raw, r.flat} {
		var known []table.Seen
		if before[i] != nil {
			known = before[i].held.Files()
		}
		if o.held, err = table.LookDay(ctx, r.Tables, o.name, r.job.Day, known...); err != nil {
			return err
		}
	}
	if err := cmp.Or(r.lookQuarantine(ctx), r.readLedger(ctx)); err != nil {
		return err
	}
	r.sweep(ctx)
	r.inputs, err = r.objects(ctx, r.job.Topic, r.job.Day)
	return err
}

// next is what is to be done next; nil is nothing.
func (r *run) next(ctx context.Context) (*step, error) {
	raw, flat := &r.raw.held, &r.flat.held
	known := map[string]table.Input{}
	for _, f := range raw.Files() {
		for _, in := range f.Footer.Inputs {
			known[in.Key] = in
		}
	}
	var news []input
	for _, in := range r.inputs {
		if _, found := known[in.Key]; !found {
			news = append(news, in)
		}
	}
	if len(raw.Open) == 0 && raw.Whole().Exists && len(news) == 0 {
		return nil, nil
	}
	missing := len(raw.Open)
	if flat.Folder == raw.Folder {
		missing -= len(flat.Open)
	}
	apart := missing < 0 || missing > 1 || flat.NextFolder() > raw.Folder+1 || flat.Folder == raw.Folder && len(flat.Open) == 0
	if apart || len(raw.Open) == 0 || r.differ(known) || len(news) > 0 && len(raw.Open) >= r.mostOpen {
		return r.afresh(ctx)
	}
	if missing == 1 {
		return r.mend(ctx)
	}
	if len(news) == 0 {
		return nil, nil
	}
	if err := r.readTails(ctx, news); err != nil {
		return nil, err
	}
	return &step{inputs: news, folder: raw.Folder, part: len(raw.Open)}, r.checkWithKnown(known, news)
}

// differ says whether the files there are not as they would be made of their objects now.
func (r *run) differ(known map[string]table.Input) bool {
	for _, in := range r.inputs {
		if was, found := known[in.Key]; found && was.Size != in.Size {
			return true
		}
	}
	r.beginFooters() // for the settings
	for _, o := range []*output{r.raw, r.flat} {
		for _, f := range o.held.Open {
			if f.Footer.Engine != o.footer.Engine || !maps.Equal(f.Footer.Settings, o.footer.Settings) {
				return true
			}
		}
	}
	return !r.openConforms()
}

// openConforms says whether all files of the open day have columns of the types that the tables have now.
func (r *run) openConforms() bool {
	return r.raw.conforms(r.raw.held.Open...) && r.flat.conforms(r.flat.held.Open...)
}

// afresh makes files of all objects, in a new folder.
func (r *run) afresh(ctx context.Context) (*step, error) {
	if err := r.readTails(ctx, r.inputs); err != nil {
		return nil, err
	}
	folder := max(r.raw.held.NextFolder(), r.flat.held.NextFolder())
	return &step{inputs: r.inputs, folder: folder, begins: true}, r.checkOverlap(r.inputs)
}

// mend makes the flat table's file of the objects that the raw table's last one was made from.
func (r *run) mend(ctx context.Context) (*step, error) {
	part := len(r.raw.held.Open) - 1
	of := r.raw.held.Open[part].Footer.Inputs
	var inputs []input
	for _, in := range r.inputs {
		if slices.ContainsFunc(of, func(f table.Input) bool { return f.Key == in.Key }) {
			inputs = append(inputs, in)
		}
	}
	if len(inputs) != len(of) {
		return r.afresh(ctx) // there are objects no more
	}
	return &step{inputs: inputs, folder: r.raw.held.Folder, part: part, mends: true}, r.readTails(ctx, inputs)
}

// checkWithKnown is checkOverlap of the new objects and of those that the files were made from.
func (r *run) checkWithKnown(known map[string]table.Input, news []input) error {
	all := slices.Clone(news)
	for _, in := range r.inputs {
		if was, found := known[in.Key]; found {
			in.told = was.Log != ""
			in.tail = lake.Tail{Log: was.Log, First: was.First, Next: was.Next, Count: was.Count}
			all = append(all, in)
		}
	}
	slices.SortFunc(all, compareInputs)
	return r.checkOverlap(all)
}

// take makes the step's files and publishes them.
func (r *run) take(ctx context.Context, s *step) (result Result, err error) {
	r.inputs, r.folder, r.part = s.inputs, s.folder, s.part
	r.beginFooters()
	for _, o := range []*output{r.raw, r.flat} {
		if o.held.Folder == s.folder && s.part < len(o.held.Open) {
			o.seen = o.held.Open[s.part]
		}
	}
	result = sizesOf(s.inputs)
	if !s.begins {
		result.Rows, result.Quarantined = r.raw.held.Rows()
	}
	defer r.discard()
	made, err := r.tables(ctx)
	if err != nil {
		return Result{}, err
	}
	if !s.begins && !r.openConforms() {
		return Result{}, errAgain // a column has got another type by these objects
	}
	if s.mends && made.rows != r.raw.seen.Footer.Rows {
		return Result{}, fmt.Errorf("%s has %d rows of objects that have %d now; make the whole day with headwater serialize", r.raw.seen.Object.Key, r.raw.seen.Footer.Rows, made.rows)
	}
	if err := r.quarantineOpen(ctx, s, made); err != nil { // invariant 3
		return Result{}, err
	}
	crash.Point("serialize.after-write")
	if moved, err := r.moved(ctx); err != nil {
		return Result{}, err
	} else if moved {
		return Result{}, errAgain
	}
	if s.mends {
		r.raw.footer = r.raw.seen.Footer
	} else {
		result.Rows, result.Quarantined = result.Rows+made.rows, result.Quarantined+made.quarantined
		result.NewRows, result.NewQuarantined = made.rows, made.quarantined
	}
	r.unfit = made.reasons[reasonSchema] + made.reasons[reasonKind]
	result.Reasons, result.LoneSurrogates = made.reasons, made.lone
	result.RenamedRaw, result.RenamedFlat = r.raw.footer.Renamed, r.flat.footer.Renamed
	return result, r.publishBoth(ctx, &result)
}

// quarantineOpen puts the bad records of the step beside those of the day's other objects.
func (r *run) quarantineOpen(ctx context.Context, s *step, made *scanned) error {
	if s.begins {
		return r.quarantine(ctx, made)
	}
	if made.quarantined == 0 {
		return nil
	}
	again := map[string]bool{}
	for _, in := range r.inputs {
		again[in.Key] = true
	}
	if err := r.Quarantine.Add(ctx, "serialize", r.job.Source, r.job.Day.String(), again, r.entries(ctx, made)); err != nil {
		return fmt.Errorf("quarantining %d records: %w", made.quarantined, err)
	}
	return nil
}

// repeatOpen is repeat for the files of an open day.
func (r *run) repeatOpen(ctx context.Context) (Result, error) {
	result := sizesOf(r.inputs)
	result.NoOp = true
	result.Rows, result.Quarantined = r.raw.held.Rows()
	r.folder, r.part = r.raw.held.Folder, len(r.raw.held.Open)-1
	for _, o := range []*output{r.raw, r.flat} {
		o.seen = o.held.Open[r.part]
		o.footer = o.seen.Footer
	}
	result.RenamedRaw, result.RenamedFlat = r.raw.footer.Renamed, r.flat.footer.Renamed
	return result, r.publishBoth(ctx, &result)
}

// sweep deletes what is read no more. What cannot be deleted now is there at the next run.
func (r *run) sweep(ctx context.Context) {
	for _, o := range []*output{r.raw, r.flat} {
		if err := table.Sweep(ctx, r.Tables, o.held, r.Config.Grace); err != nil && ctx.Err() == nil {
			r.Logger.Warn("files that are read no more are left for the next run", "table", o.name, "day", r.job.Day, "error", err)
		}
	}
}
