package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headwater/internal/config"
	"headwater/internal/database"
	"headwater/internal/dayclose"
	"headwater/internal/notify"
	"headwater/internal/runs"
	"headwater/internal/slo"
	"headwater/lake/mem"
	"headwater/table"
	"headwater/table/days"
	"headwater/table/dir"
)

// quiet is a dayclose.Log of no topics.
type quiet struct{ dayclose.Log }

// Now implements dayclose.Log.
func (quiet) Now(context.Context) (time.Time, error) { return time.Now(), nil }

// judges are processes that make tables of one source, in a lake and a state database that they have in common.
type judges struct {
	store *mem.Store
	state database.Config
	slo   slo.Config
}

// start begins one, which knows of the tables what the lake has now.
func (j judges) start(t *testing.T, holder string) *pipeline {
	t.Helper()
	name := func(table_ string) table.Name { return table.Name{Database: "db", Table: table_} }
	source := config.Source{Name: "a", Topic: "a_raw", RawTable: name("a_raw"), FlatTable: name("a"), SLO: j.slo, Scheduler: config.InternalScheduler}
	p := &pipeline{cfg: &config.Pipeline{Location: time.UTC, Sources: []config.Source{source}}, log: slog.New(slog.DiscardHandler)}
	p.now.Store(&sources{configured: p.cfg.Sources})
	files, err := dir.Open(t.Context(), j.store)
	if err == nil {
		p.runs, err = runs.Open(t.Context(), j.state, "db", holder, time.Minute)
	}
	if err == nil {
		p.notices, err = notify.Open(t.Context(), j.state, "db", holder, notify.Webhooks{{URL: "https://hooks.example/a"}}, p.log)
	}
	if err != nil {
		t.Fatal(err)
	}
	p.catalog, p.layers = &catalog{Catalog: files}, layers{tables: memory{j.store}}
	p.closer = dayclose.New(dayclose.Options{
		Sources: func(context.Context) ([]dayclose.Source, error) { return nil, nil }, Log: quiet{}, Raw: j.store, Location: time.UTC, Logger: p.log,
	})
	t.Cleanup(func() {
		if err := p.runs.Close(); err != nil {
			t.Error(err)
		}
		if err := p.notices.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// memory is a store that a process has.
type memory struct{ *mem.Store }

// Close implements builtin.Store.
func (memory) Close() error { return nil }

// Sweep implements builtin.Store.
func (memory) Sweep(context.Context) (int, error) { return 0, nil }

// judged is what is breached after a turn, and how many messages were written so far.
func judged(t *testing.T, p *pipeline) (breached string, messages int64) {
	t.Helper()
	if err := p.judge(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := p.objectives(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Breached {
			breached += o.Objective + " since " + o.Since.UTC().Format("02T15:04") + " " + o.Stage + ";"
		}
	}
	states, err := p.notices.States(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return breached, states[0].Waiting
}

// TestJudge: objectives are judged by what the lake has, whichever process has made it, and told once, also after restarts.
func TestJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins with the year 2000
		j := judges{store: mem.New(), state: database.Config{Path: filepath.Join(t.TempDir(), "state.db"), Volatile: true}, slo: slo.DefaultConfig()}
		j.slo.Freshness, j.slo.MinRows = 26*time.Hour, 2
		maker := j.start(t, "a")
		published := func(day table.Day, rows int) {
			t.Helper()
			for _, n := range []string{"a_raw", "a"} {
				var all []days.Row
				for i := range rows {
					all = append(all, days.Row{Table: strings.Repeat("x", i+1)})
				}
				tab := days.Table{Tables: j.store, Catalog: maker.catalog.Catalog, Name: table.Name{Database: "db", Table: n}}
				if err := tab.Note(t.Context(), day, all...); err != nil {
					t.Fatal(err)
				}
			}
			maker.promises.published("a")
		}
		complete := func(day table.Day) {
			t.Helper()
			for _, n := range []string{"a_raw", "a"} {
				if err := table.Complete(t.Context(), j.store, maker.catalog.Catalog, table.Name{Database: "db", Table: n}, day); err != nil {
					t.Fatal(err)
				}
			}
		}
		p := maker
		expect := func(when, want string, told int64) {
			t.Helper()
			if got, n := judged(t, p); got != want || n != told {
				t.Errorf("%s: breached %q with %d messages, want %q with %d", when, got, n, want, told)
			}
		}
		jan := func(day int) table.Day { return table.Day{Year: 2000, Month: 1, Day: day} }
		until := func(day, hour, minute int) {
			time.Sleep(time.Until(time.Date(2000, 1, day, hour, minute, 0, 0, time.UTC)))
		}
		expect("nothing is there", "", 0)
		until(2, 2, 1)
		expect("nothing has come in time", "freshness since 02T02:00 ;", 1)
		published(jan(1), 2)
		complete(jan(1))
		expect("the first day", "", 2)
		published(jan(2), 1)
		until(3, 1, 0)
		expect("a day that is not known to be closed", "", 2)
		complete(jan(2))
		expect("a small day", "min_rows since 03T01:00 ;", 3)
		p = j.start(t, "b")
		until(3, 5, 0)
		expect("after a restart", "min_rows since 03T01:00 ;", 3)
		published(jan(2), 3)
		p.promises.published("a")
		expect("more rows", "", 4)

		complete(jan(3)) // by the first process; the second's catalog does not know it
		until(5, 1, 0)
		expect("a day without records, of which another process knows", "min_rows since 05T01:00 ;", 5)
		until(5, 2, 1)
		expect("late", "freshness since 05T02:00 ;min_rows since 05T01:00 ;", 6)
		complete(jan(4))
		expect("in time again", "min_rows since 05T01:00 ;", 7)
		j.slo = slo.DefaultConfig()
		p = j.start(t, "c")
		expect("without objectives", "", 8)
	})
}
