// Package table makes Parquet files into tables: it puts a file in the place of a table partition, atomically and only
// if no other writer was there first, and registers it in a catalog.
//
// What enters: a written Parquet file with a Footer. What leaves: an object under
// <database>/<table>/year=Y/month=M/day=D/ and its entry in the Catalog. The catalog is a projection: the truth is in the
// files' footers, and a catalog can be rebuilt from them.
package table

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"headwater/schema"
)

var (
	// ErrNotExist is returned for a table that the catalog does not have.
	ErrNotExist = errors.New("table does not exist")
	// ErrShrink refuses a publish that would leave fewer rows than the table partition holds.
	ErrShrink = errors.New("the table partition would lose rows")
	// ErrOutdated refuses a publish because another writer replaced the table partition since this one looked.
	ErrOutdated = errors.New("another writer has published the table partition")
)

// Name is a table's. Both parts are lower case letters, digits and _.
type Name struct{ Database, Table string }

func (n Name) String() string { return n.Database + "." + n.Table }

// Day is a table partition's value: the day of the ingestion timestamp in the pipeline's time zone.
type Day struct{ Year, Month, Day int }

// DayOf is the day of t in t's own location.
func DayOf(t time.Time) Day { return Day{t.Year(), int(t.Month()), t.Day()} }

// ParseDay reads 2026-07-05.
func ParseDay(s string) (Day, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return Day{}, fmt.Errorf("day %q is not a date as 2026-07-05", s)
	}
	return DayOf(t), nil
}

// Latest is the later of two days.
func Latest(d, e Day) Day {
	if d.Compare(e) < 0 {
		return e
	}
	return d
}

// String is 2026-07-05.
func (d Day) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// Path is year=2026/month=7/day=5: integers without padding, as Spark writes them.
func (d Day) Path() string { return fmt.Sprintf("year=%d/month=%d/day=%d", d.Year, d.Month, d.Day) }

// Compare orders days in time, as cmp.Compare does.
func (d Day) Compare(e Day) int {
	return cmp.Or(cmp.Compare(d.Year, e.Year), cmp.Compare(d.Month, e.Month), cmp.Compare(d.Day, e.Day))
}

// Add is the day that many days later.
func (d Day) Add(days int) Day {
	return DayOf(time.Date(d.Year, time.Month(d.Month), d.Day+days, 0, 0, 0, 0, time.UTC))
}

// Begins is the day's first moment in a time zone, where it may have 23 or 25 hours, and no midnight.
func (d Day) Begins(where *time.Location) time.Time {
	t := time.Date(d.Year, time.Month(d.Month), d.Day, 0, 0, 0, 0, where)
	if DayOf(t) != d {
		_, t = t.ZoneBounds() // the clock skips midnight, and time.Date has named an hour of the day before
	}
	return t
}

// PartKey is the key of the one file of a table partition in the tables store.
func PartKey(n Name, d Day) string {
	return strings.Join([]string{n.Database, n.Table, d.Path(), partFile(0)}, "/")
}

// partFile is the last segment of the key of a file of a table partition.
func partFile(part int) string { return fmt.Sprintf("part-%05d.snappy.parquet", part) }

// Table is what a catalog knows of a table besides its partitions.
type Table struct {
	Name Name
	// Schema is the merge of the partitions' schemas, without the partition columns; readers cast to it.
	Schema schema.Type
	// CompleteThrough is the last day that is complete with all days before it: they were closed, and published after that. It never goes back; the zero day
	// says nothing.
	CompleteThrough Day
}

// Partition is one day of a table.
type Partition struct {
	Day Day
	// Key is the object that holds the rows, in the tables store: the first, if the day is open and they are in several files of a folder.
	Key string
	// Files is how many there are in Key's folder: 1, or more while the day is open.
	Files int
	// Schema is that of this file, or of all files together.
	Schema schema.Type
	Rows   int64
	// Bytes is the objects' size.
	Bytes int64
	// Run identifies what the files were made from; equal runs have equal rows.
	Run string
}

// Catalog knows which tables there are. tabletest is the suite that every implementation passes.
//
// Its methods may be called from several goroutines. Every write may be repeated: doing it twice is doing it once.
type Catalog interface {
	// Tables lists the tables of all databases, by name.
	Tables(ctx context.Context) ([]Table, error)
	// Table describes one (ErrNotExist).
	Table(ctx context.Context, n Name) (Table, error)
	// Partitions lists a table's partitions by day (ErrNotExist).
	Partitions(ctx context.Context, n Name) ([]Partition, error)
	// Ensure makes the table, and its database, exist with at least t's columns: columns are added and types widen as
	// schema.Merge has it, none is dropped or narrowed. Likewise CompleteThrough is never earlier afterwards.
	Ensure(ctx context.Context, t Table) error
	// SetPartitions adds the partitions or replaces those of the same day, all or none (ErrNotExist for the table).
	SetPartitions(ctx context.Context, n Name, ps []Partition) error
	// DropPartitions forgets the partitions of these days and touches no file; days that it does not have are passed over (ErrNotExist for the table).
	DropPartitions(ctx context.Context, n Name, days []Day) error
	// Drop forgets the table and its partitions and touches no file (ErrNotExist).
	Drop(ctx context.Context, n Name) error
}
