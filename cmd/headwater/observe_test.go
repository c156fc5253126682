package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"headwater/internal/builtin"
	"headwater/internal/metrics"
	"headwater/internal/web"
	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/laketest"
	"headwater/serialize"
	"headwater/table"
)

// swept is a store that has nothing to sweep and nothing to close.
type swept struct{ lake.Store }

func (swept) Sweep(context.Context) (int, error) { return 0, nil }
func (swept) Close() error                       { return nil }

// TestObservedStore: what is observed keeps the contract, and its powers.
func TestObservedStore(t *testing.T) {
	t.Parallel()
	laketest.Run(t, func(t *testing.T) lake.Store {
		s, err := builtin.OpenStore(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		observed := newObserver().store("raw", s)
		if _, local := observed.(lake.Local); !local {
			t.Error("a store of files is none any more when it is observed")
		}
		return observed
	})
	if newObserver().store("tables", nil) != nil {
		t.Error("no store became one")
	}
}

// TestObserved: failures are counted and answers are not; what has not returned is a sign, which moves with the body.
func TestObserved(t *testing.T) {
	t.Parallel()
	inner, err := builtin.OpenStore(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	faulty := lakefault.New(inner, lakefault.Rule{Op: lakefault.Delete})
	o := newObserver()
	s := o.store("raw", swept{faulty})
	if _, err := s.Put(t.Context(), "a", strings.NewReader("text"), lake.Condition{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a", strings.NewReader("text"), lake.Condition{IfAbsent: true}); !errors.Is(err, lake.ErrExists) {
		t.Fatal(err)
	}
	var marks []string
	body := looking{strings.NewReader("text"), func() {
		for _, sign := range o.signs() {
			marks = append(marks, sign.What+" "+sign.Mark)
		}
	}}
	if _, err := s.Put(t.Context(), "b", body, lake.Condition{}); err != nil {
		t.Fatal(err)
	}
	if len(marks) < 2 || marks[0] != "put of b in lake.raw (call 3) 0" || marks[1] != "put of b in lake.raw (call 3) 4" || len(o.signs()) != 0 {
		t.Errorf("the signs of a put are %v, and after it %v", marks, o.signs())
	}
	if err := s.Delete(t.Context(), "a"); !errors.Is(err, lakefault.ErrInjected) {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "c"); !errors.Is(err, lake.ErrNotExist) {
		t.Fatal(err)
	}
	o.kept("land", "orders", map[string]int64{"no JSON: at byte 7": 3})
	text := scraped(t, o.Recorder)
	for _, want := range []string{
		`headwater_lake_seconds_count{layer="raw",operation="put"} 3`, `headwater_lake_errors_total{layer="raw",operation="put"} 0`,
		`headwater_lake_errors_total{layer="raw",operation="delete"} 1`, `headwater_lake_errors_total{layer="raw",operation="stat"} 0`,
		`headwater_lake_put_bytes_sum{layer="raw"} 8`, `headwater_quarantined_records_total{reason="no JSON",source="orders",stage="land"} 3`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
}

// looking looks before each read.
type looking struct {
	*strings.Reader
	look func()
}

func (l looking) Read(p []byte) (int, error) {
	l.look()
	return l.Reader.Read(p)
}

func scraped(t *testing.T, r *metrics.Recorder) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.Handler(func(context.Context) (web.Status, error) { return web.Status{}, nil }, r, slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestFailingDays: a day fails until a run of that day has not, whatever others do.
func TestFailingDays(t *testing.T) {
	t.Parallel()
	var l ledger
	day := func(n int) serialize.Job {
		return serialize.Job{Source: "orders", Day: table.Day{Year: 2026, Month: 7, Day: n}}
	}
	l.of("orders")
	for _, step := range []struct {
		day  int
		err  error
		want int
	}{{5, io.ErrUnexpectedEOF, 1}, {5, io.ErrUnexpectedEOF, 1}, {6, nil, 1}, {7, io.EOF, 2}, {5, nil, 1}, {7, serialize.ErrNoInput, 0}} {
		l.failing(day(step.day), step.err)
		if got := l.list()[0].FailingDays; got != step.want {
			t.Errorf("after day %d, %v: %d, want %d", step.day, step.err, got, step.want)
		}
	}
}
