// Package airflow has Apache Airflow run Headwater's days by the package of deploy/airflow.
package airflow

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/web"
	"headwater/table/hivefault"
	"headwater/table/metastore"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// market is a pipeline that runs while Airflow has its days made.
const market = `
database: market
scheduler: airflow
close: {after: 0s}
land: {rotate.schedule.interval.ms: 200}
serialize: {schedule: "", parallel: 4}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
sources:
  green: {external: {topic: green_raw}}
  past: {external: {topic: past_raw}}
  damaged: {external: {topic: damaged_raw}}
  stopped: {external: {topic: stopped_raw}}
  mine: {external: {topic: mine_raw}, scheduler: internal}
  later: {external: {topic: later_raw}, close: {after: 480h}}
`

// distant is a pipeline that lands when it ends, and whose metastore is not always there.
const distant = `
database: distant
scheduler: airflow
close: {after: 0s}
land: {rotate.interval.ms: 3600000, rotate.schedule.interval.ms: 3600000}
hive: {uris: ["thrift://%s"]}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
sources:
  slow: {external: {topic: slow_raw}}
`

// own is a file of DAGs that somebody has written with the operators of the package.
const own = `
from airflow.sdk import DAG
from headwater_airflow.operators import HeadwaterSerializeOperator

for name in ("mine", "later"):
    with DAG(dag_id=f"own_{name}", default_args={"retries": 100, "retry_delay": 1}) as dag:
        HeadwaterSerializeOperator(task_id="serialize", pipeline=%q, source=name, day=%q, reschedule_after=15)
    globals()[dag.dag_id] = dag
`

// quick are the settings that all DAG files have. The hour is far from now, so that there is one scheduled run.
const quick = `
pipeline: pipeline.yaml
schedule: "0 %d * * *"
retries: 100
retry_delay: 1s
max_retry_delay: 5s
poll: 1s
wait_timeout: 1h
`

// each is how many records a day has.
const each = 10

// start runs a pipeline, and returns when it serves.
func start(t *testing.T, yaml string) (p binary.Pipeline, running *binary.Process, at web.Listen) {
	t.Helper()
	p = binary.New(t, binary.Build(t), yaml)
	running = p.Start(t, nil, "run")
	binary.EventuallyOr(t, "a broker", func() bool {
		at = statusOf(t, p).Listen
		return at.Kafka != ""
	}, running.Stderr)
	return p, running, at
}

func statusOf(t *testing.T, p binary.Pipeline) (s web.Status) {
	t.Helper()
	if err := json.Unmarshal([]byte(p.Run(t, nil, "status", "--json").Must(t)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// produce has the topic of a source get the records of days.
func produce(t *testing.T, broker, source string, days []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.AllowAutoTopicCreation(), kgo.DisableClientMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var records []*kgo.Record
	for _, day := range days {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		for n := range each {
			value := fmt.Appendf(nil, `{"raw_data":{"id":%d,"of":%q},"metadata":{},"ingestion_timestamp":%d}`, n, day, at.Add(time.Duration(n)*time.Second).UnixMilli())
			records = append(records, &kgo.Record{Topic: source + "_raw", Value: value})
		}
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// lands waits until so many records have landed.
func lands(t *testing.T, p binary.Pipeline, records int) {
	t.Helper()
	binary.Eventually(t, "landing", func() bool {
		var landed int64
		for _, topic := range statusOf(t, p).Topics {
			landed += topic.Records
		}
		return landed == int64(records)
	})
}

// hasDays checks that both tables of a source have the records of these days, in their table partitions, and no others.
func hasDays(t *testing.T, p binary.Pipeline, database, source string, days ...string) {
	t.Helper()
	var want strings.Builder
	for _, day := range slices.Sorted(slices.Values(days)) {
		fmt.Fprintf(&want, "%[1]s,%[1]s,%[2]d,%[2]d\n", day, each)
	}
	for table, data := range map[string]string{source: "", source + "_raw": "raw_data."} {
		query := fmt.Sprintf("select make_date(year, month, day) d, %[1]sof o, count(*), count(distinct %[1]sid) from %[2]s.%[3]s group by all order by all", data, database, table)
		_, got, _ := strings.Cut(p.Run(t, nil, "query", "--format", "csv", query).Must(t), "\n")
		if diff := cmp.Diff(want.String(), got); diff != "" {
			t.Errorf("%s.%s has other days (-want +got):\n%s", database, table, diff)
		}
	}
}

// dagFile has Airflow make the DAGs of a pipeline.
func dagFile(t *testing.T, home string, p binary.Pipeline, name, settings string) {
	t.Helper()
	p.Write(t, name+".yaml", fmt.Appendf(nil, quick+"%s", time.Now().UTC().Add(12*time.Hour).Hour(), settings))
	write(t, filepath.Join(home, "dags", name+".py"), "from headwater_airflow.dags import make_dags\nfrom headwater_airflow.settings import load\n\nglobals().update(make_dags(load(%q)))\n", filepath.Join(p.Dir, name+".yaml"))
}

func write(t *testing.T, path, text string, args ...any) {
	t.Helper()
	if err := os.WriteFile(path, fmt.Appendf(nil, text, args...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// atWork are the processes of a command on a pipeline.
func atWork(p binary.Pipeline, words ...string) (all []string) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		line, err := os.ReadFile(name) // none: it has ended
		if err == nil && strings.Contains(string(line), "\x00"+strings.Join(append([]string{words[0], p.File}, words[1:]...), "\x00")) {
			all = append(all, name)
		}
	}
	return all
}

// TestAirflow: a real Airflow has the days of sources made, each of which meets something else.
func TestAirflow(t *testing.T) {
	python := fixture.AirflowPython(t, 3)
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, "dags"), 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	before := func(days ...int) (all []string) {
		for _, n := range days {
			all = append(all, now.AddDate(0, 0, -n).Format(time.DateOnly))
		}
		return all
	}
	// A scheduled run is of the day before, or of the one before that if the hour of the schedule is later; and midnight may come.
	recent, old := before(2, 1, 0), before(44, 43, 42, 41, 40)

	shop, _, at := start(t, market)
	landed := 0
	land := func(source string, days []string) {
		produce(t, at.Kafka, source, days)
		landed += each * len(days)
	}
	for _, source := range []string{"green", "damaged", "stopped", "mine", "later", "past"} {
		land(source, recent)
	}
	land("past", old)
	lands(t, shop, landed)
	for _, day := range recent {
		objects, _ := filepath.Glob(filepath.Join(shop.Dir, "headwater-data/raw/topics/damaged_raw/date="+day, "*.json.gz"))
		if len(objects) == 0 {
			t.Fatalf("%s has no object", day)
		}
		if err := os.Truncate(objects[0], 50); err != nil {
			t.Fatal(err)
		}
	}
	for _, day := range recent {
		shop.Run(t, nil, "serialize", "--source", "stopped", "--date", day).Must(t)
	}
	land("stopped", recent) // the next try replaces what is there, for which it waits for the table's lock
	lands(t, shop, landed)
	held, err := os.Create(filepath.Join(shop.Dir, "headwater-data/tables/market/stopped_raw/_lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	var away atomic.Bool
	hive, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "hive.db"), Addr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer hive.Close()
	proxy, err := hivefault.New(hivefault.Options{Target: hive.Addr(), Fault: func(string) hivefault.Fault {
		if away.Load() {
			return hivefault.Lost
		}
		return hivefault.None
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	far, landing, distantly := start(t, fmt.Sprintf(distant, proxy.Addr()))
	produce(t, distantly.Kafka, "slow", recent)

	dagFile(t, home, shop, "shop", "")
	dagFile(t, home, shop, "older", "dag_id: daily_{source}\ntask_ids: {wait: \"{source}_closed\", serialize: \"{source}_load\"}\nmarkers: [\"{source}_flat\"]\naudit: false\n")
	dagFile(t, home, far, "far", "")
	write(t, filepath.Join(home, "dags", "own.py"), own, shop.File, recent[0])
	connection, err := json.Marshal(map[string]any{"conn_type": "headwater", "extra": map[string]any{"program": shop.Bin}})
	if err != nil {
		t.Fatal(err)
	}
	installed := wheel(t, python)
	f := flow{fixture.NewAirflow(t, python, home, []string{"PYTHONPATH=" + installed, "AIRFLOW_CONN_HEADWATER_DEFAULT=" + string(connection)})}
	for _, dag := range []string{"headwater_slow", "headwater_stopped", "headwater_green", "headwater_damaged", "daily_past"} {
		f.switchOn(t, dag)
	}
	later, mine := f.trigger(t, "own_later", nil), f.trigger(t, "own_mine", nil)

	step := func(name string, do func(t *testing.T)) {
		if !t.Failed() { // otherwise it would wait for an Airflow that has ended
			t.Run(name, do)
		}
	}
	step("not closed", func(t *testing.T) {
		r := f.scheduled(t, "headwater_slow", func(dagRun) bool { return true })
		f.task(t, "headwater_slow", r, "wait", "a task that waits in the triggerer", func(w task) bool { return w.State == "deferred" })
		f.says(t, "headwater_slow", r, "wait", 1, "slow_raw partition 0", "headwater_airflow.triggers")
		if found, _ := filepath.Glob(filepath.Join(far.Dir, "headwater-data/tables/distant/*/year=*")); len(found) > 0 {
			t.Errorf("before the day closes there is %v", found)
		}
		away.Store(true)
		if err := landing.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	})
	step("stopped", func(t *testing.T) {
		commands := func() ([]string, error) { return atWork(shop, "serialize", "--source", "stopped"), nil }
		until(t, f, "headwater_stopped", "a command at work", commands, func(all []string) bool { return len(all) > 0 })
		r := f.scheduled(t, "headwater_stopped", func(r dagRun) bool { return r.State == "running" })
		f.does(t, "headwater_stopped", "a run that is stopped", func() error {
			return f.Ask(t.Context(), http.MethodPatch, f.path("headwater_stopped", r), map[string]string{"state": "failed"}, nil)
		})
		until(t, f, "headwater_stopped", "the end of the command", commands, func(all []string) bool { return len(all) == 0 })
	})
	step("transient", func(t *testing.T) {
		landing.Wait(t, limit).Must(t)
		r := f.scheduled(t, "headwater_slow", func(dagRun) bool { return true })
		f.says(t, "headwater_slow", r, "serialize", 1, "exit code 4, something that may pass by itself")
		away.Store(false)
		f.ends(t, "headwater_slow", "scheduled", "success")
		if s := f.task(t, "headwater_slow", r, "serialize", "serialize", func(task) bool { return true }); s.Try < 2 {
			t.Errorf("it was done in try %d, want a later one", s.Try)
		}
		hasDays(t, far, "distant", "slow", r.day())
		if lacks := far.UnregisteredAt(t, hive.Addr()); lacks != "" {
			t.Error(lacks)
		}
	})
	step("by hand", func(t *testing.T) {
		scheduled := f.ends(t, "headwater_slow", "scheduled", "success").day()
		day := recent[slices.IndexFunc(recent, func(day string) bool { return day != scheduled })]
		r := f.trigger(t, "headwater_slow", map[string]string{"day": day})
		f.ends(t, "headwater_slow", "manual", "success")
		f.says(t, "headwater_slow", r, "serialize", 1, "level=INFO msg=serialized source=slow day="+day)
		hasDays(t, far, "distant", "slow", day, scheduled)
	})
	step("green", func(t *testing.T) {
		r := f.ends(t, "headwater_green", "scheduled", "success")
		hasDays(t, shop, "market", "green", r.day())
		f.says(t, "headwater_green", r, "serialize", 1, "running "+shop.Bin+" serialize "+shop.File, `rows\":10`)
		f.says(t, "headwater_green", r, "audit", 1, "0 differences, 0 unknown")
		wants := []string{`"headwater://market/green_raw"`, `"headwater://market/green"`, fmt.Sprintf(`"day":%q`, r.day()), `"rows":10`, `"total_entries":2`}
		until(t, f, "headwater_green", fmt.Sprintf("events with %q", wants), f.text(t, "assets/events?source_dag_id=headwater_green"), has(wants))
		until(t, f, "headwater_green", "no DAG file that cannot be imported", f.text(t, "importErrors"), has([]string{`"total_entries":0`}))
	})
	step("connection", func(t *testing.T) {
		var at struct{ HTTP, Token string }
		text, err := os.ReadFile(filepath.Join(shop.Dir, "headwater-data/run.json"))
		if err == nil {
			err = json.Unmarshal(text, &at)
		}
		if err != nil {
			t.Fatal(err)
		}
		host, port, _ := strings.Cut(at.HTTP, ":")
		connection, err := json.Marshal(map[string]any{"conn_type": "headwater", "host": host, "port": port, "password": at.Token, "extra": map[string]any{"program": shop.Bin}})
		if err != nil {
			t.Fatal(err)
		}
		// The proxy is one that does not answer: what has the token asks directly.
		env := append(fixture.AirflowEnv(python, t.TempDir()), "PYTHONPATH="+installed, "AIRFLOW_CONN_RUNNING="+string(connection), "http_proxy=http://127.0.0.1:1", "no_proxy=")
		out := run(t, env, python, "-c", "from headwater_airflow.hook import HeadwaterHook\nprint(HeadwaterHook('running').test_connection())")
		if !strings.Contains(out, "(True, ") || !strings.Contains(out, " is running") {
			t.Errorf("the test of the connection says %s", out)
		}
	})
	step("data error", func(t *testing.T) {
		r := f.ends(t, "headwater_damaged", "scheduled", "failed")
		s := f.task(t, "headwater_damaged", r, "serialize", "an end", func(s task) bool { return s.State == "failed" })
		if s.Try != 1 || s.Retries == 0 {
			t.Errorf("it is %+v, want failed in the first of several tries", s)
		}
		f.says(t, "headwater_damaged", r, "serialize", 1, "exit code 3, the data", "is damaged or cut short")
	})
	step("refused", func(t *testing.T) {
		r := f.ends(t, "own_mine", "manual", "failed")
		f.says(t, "own_mine", mine, "serialize", 1, "exit code 2", "source mine is not Airflow's to make: its scheduler is internal")
		if s := f.task(t, "own_mine", r, "serialize", "an end", func(s task) bool { return s.State == "failed" }); s.Try != 1 {
			t.Errorf("it is %+v, want failed in the first of several tries", s)
		}
	})
	step("backfill", func(t *testing.T) {
		scheduled := f.ends(t, "daily_past", "scheduled", "success")
		f.does(t, "daily_past", "a backfill", func() error {
			out, err := f.Run("backfill", "create", "--dag-id", "daily_past", "--from-date", old[0], "--to-date", old[4]+"T23:00:00", "--max-active-runs", "3")
			if err != nil {
				err = fmt.Errorf("%w\n%s", err, last(out))
			}
			return err
		})
		made := until(t, f, "daily_past", "five runs of a backfill", f.runs(t, "daily_past", "backfill"), func(all []dagRun) bool {
			return len(all) == 5 && !slices.ContainsFunc(all, func(r dagRun) bool { return !r.over() })
		})
		for _, r := range made {
			if r.State != "success" {
				t.Errorf("the backfill of %s is %s", r.day(), r.State)
			}
			for _, id := range []string{"past_closed", "past_load", "past_flat"} {
				if s := f.task(t, "daily_past", r, id, id, func(task) bool { return true }); s.State != "success" {
					t.Errorf("%s of %s is %s", id, r.day(), s.State)
				}
			}
		}
		hasDays(t, shop, "market", "past", append(old, scheduled.day())...)
	})
	step("rescheduled", func(t *testing.T) {
		f.says(t, "own_later", later, "serialize", 1, "the day is not closed yet")
		f.task(t, "own_later", later, "serialize", "a task that is rescheduled", func(s task) bool { return s.State == "up_for_reschedule" })
		shop.Write(t, "pipeline.yaml", []byte(strings.ReplaceAll(market, "480h", "0s")))
		f.ends(t, "own_later", "manual", "success")
		hasDays(t, shop, "market", "later", recent[0])
	})
}
