// Package airflow has Apache Airflow run Headwater's days by the package of deploy/airflow.
package airflow

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// limit is how long anything may take on a machine that has much else to do.
const limit = 20 * time.Minute

// site is a pipeline with one source, whose name is its own, and the DAG file for it.
type site struct {
	binary.Pipeline
	source string
}

// program is what Airflow runs in the place of Headwater: the test's part first, then Headwater.
const program = `#!/bin/sh
dir=%q
headwater=%q
%s
exec "$headwater" "$@"
`

// newSite has the days' objects in its lake. First is the part of the program that comes first.
func newSite(t *testing.T, home, source, settings, first string, days []string) (s site, env []string) {
	t.Helper()
	s = site{binary.New(t, binary.Build(t), pipelineOf(source)), source}
	s.Write(t, "dags.yaml", fmt.Appendf(nil, "pipeline: pipeline.yaml\nconn_id: %s\nretry_delay: 1s\nmax_retry_delay: 5s\npoll: 1s\nwait_timeout: 1h\n%s", source, settings))
	s.Write(t, "program", fmt.Appendf(nil, program, s.Dir, s.Bin, first))
	if err := os.Chmod(filepath.Join(s.Dir, "program"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, day := range days {
		objects(t, s.Pipeline, source, day)
	}
	dag := fmt.Sprintf("from headwater_airflow.dags import make_dags\nfrom headwater_airflow.settings import load\n\nglobals().update(make_dags(load(%q)))\n", filepath.Join(s.Dir, "dags.yaml"))
	if err := os.WriteFile(filepath.Join(home, "dags", source+".py"), []byte(dag), 0o600); err != nil {
		t.Fatal(err)
	}
	connection, err := json.Marshal(map[string]any{"conn_type": "headwater", "extra": map[string]any{"program": filepath.Join(s.Dir, "program")}})
	if err != nil {
		t.Fatal(err)
	}
	return s, []string{"AIRFLOW_CONN_" + strings.ToUpper(source) + "=" + string(connection)}
}

func pipelineOf(source string) string {
	return fmt.Sprintf("database: air\nlisten: {http: \"127.0.0.1:0\", kafka: \"127.0.0.1:0\", hive: \"127.0.0.1:0\"}\nsources:\n  %s: {scheduler: airflow, file: {path: \"in/*\"}}\n", source)
}

// objects writes the two objects of a day.
func objects(t *testing.T, p binary.Pipeline, source, day string) {
	t.Helper()
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		var data bytes.Buffer
		z := gzip.NewWriter(&data)
		for i := range 10 {
			fmt.Fprintf(z, `{"raw_data":{"id":%d,"of":%q},"metadata":{"thread_id":0,"host_name":"h","process_start_time":""},"ingestion_timestamp":%d}`+"\n", 10*n+i, day, at.Add(time.Hour).UnixMilli())
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		p.Write(t, fmt.Sprintf("headwater-data/raw/topics/%[1]s_raw/date=%[2]s/%[1]s_raw+0+%010[3]d.json.gz", source, day, 10*n+20*int(at.Unix()/86400)), data.Bytes())
	}
}

// tables are the Parquet files of a pipeline, by path, with their hashes.
func tables(t *testing.T, p binary.Pipeline) map[string]string {
	t.Helper()
	all, root := map[string]string{}, filepath.Join(p.Dir, "headwater-data/tables")
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".parquet") {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, root)] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// hasDays checks that the tables of the site have these days and no others, and are those that Headwater alone makes of the same objects.
func (s site) hasDays(t *testing.T, days ...string) {
	t.Helper()
	alone := binary.New(t, s.Bin, pipelineOf(s.source))
	for _, day := range days {
		objects(t, alone, s.source, day)
		alone.Run(t, nil, "serialize", "--source", s.source, "--date", day).Must(t)
	}
	want := tables(t, alone)
	if len(want) != 2*len(days) {
		t.Fatalf("Headwater alone makes %d files of %d days", len(want), len(days))
	}
	if diff := cmp.Diff(want, tables(t, s.Pipeline)); diff != "" {
		t.Errorf("the tables under Airflow are others (-want +got):\n%s", diff)
	}
}

type dagRun struct {
	ID    string    `json:"dag_run_id"`
	State string    `json:"state"`
	Type  string    `json:"run_type"`
	Start time.Time `json:"data_interval_start"`
}

func (r dagRun) day() string { return r.Start.UTC().Format(time.DateOnly) }

type task struct {
	ID      string `json:"task_id"`
	State   string `json:"state"`
	Try     int    `json:"try_number"`
	Retries int    `json:"max_tries"`
}

// flow is Airflow, asked about.
type flow struct{ *fixture.Airflow }

// until waits until what Airflow says suits; an error of its API is asked about again.
func until[T any](t *testing.T, what string, ask func() (T, error), suits func(T) bool) T {
	t.Helper()
	var got T
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if got, err = ask(); err == nil && suits(got) {
			return got
		}
	}
	t.Fatalf("%v have passed without %s: %+v, %v", limit, what, got, err)
	return got
}

// runs are those of a source's DAG.
func (f flow) runs(t *testing.T, source, kind string) func() ([]dagRun, error) {
	return func() (of []dagRun, err error) {
		var answer struct {
			Runs []dagRun `json:"dag_runs"`
		}
		err = f.Ask(t.Context(), http.MethodGet, "dags/headwater_"+source+"/dagRuns?limit=100", nil, &answer)
		for _, r := range answer.Runs {
			if r.Type == kind {
				of = append(of, r)
			}
		}
		return of, err
	}
}

// scheduled waits for the scheduled run of a source.
func (f flow) scheduled(t *testing.T, source string, suits func(dagRun) bool) dagRun {
	t.Helper()
	return until(t, "a scheduled run of "+source, f.runs(t, source, "scheduled"), func(all []dagRun) bool { return len(all) > 0 && suits(all[0]) })[0]
}

// ends waits for the end of the scheduled run of a source.
func (f flow) ends(t *testing.T, source, state string) dagRun {
	t.Helper()
	r := f.scheduled(t, source, func(r dagRun) bool { return r.State == "success" || r.State == "failed" })
	if r.State != state {
		t.Errorf("the run of %s is %s, want %s", source, r.State, state)
		for _, task := range f.tasks(t, source, r) {
			t.Logf("%+v\n%s", task, f.log(t, source, r, task.ID, task.Try))
		}
	}
	return r
}

// tasks are those of a run by their ids.
func (f flow) tasks(t *testing.T, source string, r dagRun) map[string]task {
	t.Helper()
	return until(t, "the tasks of "+source, func() (map[string]task, error) {
		var answer struct {
			Tasks []task `json:"task_instances"`
		}
		err := f.Ask(t.Context(), http.MethodGet, f.path(source, r)+"/taskInstances", nil, &answer)
		all := map[string]task{}
		for _, task := range answer.Tasks {
			all[task.ID] = task
		}
		return all, err
	}, func(map[string]task) bool { return true })
}

func (f flow) path(source string, r dagRun) string {
	return "dags/headwater_" + source + "/dagRuns/" + url.PathEscape(r.ID)
}

// log is that of a try of a task.
func (f flow) log(t *testing.T, source string, r dagRun, id string, try int) string {
	t.Helper()
	var text string
	path := fmt.Sprintf("%s/taskInstances/%s/logs/%d?full_content=true", f.path(source, r), id, try)
	if err := f.Ask(t.Context(), http.MethodGet, path, nil, &text); err != nil {
		return err.Error()
	}
	return text
}

// standIn answers the commands that Headwater has not.
const standIn = `case $1 in
day) [ -e "$dir/closed" ] && exit 0; echo "$5 waits for a file"; exit 5 ;;
audit) exit 0 ;;
esac
`

// TestAirflow: a real Airflow runs days of sources each of which meets something else.
func TestAirflow(t *testing.T) {
	asked(t)
	python := fixture.AirflowPython(t, 3)
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "dags"), 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	dayBefore := func(n int) string { return now.AddDate(0, 0, -n).Format(time.DateOnly) }
	recent, old := []string{dayBefore(0), dayBefore(1), dayBefore(2)}, []string{dayBefore(44), dayBefore(43), dayBefore(42), dayBefore(41), dayBefore(40)}
	env := []string{"PYTHONPATH=" + wheel(t, python)}
	add := func(source, settings, first string, days []string) site {
		s, connection := newSite(t, home, source, settings, first+standIn, days)
		env = append(env, connection...)
		return s
	}
	green := add("green", "", "", recent)
	slow := add("slow", "audit: false\n", "", recent)
	// Another process has the data folder when the first try comes.
	locked := add("locked", "audit: false\n", `if [ "$1" = serialize ] && mkdir "$dir/tried" 2>/dev/null; then exec flock "$dir/headwater-data/lock" "$headwater" "$@"; fi`+"\n", recent)
	damaged := add("damaged", "audit: false\n", "", nil)
	for _, day := range recent {
		damaged.Write(t, fmt.Sprintf("headwater-data/raw/topics/damaged_raw/date=%s/damaged_raw+0+0000000000.json.gz", day), []byte("\x1f\x8b\x08"))
	}
	stopped := add("stopped", "audit: false\n", `if [ "$1" = serialize ]; then
	trap 'echo "level=INFO msg=drained" >&2; mkdir "$dir/drained"; exit 143' TERM
	echo "level=INFO msg=working" >&2
	mkdir "$dir/working"
	while :; do sleep 0.1; done
fi
`, recent)
	past := add("past", "audit: false\nmarkers: [\"{source}_flat\"]\n", "", append(slices.Clone(recent), old...))
	for _, s := range []site{green, locked, damaged, stopped, past} {
		s.Write(t, "closed", nil)
	}
	f := flow{fixture.NewAirflow(t, python, home, env)}
	for _, s := range []site{green, slow, locked, damaged, stopped, past} {
		until(t, "the DAG of "+s.source, func() (bool, error) {
			err := f.Ask(t.Context(), http.MethodPatch, "dags/headwater_"+s.source, map[string]bool{"is_paused": false}, nil)
			return err == nil, err
		}, func(done bool) bool { return done })
	}

	t.Run("green", func(t *testing.T) {
		r := f.ends(t, "green", "success")
		green.hasDays(t, r.day())
		if log := f.log(t, "green", r, "serialize", 1); !strings.Contains(log, "msg=serialized source=green day="+r.day()) {
			t.Errorf("the log has not what Headwater says:\n%s", log)
		}
		var events string
		if err := f.Ask(t.Context(), http.MethodGet, "assets/events?source_dag_id=headwater_green", nil, &events); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(events, "headwater://air/green_raw") || !strings.Contains(events, "headwater://air/green\"") || !strings.Contains(events, fmt.Sprintf(`"day":"%s"`, r.day())) {
			t.Errorf("the events are %s", events)
		}
		var faults struct {
			Total int `json:"total_entries"`
		}
		if err := f.Ask(t.Context(), http.MethodGet, "importErrors", nil, &faults); err != nil || faults.Total != 0 {
			t.Errorf("%d DAG files cannot be imported, %v", faults.Total, err)
		}
	})
	t.Run("backfill", func(t *testing.T) {
		scheduled := f.ends(t, "past", "success")
		f.Run("backfill", "create", "--dag-id", "headwater_past", "--from-date", old[0], "--to-date", old[4]+"T23:00:00", "--max-active-runs", "1")
		made := until(t, "five runs of a backfill", f.runs(t, "past", "backfill"), func(all []dagRun) bool {
			return len(all) == 5 && !slices.ContainsFunc(all, func(r dagRun) bool { return r.State != "success" && r.State != "failed" })
		})
		for _, r := range made {
			if r.State != "success" {
				t.Errorf("the backfill of %s is %s", r.day(), r.State)
			}
			if task := f.tasks(t, "past", r)["past_flat"]; task.State != "success" {
				t.Errorf("the marker of %s is %s", r.day(), task.State)
			}
		}
		past.hasDays(t, append(old, scheduled.day())...)
	})
	t.Run("transient", func(t *testing.T) {
		r := f.ends(t, "locked", "success")
		if task := f.tasks(t, "locked", r)["serialize"]; task.Try < 2 {
			t.Errorf("it was done in try %d, want a later one", task.Try)
		}
		if log := f.log(t, "locked", r, "serialize", 1); !strings.Contains(log, "exit code 7, another process has the data folder") {
			t.Errorf("the first try says %s", log)
		}
		locked.hasDays(t, r.day())
	})
	t.Run("data error", func(t *testing.T) {
		r := f.ends(t, "damaged", "failed")
		if task := f.tasks(t, "damaged", r)["serialize"]; task.State != "failed" || task.Try != 1 || task.Retries == 0 {
			t.Errorf("it is %+v, want failed in the first of several tries", task)
		}
		if log := f.log(t, "damaged", r, "serialize", 1); !strings.Contains(log, "exit code 3") || !strings.Contains(log, "is damaged or cut short") {
			t.Errorf("the try says %s", log)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		exists := func(name string) func() (bool, error) {
			return func() (bool, error) { _, err := os.Stat(filepath.Join(stopped.Dir, name)); return err == nil, err }
		}
		until(t, "a command at work", exists("working"), func(is bool) bool { return is })
		r := f.scheduled(t, "stopped", func(r dagRun) bool { return r.State == "running" })
		until(t, "a line of what the command says", func() (string, error) { return f.log(t, "stopped", r, "serialize", 1), nil }, func(log string) bool {
			return strings.Contains(log, "msg=working")
		})
		if err := f.Ask(t.Context(), http.MethodPatch, f.path("stopped", r), map[string]string{"state": "failed"}, nil); err != nil {
			t.Fatal(err)
		}
		until(t, "the end of the command by SIGTERM", exists("drained"), func(is bool) bool { return is })
	})
	t.Run("not closed", func(t *testing.T) {
		r := f.scheduled(t, "slow", func(dagRun) bool { return true })
		until(t, "a task that waits in the triggerer", func() (task, error) { return f.tasks(t, "slow", r)["wait"], nil }, func(w task) bool { return w.State == "deferred" })
		if made := tables(t, slow.Pipeline); len(made) != 0 {
			t.Errorf("before the day closes there is %v", made)
		}
		slow.Write(t, "closed", nil)
		f.ends(t, "slow", "success")
		slow.hasDays(t, r.day())
	})
}
