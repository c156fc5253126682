package watch

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headwater/tests/interop/fixture"
)

// panel is what is asked of a dashboard's panel.
type panel struct {
	Title, Type string
	FieldConfig struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []any }
		}
	}
	Targets []struct{ Expr string }
}

type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct {
			Name  string
			Query any
		}
	}
	Panels []panel
}

// dashboards are those of deploy/grafana, by file.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(root + "deploy/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no dashboards", err)
	}
	all := map[string]dashboard{}
	for _, f := range files {
		var d dashboard
		if err := json.Unmarshal([]byte(read(t, f)), &d); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[f] = d
	}
	return all
}

// asked is a query as Grafana asks it: with all of everything, over a window that a second's scrapes fill.
var asked = strings.NewReplacer("$job", ".*", "$source", ".*", "$topic", ".*", "$__rate_interval", "15s")

// TestDashboards: every panel has a unit and asks for metrics that there are, and every variable that a query names is one.
func TestDashboards(t *testing.T) {
	t.Parallel()
	uids := map[string]bool{}
	for file, d := range dashboards(t) {
		if uids[d.UID] || d.UID+".json" != filepath.Base(file) {
			t.Errorf("%s: its uid is %q", file, d.UID)
		}
		uids[d.UID] = true
		variables := map[string]bool{}
		for _, v := range d.Templating.List {
			variables[v.Name] = true
		}
		for _, p := range d.Panels {
			if p.Type == "row" {
				continue
			}
			where := d.Title + ", " + p.Title
			if p.FieldConfig.Defaults.Unit == "" || len(p.FieldConfig.Defaults.Thresholds.Steps) == 0 || len(p.Targets) == 0 {
				t.Errorf("%s has no unit, thresholds or queries", where)
			}
			for _, target := range p.Targets {
				metricsOf(t, where, target.Expr)
				for _, name := range []string{"job", "source", "topic"} {
					if strings.Contains(target.Expr, "$"+name) && !variables[name] {
						t.Errorf("%s: the dashboard has no variable %s", where, name)
					}
				}
				if left := asked.Replace(target.Expr); strings.Contains(left, "$") {
					t.Errorf("%s: %s", where, left)
				}
			}
		}
	}
}

// keeps reads a dashboard into Grafana's published types, writes it again and prints what is not there any more: keys that the types do not have.
const keeps = `
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
register_default_plugins()
def compare(path, was, is_):
    if isinstance(was, dict):
        for k, v in was.items():
            if k not in is_:
                if v not in (None, False, "", [], {}):
                    print(path + "." + k, "is not in the schema")
            else:
                compare(path + "." + k, v, is_[k])
    elif isinstance(was, list):
        if len(was) != len(is_):
            print(path, "has another length")
        for i, (a, b) in enumerate(zip(was, is_)):
            compare(f"{path}[{i}]", a, b)
    elif was != is_:
        print(path, repr(was), "became", repr(is_))
was = json.load(open(sys.argv[1]))
compare("$", was, json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(was))))
`

// TestSchema reads the dashboards into the types that Grafana publishes of them: nothing may get lost.
func TestSchema(t *testing.T) {
	t.Parallel()
	python := fixture.GrafanaSDK(t)
	for file := range dashboards(t) {
		if out, err := exec.CommandContext(t.Context(), python, "-c", keeps, file).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}
