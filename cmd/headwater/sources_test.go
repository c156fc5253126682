package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"headwater/collect"
	"headwater/collect/collecttest"
	"headwater/envelope"
	"headwater/internal/config"
	"headwater/internal/retry"
	"headwater/land"
	"headwater/table"
)

// tardy is a source that takes its time to stop, and counts those that run.
type tardy struct{ running, most, runs *atomic.Int64 }

func (s tardy) Run(ctx context.Context, _ collect.Out, _ bool) error {
	s.runs.Add(1)
	n := s.running.Add(1)
	s.most.Store(max(n, s.most.Load()))
	<-ctx.Done()
	time.Sleep(100 * time.Millisecond)
	s.running.Add(-1)
	return nil
}

// TestCrew has a source replaced, which must not run twice at a time, and another one that must not notice.
func TestCrew(t *testing.T) {
	var replaced, kept tardy
	for _, s := range []*tardy{&replaced, &kept} {
		s.running, s.most, s.runs = new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)
	}
	collectorOf := func(s tardy) collector {
		c := collect.DefaultConfig()
		return collector{Runner: collect.New(collect.Options{
			Name: "s", Source: s, Open: new(collecttest.Log).Open, Config: c, Quarantine: new(collecttest.Quarantine),
		})}
	}
	ctx, stop := context.WithCancel(t.Context())
	crew := crew{ctx: ctx, at: map[*collect.Runner]*shift{}}
	unchanged := collectorOf(kept)
	for i := range 3 {
		crew.set([]collector{collectorOf(replaced), unchanged})
		for replaced.runs.Load() != int64(i+1) || kept.runs.Load() != 1 {
			if err := retry.Wait(t.Context(), time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	crew.set(nil)
	if replaced.most.Load() != 1 || kept.most.Load() != 1 || kept.runs.Load() != 1 || replaced.running.Load()+kept.running.Load() != 0 {
		t.Errorf("%d at a time and %d, which ran %d times, run on: %d", replaced.most.Load(), kept.most.Load(), kept.runs.Load(), replaced.running.Load()+kept.running.Load())
	}
}

// TestDeclare: what was declared once goes on to land, with the shape that it had last.
func TestDeclare(t *testing.T) {
	bare := envelope.Shape{Bare: true}
	is := declare(land.Declared{}, []config.Source{{Topic: "a"}, {Topic: "b", Kind: config.External, Shape: bare}})
	is = declare(is, []config.Source{{Topic: "c"}, {Topic: "a", Kind: config.External, Shape: bare}})
	if !slices.Equal(is.Topics, []string{"a", "b", "c"}) || len(is.Shapes) != 2 || is.Shapes["a"] != bare || is.Shapes["b"] != bare {
		t.Errorf("got %+v", is)
	}
	if is = declare(is, []config.Source{{Topic: "a"}}); len(is.Shapes) != 1 || len(is.Topics) != 3 {
		t.Errorf("a topic that is collected has a shape: %+v", is)
	}
}

// TestCompareSources has sources go, come and change, in any order.
func TestCompareSources(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipeline.yaml")
	pipelineOf := func(text string) *config.Pipeline {
		if err := os.WriteFile(path, []byte("database: db\nsources: {"+text+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := load(path)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	sourcesOf := func(text string) []config.Source { return pipelineOf(text).Sources }
	was := sourcesOf("a: {file: {path: x}}, b: {push: {}}, c: {push: {}}")
	added, changed, removed := compareSources(was, sourcesOf("d: {push: {}}, c: {push: {}}, a: {file: {path: y}}"))
	if !slices.Equal(added, []string{"d"}) || !slices.Equal(changed, []string{"a"}) || !slices.Equal(removed, []string{"b"}) {
		t.Errorf("added %q, changed %q, removed %q", added, changed, removed)
	}
	if !sameSources(was, sourcesOf("c: {push: {}}, b: {push: {}}, a: {file: {path: x}}")) {
		t.Error("another order is no change")
	}
	if sameSources(was, was[:2]) || sameSources(was[:2], was) {
		t.Error("a source more is a change")
	}
	p := newPipeline(pipelineOf("a: {push: {}, tables: {flat: other}}"), allParts, nil)
	if job := p.jobOf("a_raw", table.Day{}); job.Flat.Table != "other" {
		t.Errorf("the job is %+v", job)
	}
}
