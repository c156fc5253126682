package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/internal/setting"
	"headwater/internal/slo"
)

// TestSLO: a source has the objectives of the pipeline, but for those that it has itself, none among them.
func TestSLO(t *testing.T) {
	p, err := config.LoadText("p.yml", `
database: d
slo: {freshness: 26h, max_rows: 50M, max_quarantine: 0.1%}
sources:
  all: {push: {}}
  own: {push: {}, slo: {freshness: 0s, min_rows: 1.5k, max_quarantine: 0%}}
  third: {push: {}, slo: {max_quarantine: 100%}}
`, builtin.Sources())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]slo.Config{
		"all":   {Freshness: 26 * time.Hour, MaxRows: 50e6, MaxQuarantine: 1e5},
		"own":   {MinRows: 1500, MaxRows: 50e6},
		"third": {Freshness: 26 * time.Hour, MaxRows: 50e6, MaxQuarantine: setting.Whole},
	}
	for _, s := range p.Sources {
		if diff := cmp.Diff(want[s.Name], s.SLO); diff != "" {
			t.Errorf("%s: %s", s.Name, diff)
		}
	}
}
