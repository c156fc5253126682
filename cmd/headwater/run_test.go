package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/internal/config"
	"headwater/internal/retry"
	"headwater/internal/state"
	"headwater/internal/web"
	"headwater/query"
	"headwater/serialize"
	"headwater/table"
	"headwater/table/dir"
	"headwater/table/hive"
)

// TestStages ends parts of a pipeline in every way: what failed is told, all of it, whether it failed by itself or in the drain.
func TestStages(t *testing.T) {
	broken, worse := errors.New("broken"), errors.New("worse")
	ctx, drain := context.WithCancel(t.Context())
	var s stages
	s.start(ctx, drain, "told to", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	s.start(ctx, drain, "failing in the drain", func(ctx context.Context) error { <-ctx.Done(); return worse })
	s.start(ctx, drain, "failing", func(context.Context) error { return broken })
	if err := s.wait(); !errors.Is(err, broken) || !errors.Is(err, worse) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	var early stages
	ctx, drain = context.WithCancel(t.Context())
	early.start(ctx, drain, "land", func(context.Context) error { return nil })
	if err := early.wait(); err == nil || ctx.Err() == nil {
		t.Errorf("a part that ended early: got %v, and the pipeline drains: %v", err, ctx.Err() != nil)
	}
}

// TestSerializeWaitsNoLongerThanItsContext has another job under way: a drain must not wait for it.
func TestSerializeWaitsNoLongerThanItsContext(t *testing.T) {
	p := newPipeline(&config.Pipeline{}, allParts, slog.New(slog.DiscardHandler))
	end, err := p.turns.alone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.serialize(ctx, serialize.Job{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestTaken(t *testing.T) {
	job := func(source, topic, raw, flat string) serialize.Job {
		return serialize.Job{Source: source, Topic: topic, Raw: table.Name{Database: "db", Table: raw}, Flat: table.Name{Database: "db", Table: flat}}
	}
	made := owners{}
	for _, test := range []struct {
		job  serialize.Job
		want string
	}{
		{job("orders", "orders_raw", "orders_raw", "orders"), ""},
		{job("orders", "orders_raw", "orders_raw", "orders"), ""},
		{job("orders", "orders-raw", "orders_raw", "orders"), "orders_raw"},                 // sorts before it, and must not take its tables
		{job("orders_raw", "orders_raw.raw", "orders_raw_raw", "orders_raw"), "orders_raw"}, // the flat table of one is the raw table of the other
		{job("x", "x_raw", "x_raw", "x"), ""},
		{job("x", "x-raw", "x_raw", "x"), "x_raw"},
		{job("moved", "moved_raw", "a", "b"), ""},
		{job("moved", "moved-raw", "moved_raw", "moved"), "moved_raw"}, // other tables, but the same quarantine
		{job("late", "late_raw", "moved_raw", "moved"), ""},            // what was refused has taken nothing
	} {
		if got := made.taken(test.job); got != test.want {
			t.Errorf("what %s would write is taken by %q, want %q", test.job.Topic, got, test.want)
		}
	}
}

// TestBlame knows a signal behind an error that only says that the context was canceled.
func TestBlame(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	other := errors.New("other")
	if err := blame(ctx, other); !errors.Is(err, other) || exitCode(err) != exitTransient {
		t.Errorf("without a signal: %v", err)
	}
	cancel(interrupted{syscall.SIGTERM})
	for _, err := range []error{context.Canceled, errors.Join(other, context.Canceled), context.Cause(ctx)} {
		if code := exitCode(blame(ctx, err)); code != 143 {
			t.Errorf("%v ends with %d, want 143", err, code)
		}
	}
	if err := blame(ctx, nil); err != nil {
		t.Errorf("nothing wrong: %v", err)
	}
}

func TestWarnOfForeign(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	warnOfForeign(log, make([]dir.Ignored, 5))
	if n := strings.Count(said.String(), "\n"); n != 5 {
		t.Errorf("five files are told in %d lines", n)
	}
	said.Reset()
	warnOfForeign(log, make([]dir.Ignored, 1000))
	if n := strings.Count(said.String(), "\n"); n != 6 || !strings.Contains(said.String(), "files=995") {
		t.Errorf("a thousand files are told in %d lines:\n%s", n, &said)
	}
}

// TestExitCodes has errors as they come: wrapped, and joined with others.
func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		nil:                            0,
		errors.New("connection reset"): 4,
		retry.Stop(errors.New("x")):    1,
		context.Canceled:               1,
		usagef("x"):                    2,
		query.ErrSQL:                   2,
		serialize.ErrData:              3,
		table.ErrForeign:               3, // a file that is in the way stays in the way
		table.ErrNotParquet:            3,
		table.ErrVersion:               3,
		table.ErrDamaged:               3,
		table.ErrNoVersion:             3,
		hive.ErrForeign:                3,
		errFound:                       3,
		serialize.ErrEngine:            2,
		table.ErrShrink:                6,
		table.ErrOutdated:              6,
		state.ErrLocked:                7,
		interrupted{syscall.SIGINT}:    130,
		web.Fault{Code: 6}:             6,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v ends with %d, want %d", err, got, want)
		}
		if err == nil {
			continue
		}
		if got := exitCode(errors.Join(fmt.Errorf("doing it: %w", err), errors.New("closing it"))); got != want {
			t.Errorf("%v, wrapped and joined, ends with %d, want %d", err, got, want)
		}
	}
}

// TestCommandLine pins what is said where: help and answers on standard output, faults once and on standard error.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.yml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		args     []string
		code     int
		out, err string
	}{
		{[]string{"run", "--help"}, 0, "  -once\n", ""},
		{[]string{"help"}, 0, "headwater run FILE", ""},
		{[]string{"nothing"}, 2, "", "there is no command"},
		{[]string{"run", "--nothing"}, 2, "", "-nothing; see headwater run --help"},
		{[]string{"run"}, 2, "", "FILE is missing"},
		{[]string{"run", dir}, 2, "", "is a directory"},
		{[]string{"run", empty}, 2, "", "the file is empty"},
		{[]string{"check", empty}, 2, "the file is empty", ""},
		{[]string{"check", filepath.Join(dir, "none.yml")}, 2, "", "no such file"},
		{[]string{"query", filepath.Join(dir, "none.yml"), "select 1"}, 2, "", "no such file"},
	}
	for _, test := range tests {
		var out, err bytes.Buffer
		if code := run(t.Context(), test.args, nil, &out, &err); code != test.code {
			t.Errorf("%q ends with %d, want %d", test.args, code, test.code)
		}
		for _, s := range []struct{ got, want string }{{out.String(), test.out}, {err.String(), test.err}} {
			if (s.want == "") != (s.got == "") || !strings.Contains(s.got, s.want) || s.want != "" && strings.Count(s.got, s.want) > 1 {
				t.Errorf("%q says %q, want %q", test.args, s.got, s.want)
			}
		}
	}
}
