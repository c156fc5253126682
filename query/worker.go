//go:build !noduckdb

package query

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

const hasDuckDB = true

// Worker is the child that Run starts. It reads what to do from stdin, which must stay open until the answer is written: the
// end of stdin is the end of the parent. The error is also the line on stderr that Run understands; the process must end with
// a status other than 0 if there is one, and need not print it.
func Worker(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	input := json.NewDecoder(stdin)
	var s spec
	err := input.Decode(&s)
	if err != nil {
		err = fmt.Errorf("reading what to do (query-worker is started by headwater itself): %w", err)
	} else {
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			cancel(errors.New("the parent has ended"))
		}()
		err = answer(ctx, s, stdout)
	}
	if err == nil {
		return nil
	}
	text := strings.TrimPrefix(err.Error(), ErrSQL.Error()+": ") // Run puts it back
	if len(text) > maxFault {
		text = strings.ToValidUTF8(text[:maxFault], "") + "..."
	}
	line, _ := json.Marshal(fault{Fault: text, SQL: errors.Is(err, ErrSQL)})
	_, _ = fmt.Fprintf(stderr, "%s\n", line)
	return err
}

// maxFault bounds the text of a fault: DuckDB's may quote a whole value.
const maxFault = 4 << 10

// answer runs the statement in a DuckDB that knows the tables and nothing else.
func answer(ctx context.Context, s spec, stdout io.Writer) error {
	db, err := openDuckDB()
	if err != nil {
		return err
	}
	defer db.close()
	defer interruptWith(ctx, db)()
	out := bufio.NewWriterSize(stdout, 1<<16)
	if err = prepare(db, s); err == nil {
		err = ask(db, s, out)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, out.Flush())
}

// interruptWith interrupts db from when ctx ends until the returned function is called. Once is not enough: DuckDB forgets an
// interrupt that comes between two statements.
func interruptWith(ctx context.Context, db *duckDB) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			db.interrupt()
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(done); <-stopped }
}

// prepare makes the views and then closes the doors.
func prepare(db *duckDB, s spec) error {
	statements := []string{"SET TimeZone = 'UTC'", "SET temp_directory = " + literal(s.Folder+"/spill")}
	if s.Limits.Memory > 0 {
		statements = append(statements, fmt.Sprintf("SET memory_limit = '%dB'", int64(s.Limits.Memory)))
	}
	if s.Limits.Spill > 0 {
		statements = append(statements, fmt.Sprintf("SET max_temp_directory_size = '%dB'", int64(s.Limits.Spill)))
	}
	if s.Limits.Threads > 0 {
		statements = append(statements, fmt.Sprintf("SET threads = %d", s.Limits.Threads))
	}
	for _, t := range s.Tables {
		statements = append(statements, "CREATE SCHEMA IF NOT EXISTS "+identifier(t.Database), viewSQL(t))
	}
	if home := onlyDatabase(s.Tables); home != "" {
		statements = append(statements, "SET schema = "+literal(identifier(home)))
	}
	statements = append(statements,
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET allow_community_extensions = false",
		"SET allowed_directories = ["+literal(s.Folder+"/")+"]",
		"SET enable_external_access = false",
		"SET lock_configuration = true",
	)
	for _, statement := range statements {
		if err := db.exec(statement); err != nil {
			return fmt.Errorf("preparing the tables: %w (in %.300s)", err, statement)
		}
	}
	return nil
}

// onlyDatabase is the database of all tables: where there is one, their names need not say it, and SHOW TABLES lists them.
func onlyDatabase(tables []tableSpec) string {
	home := ""
	for _, t := range tables {
		if home != "" && home != t.Database {
			return ""
		}
		home = t.Database
	}
	return home
}

// explained finds what an EXPLAIN explains.
var explained = regexp.MustCompile(`(?is)^\s*explain\s+(analyze\s+|\([^()]*\)\s*)?`)

// ask checks the statement and writes its answer. It does not execute the statement itself but a SELECT over it that turns every
// value into text, so that no type and no digit is lost between DuckDB and here.
func ask(db *duckDB, s spec, out *bufio.Writer) error {
	types, err := db.describe(s.SQL)
	if err != nil {
		return err
	}
	statement := s.SQL
	switch types.kind {
	case selects:
		statement = answerSQL(s.SQL, types.shapes, s.Format == "json")
	case explains:
		// EXPLAIN ANALYZE executes what it explains.
		inner, err := db.describe(explained.ReplaceAllString(s.SQL, ""))
		if err != nil {
			return err
		}
		if inner.kind != selects {
			return fmt.Errorf("%w: only what reads can be explained", ErrSQL)
		}
		s.Format = "plan"
	default:
		return fmt.Errorf("%w: only statements that read are allowed, as SELECT, SHOW, DESCRIBE, SUMMARIZE and EXPLAIN of one", ErrSQL)
	}
	w := newWriter(s.Format, out, types.columns, s.Width)
	rows := int64(0)
	row := func(values []value) error {
		if rows++; s.Rows > 0 && rows > s.Rows {
			return fmt.Errorf("%w: its answer has more than %d rows, which is the most that this door gives: ask for less", ErrSQL, s.Rows)
		}
		return w.row(values)
	}
	if err := db.stream(statement, len(types.columns), row); err != nil {
		return err
	}
	return w.end()
}

// answerSQL names the statement's columns by number, since its own names may repeat.
func answerSQL(sql string, shapes []shape, asJSON bool) string {
	names, items := make([]string, len(shapes)), make([]string, len(shapes))
	for i, s := range shapes {
		names[i] = fmt.Sprintf("c%d", i)
		if items[i] = s.plainText(names[i]); asJSON {
			items[i] = s.jsonText(names[i], false, 0)
		}
	}
	return fmt.Sprintf("SELECT %s FROM query(%s) AS answer(%s)", strings.Join(items, ", "), literal(sql), strings.Join(names, ", "))
}
