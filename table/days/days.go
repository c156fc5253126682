// Package days keeps a table about tables: what each has of each day, since when, and what became of the last run, so that freshness can be asked for in
// SQL as everything else.
//
// What enters: what a run has made of a day. What leaves: the table partition of that day, one row for each table, published as every other. The
// rows are derived: a table that is lost fills again as days are made. No goroutine is started.
//
// Format: docs/tables.md.
package days

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"

	"headwater/lake"
	"headwater/schema"
	"headwater/table"
)

// Failed is the state of a row beside those that a table.Held has: the last run did not come to its end, and Reason says why. The other columns are those of
// what is read.
const Failed = "failed"

// Row is what a table has of a day.
type Row struct {
	// Table is database.table.
	Table string `parquet:"table"`
	State string `parquet:"state"`
	Rows  int64  `parquet:"rows"`
	// Quarantined records of the day are not among the rows.
	Quarantined int64 `parquet:"quarantined"`
	// PublishedAt is when the row was written for what is read; zero, which is 1970, if nothing is.
	PublishedAt time.Time `parquet:"published_at,timestamp(microsecond)"`
	// SchemaVersion is the schema ledger's, 0 without one.
	SchemaVersion int64  `parquet:"schema_version"`
	Engine        string `parquet:"engine"`
	Run           string `parquet:"run"`
	Reason        string `parquet:"reason"`
}

// Of is the row of what is read of a day, at the time now.
func Of(n table.Name, d table.Day, h table.Held, now time.Time) Row {
	r := Row{Table: n.String(), State: h.State(), PublishedAt: time.UnixMicro(0).UTC()}
	files := h.Files()
	if len(files) == 0 {
		return r
	}
	r.Rows, r.Quarantined = h.Rows()
	r.PublishedAt = now.UTC().Truncate(time.Microsecond)
	last := files[len(files)-1].Footer
	r.SchemaVersion, r.Engine, r.Run = int64(last.SchemaVersion), last.Engine, table.PartitionOf(d, files...).Run
	return r
}

// same says whether two rows differ in nothing but when they were written.
func (r Row) same(o Row) bool {
	r.PublishedAt = o.PublishedAt
	return r == o
}

// columns is Row as table knows types.
var columns = schema.Type{Kind: schema.Struct, Fields: []schema.Field{
	{Name: "table", Type: schema.Type{Kind: schema.String}},
	{Name: "state", Type: schema.Type{Kind: schema.String}},
	{Name: "rows", Type: schema.Type{Kind: schema.Long}},
	{Name: "quarantined", Type: schema.Type{Kind: schema.Long}},
	{Name: "published_at", Type: schema.Type{Kind: schema.Timestamp}},
	{Name: "schema_version", Type: schema.Type{Kind: schema.Long}},
	{Name: "engine", Type: schema.Type{Kind: schema.String}},
	{Name: "run", Type: schema.Type{Kind: schema.String}},
	{Name: "reason", Type: schema.Type{Kind: schema.String}},
}}

// Table is one in a tables store.
type Table struct {
	Tables  lake.Store
	Catalog table.Catalog
	Name    table.Name
}

// tries is how often a row is noted while other processes note theirs.
const tries = 100

// Note writes rows into the day's table partition, in the place of those of the same tables. A row that says nothing new is not written.
func (t Table) Note(ctx context.Context, d table.Day, rows ...Row) error {
	var err error
	for range tries {
		if err = t.note(ctx, d, rows); !errors.Is(err, table.ErrOutdated) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("noting in %s what became of %s: %w", t.Name, d, err)
	}
	return nil
}

func (t Table) note(ctx context.Context, d table.Day, rows []Row) error {
	h, err := table.LookDay(ctx, t.Tables, t.Name, d)
	if err != nil {
		return err
	}
	had, err := t.read(ctx, h.Plain)
	if err != nil {
		return err
	}
	all, changed := merge(had, rows)
	if !changed {
		return nil
	}
	footer := table.Footer{Table: t.Name.String(), Day: d.String(), Rows: int64(len(all)), Schema: columns, Engine: "native", Settings: map[string]string{"rows": digest(all)}}
	footer.Run = footer.Digest()
	file, err := write(all, footer.Metadata())
	if err != nil {
		return err
	}
	_, err = table.Publish(ctx, table.Publication{
		Tables: t.Tables, Catalog: t.Catalog, Name: t.Name, Day: d, File: bytes.NewReader(file), Footer: footer, Seen: h.Plain, Held: h,
	})
	return err
}

// merge puts rows in the place of those of the same tables. A failure leaves what is read as it was.
func merge(had, rows []Row) (all []Row, changed bool) {
	all = slices.Clone(had)
	for _, r := range rows {
		at := slices.IndexFunc(all, func(o Row) bool { return o.Table == r.Table })
		switch {
		case at < 0:
			if r.PublishedAt.IsZero() {
				r.PublishedAt = time.UnixMicro(0).UTC() // the first year has no place in a file
			}
			all, changed = append(all, r), true
		case r.State == Failed:
			failed := all[at]
			failed.State, failed.Reason = Failed, r.Reason
			changed = changed || failed != all[at]
			all[at] = failed
		case !r.same(all[at]):
			all[at], changed = r, true
		}
	}
	slices.SortFunc(all, func(a, b Row) int { return cmp.Compare(a.Table, b.Table) })
	return all, changed
}

func digest(rows []Row) string {
	text, err := json.Marshal(rows)
	if err != nil {
		panic(err) // texts and numbers
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func write(rows []Row, metadata [][2]string) ([]byte, error) {
	options := []parquet.WriterOption{parquet.Compression(&parquet.Snappy)}
	for _, kv := range metadata {
		options = append(options, parquet.KeyValueMetadata(kv[0], kv[1]))
	}
	var b bytes.Buffer
	w := parquet.NewGenericWriter[Row](&b, options...)
	if _, err := w.Write(rows); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// read gives the rows of a table partition, none of one that is not there.
func (t Table) read(ctx context.Context, s table.Seen) ([]Row, error) {
	if !s.Exists {
		return nil, nil
	}
	body, _, err := t.Tables.Get(ctx, s.Object.Key, 0, -1)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, err
	}
	rows, err := parquet.Read[Row](bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("reading %s (delete it, and it fills again): %w", s.Object.Key, err)
	}
	for i := range rows {
		rows[i].PublishedAt = rows[i].PublishedAt.UTC()
		rows[i].Table = strings.Clone(rows[i].Table)
	}
	return rows, nil
}
