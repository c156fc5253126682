package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"headwater/internal/config"
	"headwater/lake"
	"headwater/query"
	"headwater/table"
	"headwater/table/dir"
)

func runQuery(ctx context.Context, flags *flag.FlagSet, args []string, s streams) error {
	format := flags.String("format", "table", "table, csv or json (one object a line)")
	operands, err := parse(flags, args, "FILE", "SQL")
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"table", "csv", "json"}, *format) {
		return usagef("--format must be table, csv or json, got %q", *format)
	}
	cfg, err := load(operands[0])
	if err != nil {
		return err
	}
	return answer(ctx, cfg, question{sql: operands[1], format: *format, width: terminalWidth(s.out)}, s.out, s.log)
}

// question is what answer is asked.
type question struct {
	sql, format string
	width       int
	// rows is the most that the answer may have; 0 is any number.
	rows int64
	// reads says which tables there are for who asks; nil is all.
	reads func(table.Name) bool
}

// answer writes the answer to SQL over the tables of a pipeline.
func answer(ctx context.Context, cfg *config.Pipeline, asked question, out io.Writer, log *slog.Logger) (err error) {
	l, err := openTables(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("there are no tables, %s does not exist; headwater run makes it", cfg.Lake.Tables)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	warnOfForeign(log, l.catalog.Ignored())
	if err := incomplete(asked.sql, l.catalog.Ignored()); err != nil {
		return err
	}
	q := query.Query{
		SQL: asked.sql, Format: asked.format, Width: asked.width, Temp: filepath.Join(cfg.DataDir, "tmp"),
		Out: out, Limits: cfg.Query, Rows: asked.rows,
		Refresh: func(ctx context.Context, n table.Name) (query.Table, error) {
			fresh, err := openTables(ctx, cfg)
			if err != nil {
				return query.Table{}, err
			}
			t, err := queryTable(ctx, fresh, n)
			return t, errors.Join(err, fresh.close())
		},
	}
	all, err := l.catalog.Tables(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if asked.reads != nil && !asked.reads(t.Name) {
			continue
		}
		entry, err := queryTable(ctx, l, t.Name)
		if err != nil {
			return err
		}
		q.Tables = append(q.Tables, entry)
	}
	return query.Run(ctx, q)
}

// incomplete is an error if a table that the statement names has a day whose file cannot be read: the answer would lack it.
func incomplete(sql string, all []dir.Ignored) error {
	sql = strings.ToLower(sql)
	for _, i := range all {
		name, _, isDay := strings.Cut(i.Key, "/year=")
		if !isDay {
			name, _, isDay = strings.Cut(i.Key, "/_runs/") // the files of an open day
		}
		unreadable := errors.Is(i.Reason, table.ErrNotParquet) || errors.Is(i.Reason, table.ErrVersion) || errors.Is(i.Reason, table.ErrDamaged)
		if isDay && unreadable && strings.Contains(sql, path.Base(name)) {
			return fmt.Errorf("the answer would lack a day of %s; move %s away to have it without: %w", path.Base(name), i.Key, i.Reason)
		}
	}
	return nil
}

// warnOfForeign names the first of the files that lie among the tables; where there are many, they are of one kind.
func warnOfForeign(log *slog.Logger, all []dir.Ignored) {
	const most = 5
	for i, ignored := range all {
		if i == most {
			log.Warn("more files among the tables are not of them", "files", len(all)-most)
			return
		}
		log.Warn("a file among the tables is not one of them", "key", ignored.Key, "reason", ignored.Reason)
	}
}

// queryTable is a table with its files as the catalog has them.
func queryTable(ctx context.Context, l layers, n table.Name) (query.Table, error) {
	t, err := l.catalog.Table(ctx, n)
	if err != nil {
		return query.Table{}, err
	}
	files, err := l.catalog.Files(ctx, n)
	if err != nil {
		return query.Table{}, fmt.Errorf("listing the days of %s: %w", n, err)
	}
	out := query.Table{Name: n, Schema: t.Schema}
	local, here := l.tables.(lake.Local)
	for _, p := range files {
		f := query.File{Path: p.Key, Day: p.Day, Schema: p.Schema, Bytes: p.Bytes}
		if here {
			f.Path = local.Path(p.Key)
		} else {
			f.Fetch = func(ctx context.Context, to string) error { return l.cache.link(ctx, p, to) }
		}
		out.Files = append(out.Files, f)
	}
	return out, nil
}

// terminalWidth is the number of columns if w is a terminal, and 0 otherwise.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

func runQueryWorker(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	if _, err := parse(fs, args); err != nil {
		return err
	}
	if err := query.Worker(ctx, s.in, s.out, s.err); err != nil {
		return reported{err} // its parent has it from the worker's own output
	}
	return nil
}
