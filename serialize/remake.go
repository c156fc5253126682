package serialize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"headwater/table"
)

// ErrNotAsMade is returned by Remake where the day cannot be made as it was: the settings or the columns are others now, or the objects' records are.
var ErrNotAsMade = errors.New("the day cannot be made as it was made")

// Remade is a day that was made again, and published nowhere.
type Remade struct {
	// Raw and Flat are the Parquet files, of Size bytes each, until Remake returns.
	Raw, Flat         io.ReaderAt
	RawSize, FlatSize int64
	Rows, Quarantined int64
	run               *run
	objects           []scannedObject
}

// Remake makes a day's files again, of the objects that the footers of its files name and by the columns that it was made by, and calls do with them. It writes
// to no store.
func (z *Serializer) Remake(ctx context.Context, job Job, made []table.Footer, do func(Remade) error) error {
	r := &run{Serializer: z, job: job, raw: &output{name: job.Raw}, flat: &output{name: job.Flat}}
	if err := r.prepare(ctx, made); err != nil {
		return err
	}
	defer r.discard()
	s, err := r.makeAgain(ctx)
	if err != nil {
		return err
	}
	again := Remade{Rows: s.rows, Quarantined: s.quarantined, run: r, objects: s.objects}
	if again.Raw, again.RawSize, err = r.raw.file.whole(); err == nil {
		again.Flat, again.FlatSize, err = r.flat.file.whole()
	}
	if err != nil {
		return err
	}
	return do(again)
}

// whole is the finished file.
func (t *tempParquet) whole() (io.ReaderAt, int64, error) {
	info, err := t.f.Stat()
	if err != nil {
		return nil, 0, err
	}
	return t.f, info.Size(), nil
}

// prepare has the run begin with what the footers say.
func (r *run) prepare(ctx context.Context, made []table.Footer) error {
	keys, version := map[string]bool{}, 0
	for _, f := range made {
		version = max(version, f.SchemaVersion)
		for _, in := range f.Inputs {
			keys[in.Key] = true
		}
	}
	inputs, err := r.Serializer.objects(ctx, r.job.Topic, r.job.Day)
	if err != nil {
		return err
	}
	r.inputs = slices.DeleteFunc(inputs, func(in input) bool { return !keys[in.Key] })
	if len(r.inputs) < len(keys) {
		return fmt.Errorf("%w: %d of its %d objects are there no more", ErrNotAsMade, len(keys)-len(r.inputs), len(keys))
	}
	if err := r.readTails(ctx, r.inputs); err != nil {
		return err
	}
	if err := r.lookLate(ctx); err != nil {
		return err
	}
	r.beginFooters()
	for _, f := range made {
		now := r.raw.footer.Settings
		if f.Table == r.job.Flat.String() {
			now = r.flat.footer.Settings
		}
		if !maps.Equal(f.Settings, now) {
			return fmt.Errorf("%w: the settings are others now, and the next serialize makes it anew", ErrNotAsMade)
		}
	}
	if r.job.Schema.hasLedger() && version > 0 {
		r.head, err = r.log().Read(ctx, version)
	}
	return err
}

// makeAgain is tables by the columns that are given, which nothing changes.
func (r *run) makeAgain(ctx context.Context) (*scanned, error) {
	if r.head == nil {
		return r.tables(ctx)
	}
	r.fixed = true
	s, err := r.write(ctx, layoutOf(r.head))
	if err == nil && s.misfit {
		err = fmt.Errorf("%w: its records do not fit the columns of version %d of the schema", ErrNotAsMade, r.head.Number)
	}
	return s, err
}

// Origin is the record that a row, by its number from 0, was made of: its object, and its offset in Kafka if that is known.
func (m *Remade) Origin(row int64) (key string, partition int32, offset int64, known bool) {
	for i, o := range m.objects {
		in := m.run.inputs[i]
		rows := o.records - int64(len(o.bad))
		if row >= rows {
			row -= rows
			continue
		}
		record := row
		for _, bad := range o.bad { // blank lines, which only others write, are left out of the count
			if bad.number-1 > record {
				break
			}
			record++
		}
		offset, known = in.offset(record)
		return in.Key, in.name.Partition, offset, known
	}
	return "", 0, 0, false
}
