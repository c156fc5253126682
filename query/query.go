// Package query answers one SQL statement over tables.
//
// What enters: a statement and the tables' files. What leaves: the answer as text. The files are pinned first: each gets
// a hard link in a folder of this query alone, so that a publish that replaces them in the meantime changes nothing. DuckDB
// then reads the pinned files in a child process, which can neither read nor write anything else.
//
// Invariants:
//  1. The answer sees each table partition whole, as it was when it was pinned.
//  2. DuckDB's memory and crashes are the child's; the child ends with its parent, however that ends.
//  3. The statement can only read: DuckDB could write through a hard link, so nothing but SELECT and EXPLAIN of one is executed.
//  4. The folder is locked while its query runs; unlocked ones are leftovers and are removed by the next query.
//
// Run waits for its child and for the two goroutines that os/exec has for the child's output. Worker has two goroutines, which
// end with the child: one waits for the end of its input, one for the end of its context.
package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"headwater/internal/setting"
	"headwater/schema"
	"headwater/table"
)

var (
	// ErrSQL marks a statement that cannot be answered: the error says why, in DuckDB's words.
	ErrSQL = errors.New("the statement cannot be answered")
	// ErrNoDuckDB is returned by every query of a binary that was built with the tag noduckdb.
	ErrNoDuckDB = errors.New("this binary was built without DuckDB (build tag noduckdb): use the full one for queries")
)

// Query is one statement and what it may read.
type Query struct {
	// SQL is one SELECT (or FROM, WITH, VALUES, SHOW, DESCRIBE, SUMMARIZE, EXPLAIN), a trailing semicolon allowed.
	SQL string
	// Format is table, csv or json; docs/format/answers.md has them.
	Format string
	// Width cuts the lines of the format table, for a terminal; 0 does not.
	Width int
	// Tables are those that the statement may name, as database.table. Only those that it names cost anything.
	Tables []Table
	// Refresh gives a table again when one of its files has vanished since Tables was made. Nil: that is an error.
	Refresh func(ctx context.Context, n table.Name) (Table, error)
	// Temp is the folder, on the same file system as the tables if possible, that holds a folder per query.
	Temp string
	Out  io.Writer
	// Exe is the binary whose command query-worker is Worker; empty means this one.
	Exe    string
	Limits Limits
	// Rows, unless it is 0, is how many rows the answer may have: with more it ends in an error.
	Rows int64
}

// Table is a table as the statement sees it: its columns, then year, month and day as integers.
type Table struct {
	Name table.Name
	// Schema has the columns; those that only files have are added, and types widen, as schema.Merge has it. Of columns whose names
	// differ only in case, which SQL takes for one, the later get _1, _2.
	Schema schema.Type
	Files  []File
}

// File is one Parquet file of a table.
type File struct {
	// Path is on this machine or, with Fetch, only a name for messages.
	Path string
	// Fetch, if there is one, puts the file at a path of this machine, where none is; fs.ErrNotExist if it has vanished.
	Fetch func(ctx context.Context, to string) error
	Day   table.Day
	// Schema is the file's, and Bytes the size of the file that Schema was read from: if the file has another size by the
	// time it is pinned, its own footer is read.
	Schema schema.Type
	Bytes  int64
}

// Limits bound what one query may use.
type Limits struct {
	// Memory is DuckDB's; what does not fit is spilled into Temp.
	Memory setting.Bytes `yaml:"memory"`
	// Threads is 0 for as many as there are cores.
	Threads int `yaml:"threads"`
	// Spill is how much of the disk one query may take for what does not fit into Memory.
	Spill setting.Bytes `yaml:"spill"`
	// Cache bounds the copies, in data_dir, of files of tables that lie elsewhere.
	Cache setting.Bytes `yaml:"cache"`
	// Rows, Timeout and Parallel are of who asks by HTTP: how many rows an answer may have, how long it may take, and how many queries run at a time.
	Rows     int64         `yaml:"rows"`
	Timeout  time.Duration `yaml:"timeout"`
	Parallel int           `yaml:"parallel"`
}

// DefaultLimits leave room for the rest of a small machine.
func DefaultLimits() Limits {
	return Limits{Memory: 1 << 30, Spill: 10 << 30, Cache: 10 << 30, Rows: 1_000_000, Timeout: 5 * time.Minute, Parallel: 2}
}

// Validate reports what is wrong, with paths relative to the Limits.
func (l *Limits) Validate() setting.Faults {
	var f setting.Faults
	if l.Memory < 64<<20 {
		f.Add([]string{"memory"}, "must be 64MiB or more, got %s", l.Memory)
	}
	if l.Spill < 0 {
		f.Add([]string{"spill"}, "must not be negative, got %s", l.Spill)
	}
	if l.Rows < 1 {
		f.Add([]string{"rows"}, "must be 1 or more, got %d", l.Rows)
	}
	if l.Timeout <= 0 {
		f.Add([]string{"timeout"}, "must be more than 0, got %s", l.Timeout)
	}
	if l.Parallel < 1 {
		f.Add([]string{"parallel"}, "must be 1 or more, got %d", l.Parallel)
	}
	if l.Cache < 0 {
		f.Add([]string{"cache"}, "must not be negative, got %s", l.Cache)
	}
	if l.Threads < 0 {
		f.Add([]string{"threads"}, "must be 0 (one per core) or more, got %d", l.Threads)
	}
	return f
}

// spec is what the child gets on its input.
type spec struct {
	SQL    string      `json:"sql"`
	Format string      `json:"format"`
	Width  int         `json:"width"`
	Folder string      `json:"folder"`
	Limits Limits      `json:"limits"`
	Rows   int64       `json:"rows"`
	Tables []tableSpec `json:"tables"`
}

// tableSpec is a table with its pinned files.
type tableSpec struct {
	Database string      `json:"database"`
	Table    string      `json:"table"`
	Schema   schema.Type `json:"schema"`
	Groups   []group     `json:"groups"`
	// Unread tables have no Groups and may only be described.
	Unread bool `json:"unread"`
}

// group is the files of one schema; their paths are relative to the folder.
type group struct {
	Schema schema.Type `json:"schema"`
	Files  []string    `json:"files"`
}

// fault is the child's account of what went wrong, one line on its standard error.
type fault struct {
	Fault string `json:"fault"`
	SQL   bool   `json:"sql"`
}

// Run writes the answer to q.Out, a part of it perhaps also when it returns an error. ErrSQL is the statement's fault; when ctx ends
// the child is killed and the context's cause returned.
func Run(ctx context.Context, q Query) error {
	if !hasDuckDB {
		return ErrNoDuckDB
	}
	if !slices.Contains([]string{"table", "csv", "json"}, q.Format) {
		return fmt.Errorf("format %q is not table, csv or json", q.Format)
	}
	folder, err := openFolder(q.Temp)
	if err != nil {
		return err
	}
	err = run(ctx, q, folder.path)
	return errors.Join(err, folder.close())
}

func run(ctx context.Context, q Query, folder string) error {
	s := spec{SQL: q.SQL, Format: q.Format, Width: q.Width, Folder: folder, Limits: q.Limits, Rows: q.Rows}
	for _, t := range q.Tables {
		if !mentions(q.SQL, t.Name) {
			s.Tables = append(s.Tables, tableSpec{Database: t.Name.Database, Table: t.Name.Table, Schema: t.Schema, Unread: true})
			continue
		}
		pinned, err := pin(ctx, folder, t, q.Refresh)
		if err != nil {
			return fmt.Errorf("pinning the files of %s: %w", t.Name, err)
		}
		s.Tables = append(s.Tables, pinned)
	}
	exe := q.Exe
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return fmt.Errorf("finding this binary, to start it as query-worker: %w", err)
		}
	}
	input, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the worker's input: %w", err)
	}
	return work(ctx, exe, folder, input, q.Out)
}

// Mentions reports whether sql can mean the table, as far as a look at the text can tell.
func Mentions(sql string, n table.Name) bool { return mentions(sql, n) }

// mentions reports whether sql can mean the table. The files of the other tables are not pinned, so that a query in a large
// lake costs what it reads; should a statement reach such a table by a name that it computes, its view says so.
func mentions(sql string, n table.Name) bool {
	return strings.Contains(strings.ToLower(sql), strings.ToLower(n.Table))
}

// work runs the child. Its input stays open as long as this process lives and wants the answer: the end of it ends the child.
func work(ctx context.Context, exe, folder string, input []byte, out io.Writer) error {
	cmd := exec.CommandContext(ctx, exe, "query-worker")
	cmd.Dir = folder
	cmd.Env = environment()
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's Ctrl-C is for the parent, who then ends the child
	answer := &remember{w: out}
	complaints := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = answer, &head{w: complaints, left: 64 << 10}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting the query worker: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the query worker: %w", err)
	}
	// A child that dies early breaks the pipe; the reason is what Wait and the child's complaints say.
	_, _ = stdin.Write(append(input, '\n'))
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case answer.err != nil:
		return fmt.Errorf("writing the answer: %w", answer.err)
	}
	return verdict(err, complaints.String())
}

// environment is what the child has of ours: nothing that somebody may have put a secret into.
func environment() (all []string) {
	for _, name := range []string{"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "GOCOVERDIR", "GORACE", "GOTRACEBACK"} {
		if value, found := os.LookupEnv(name); found {
			all = append(all, name+"="+value)
		}
	}
	return all
}

// verdict tells the statement's faults from the child's.
func verdict(exit error, complaints string) error {
	for line := range strings.Lines(complaints) {
		var f fault
		if json.Unmarshal([]byte(line), &f) != nil || f.Fault == "" {
			continue
		}
		if f.SQL {
			return fmt.Errorf("%w: %s", ErrSQL, f.Fault)
		}
		return fmt.Errorf("answering the statement: %s", f.Fault)
	}
	if exit == nil {
		return nil
	}
	hint := ""
	if e, ok := errors.AsType[*exec.ExitError](exit); ok {
		if status, ok := e.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
			hint = " (perhaps by the kernel for its memory: lower query.memory)"
		}
	}
	return fmt.Errorf("the query worker crashed, the rest of headwater is not affected: %w%s: %s", exit, hint, strings.TrimSpace(complaints))
}

// remember keeps the error of the first Write that failed.
type remember struct {
	w   io.Writer
	err error
}

func (r *remember) Write(p []byte) (int, error) {
	n, err := r.w.Write(p)
	if err != nil && r.err == nil {
		r.err = err
	}
	return n, err
}

// head passes on the first bytes and swallows the rest.
type head struct {
	w    io.Writer
	left int
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.left)
	h.left -= n
	_, err := h.w.Write(p[:n])
	return len(p), err
}
