package airflow

import (
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

	"headwater/tests/interop/fixture"
)

// limit is how long anything may take on a machine that has much else to do.
const limit = 10 * time.Minute

type dagRun struct {
	ID    string    `json:"dag_run_id"`
	State string    `json:"state"`
	Type  string    `json:"run_type"`
	Start time.Time `json:"data_interval_start"`
}

func (r dagRun) day() string { return r.Start.UTC().Format(time.DateOnly) }

func (r dagRun) over() bool { return r.State == "success" || r.State == "failed" }

type task struct {
	ID      string `json:"task_id"`
	State   string `json:"state"`
	Try     int    `json:"try_number"`
	Retries int    `json:"max_tries"`
}

// flow is Airflow, asked about.
type flow struct{ *fixture.Airflow }

// until waits until what Airflow says of a DAG suits; an error of its API is asked about again. In the end the test fails with what Airflow's logs say.
func until[T any](t *testing.T, f flow, dag, what string, ask func() (T, error), suits func(T) bool) T {
	t.Helper()
	var got T
	var err error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		if got, err = ask(); err == nil && suits(got) {
			return got
		}
	}
	t.Fatalf("%v have passed without %s: %+v, %v\n%s\n%s", limit, what, got, err, f.logs(dag), last(f.Ends()))
	return got
}

// last is the end of a text.
func last(text string) string { return text[max(0, len(text)-30_000):] }

// logs are those of the tasks of a DAG, as the workers and the triggerer have written them.
func (f flow) logs(dag string) string {
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(f.Home, "logs", "dag_id="+dag), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s\n%s\n", path, last(string(text)))
		return err
	})
	if err != nil {
		fmt.Fprintln(&all, err)
	}
	return all.String()
}

// does has something done, again if its database was locked or there is no such DAG yet.
func (f flow) does(t *testing.T, dag, what string, do func() error) {
	t.Helper()
	until(t, f, dag, what, func() (bool, error) { return true, do() }, func(bool) bool { return true })
}

// switchOn has the runs of a DAG begin.
func (f flow) switchOn(t *testing.T, dag string) {
	t.Helper()
	f.does(t, dag, "a DAG that is switched on", func() error {
		return f.Ask(t.Context(), http.MethodPatch, "dags/"+dag, map[string]bool{"is_paused": false}, nil)
	})
}

// trigger begins a run by hand, with its parameters.
func (f flow) trigger(t *testing.T, dag string, conf map[string]string) dagRun {
	t.Helper()
	f.switchOn(t, dag)
	f.does(t, dag, "a run by hand", func() error {
		err := f.Ask(t.Context(), http.MethodPost, "dags/"+dag+"/dagRuns", map[string]any{"dag_run_id": "by-hand", "logical_date": nil, "conf": conf}, nil)
		if err != nil && strings.Contains(err.Error(), "409 Conflict") { // the try before has begun it
			return nil
		}
		return err
	})
	return dagRun{ID: "by-hand"}
}

// runs are those of a DAG, of a type.
func (f flow) runs(t *testing.T, dag, kind string) func() ([]dagRun, error) {
	return func() (of []dagRun, err error) {
		var answer struct {
			Runs []dagRun `json:"dag_runs"`
		}
		err = f.Ask(t.Context(), http.MethodGet, "dags/"+dag+"/dagRuns?limit=100&order_by=run_after", nil, &answer)
		for _, r := range answer.Runs {
			if r.Type == kind {
				of = append(of, r)
			}
		}
		return of, err
	}
}

// scheduled waits for the first scheduled run of a DAG.
func (f flow) scheduled(t *testing.T, dag string, suits func(dagRun) bool) dagRun {
	t.Helper()
	return until(t, f, dag, "a scheduled run of "+dag, f.runs(t, dag, "scheduled"), func(all []dagRun) bool { return len(all) > 0 && suits(all[0]) })[0]
}

// ends waits for the end of the first run of a type of a DAG.
func (f flow) ends(t *testing.T, dag, kind, state string) dagRun {
	t.Helper()
	r := until(t, f, dag, "an end of "+dag, f.runs(t, dag, kind), func(all []dagRun) bool { return len(all) > 0 && all[0].over() })[0]
	if r.State != state {
		t.Errorf("the run of %s is %s, want %s\n%s", dag, r.State, state, f.logs(dag))
	}
	return r
}

func (f flow) path(dag string, r dagRun) string {
	return "dags/" + dag + "/dagRuns/" + url.PathEscape(r.ID)
}

// task waits for a task of a run to be as it should.
func (f flow) task(t *testing.T, dag string, r dagRun, id, what string, suits func(task) bool) task {
	t.Helper()
	return until(t, f, dag, what, func() (of task, err error) {
		err = f.Ask(t.Context(), http.MethodGet, f.path(dag, r)+"/taskInstances/"+id, nil, &of)
		return of, err
	}, suits)
}

// says waits for words in the log of a try of a task, as the API gives it.
func (f flow) says(t *testing.T, dag string, r dagRun, id string, try int, words ...string) {
	t.Helper()
	path := fmt.Sprintf("%s/taskInstances/%s/logs/%d?full_content=true", f.path(dag, r), id, try)
	until(t, f, dag, fmt.Sprintf("a log of %s of %s, try %d, with %q", id, dag, try, words), f.text(t, path), has(words))
}

// text is what the API answers.
func (f flow) text(t *testing.T, path string) func() (string, error) {
	return func() (text string, err error) {
		err = f.Ask(t.Context(), http.MethodGet, path, nil, &text)
		return text, err
	}
}

// has tells whether a text has all words.
func has(words []string) func(string) bool {
	return func(text string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
	}
}
