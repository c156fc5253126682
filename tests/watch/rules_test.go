// Package watch has the tests of what deploy/ gives Prometheus and Grafana, with the real Prometheus and Alertmanager.
package watch

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"headwater/tests/interop/fixture"
)

const (
	root      = "../../"
	rulesFile = root + "deploy/prometheus/headwater.rules.yml"
	testsFile = root + "deploy/prometheus/headwater.test.yml"
)

type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(read(t, rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("there are no rules")
	}
	return all
}

var (
	minutes    = regexp.MustCompile(`(for: |\[)(\d+)m\b`)
	named      = regexp.MustCompile(`headwater_[a-z_]+`)
	documented = regexp.MustCompile(`(?m)^\| (headwater_[a-z_]+) \| (\w+) `)
	ofAll      = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// metricsOf checks that every metric of a query is in docs/metrics.md.
func metricsOf(t *testing.T, where, query string) {
	t.Helper()
	kinds := map[string]string{}
	for _, m := range documented.FindAllStringSubmatch(read(t, root+"docs/metrics.md"), -1) {
		kinds[m[1]] = m[2]
	}
	for _, name := range named.FindAllString(query, -1) {
		if base := ofAll.ReplaceAllString(name, ""); kinds[name] == "" && kinds[base] != "histogram" {
			t.Errorf("%s: docs/metrics.md has no %s", where, name)
		}
	}
}

// TestEveryAlert: an alert has a unit test in which it fires and one in which it does not, a page that says what it is, why and what to do, and asks
// for metrics that there are.
func TestEveryAlert(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, testsFile)), &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, a := range test.AlertRuleTest {
			if len(a.ExpAlerts) > 0 {
				fires[a.Alertname] = true
			} else {
				silent[a.Alertname] = true
			}
		}
	}
	pages := map[string]bool{}
	for _, r := range rules(t) {
		if !fires[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s: it fires in a test: %v, it does not in another: %v", r.Alert, fires[r.Alert], silent[r.Alert])
		}
		metricsOf(t, r.Alert, r.Expr)
		if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s has no severity, summary or description", r.Alert)
		}
		page := r.Annotations["runbook_url"]
		pages[filepath.Base(page)] = true
		if !strings.HasPrefix(page, "docs/runbooks/") {
			t.Errorf("%s: its page is %q", r.Alert, page)
			continue
		}
		text := read(t, root+page)
		for _, want := range []string{r.Alert, "\n## What it means\n", "\n## Why\n", "\n## What to do\n\n1. "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q", page, want)
			}
		}
		metricsOf(t, page, text)
	}
	there, err := filepath.Glob(root + "docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range there {
		if !pages[filepath.Base(page)] {
			t.Errorf("no alert names %s", page)
		}
	}
}

// TestRules has Prometheus' own tool run the unit tests.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool := fixture.Promtool(t)
	for _, args := range [][]string{{"check", "rules", rulesFile}, {"test", "rules", testsFile}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
