package flow

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/internal/crash"
	"headwater/internal/runs"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// days3 has three sources whose records are of the days that they say.
const days3 = `
database: db
sources:
  a: {external: {topic: a_raw, timestamp: ms}}
  b: {external: {topic: b_raw, timestamp: ms}}
  c: {external: {topic: c_raw, timestamp: ms}}
land: {rotate.schedule.interval.ms: 200}
close: {after: 0s}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`

// record is one of a day so many days ago.
func record(n, ago int) string {
	return fmt.Sprintf(`{"raw_data":{"n":%d},"metadata":{},"ingestion_timestamp":%d}`, n, time.Now().AddDate(0, 0, -ago).UnixMilli())
}

// fill has the pipeline land records of so many days before today in each of its topics, and ends it.
func fill(t *testing.T, p binary.Pipeline, topics string, days, each int) (records int) {
	t.Helper()
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "a broker", func() bool { return statusOf(t, p).Listen.Kafka != "" })
	var values []string
	for ago := 1; ago <= days; ago++ {
		for range each {
			values = append(values, record(len(values), ago))
		}
	}
	for _, topic := range topics {
		produce(t, statusOf(t, p).Listen.Kafka, string(topic)+"_raw", values...)
	}
	binary.Eventually(t, "landing", func() bool {
		landed := int64(0)
		for _, x := range statusOf(t, p).Topics {
			landed += x.Records
		}
		return landed == int64(len(values)*len(topics))
	})
	if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	proc.Wait(t, 3*time.Minute).Must(t)
	return len(values)
}

// runsOf are the runs of a pipeline, the newest first.
func runsOf(t *testing.T, p binary.Pipeline, args ...string) (all []runs.Run) {
	t.Helper()
	out := p.Run(t, nil, "runs ls", append([]string{"--json", "--limit", "0"}, args...)...).Must(t)
	for line := range strings.Lines(out) {
		var r runs.Run
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// once fails unless both tables of the sources have every record once.
func onceEach(t *testing.T, p binary.Pipeline, sources string, records int) {
	t.Helper()
	for _, s := range sources {
		for _, column := range []string{"n) from db." + string(s), "raw_data.n) from db." + string(s) + "_raw"} {
			out := p.Run(t, nil, "query", "--format", "csv", "select count(*), count(distinct "+column).Must(t)
			if want := fmt.Sprintf("%d,%d", records, records); !strings.Contains(out, want) {
				t.Errorf("%s: %s, want %s", column, out, want)
			}
		}
	}
}

// TestBackfillDays makes 30 days of three sources, is interrupted and goes on.
func TestBackfillDays(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), days3+"serialize: {schedule: \"\", parallel: 2}\n")
	const days = 30
	records := fill(t, p, "abc", days, 3)
	from, to := time.Now().UTC().AddDate(0, 0, -days).Format(time.DateOnly), time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	dates := []string{"--from", from, "--to", to}
	if out := p.Run(t, nil, "backfill", append(dates, "--dry-run")...).Must(t); !strings.Contains(out, "90 of 90 days that have objects need something") {
		t.Error(out)
	}
	if all := runsOf(t, p); len(all) != 0 {
		t.Errorf("a dry run has made %v", all)
	}
	proc := p.Start(t, nil, "backfill", dates...)
	binary.Eventually(t, "a day to be made", func() bool { return strings.Contains(proc.Stderr(), "a run is done") })
	if err := proc.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if r := proc.Wait(t, 3*time.Minute); r.Code != 130 || !strings.Contains(r.Stderr, "the same command goes on with it") {
		t.Errorf("code %d\n%s", r.Code, r.Stderr)
	}
	done := len(runsOf(t, p, "--state", "done"))
	if waiting := runsOf(t, p, "--state", "waiting"); len(waiting) != 0 || done == 0 || done == 3*days {
		t.Errorf("%d are done, %v wait", done, waiting)
	}
	r := p.Run(t, nil, "backfill", dates...)
	var made, all, unneeded int
	if n, err := fmt.Sscanf(r.Must(t), "%d of %d days are made, with", &made, &all); n != 2 || made != all || made == 0 {
		t.Errorf("%v: %s", err, r.Stdout)
	}
	_, rest, _ := strings.Cut(r.Stdout, "; ")
	// A day that was published when the interruption came may not have been written down as done.
	if n, err := fmt.Sscanf(rest, "%d more needed nothing", &unneeded); n != 1 || unneeded < done || made+unneeded != 3*days {
		t.Errorf("%v, %d were done: %s", err, done, r.Stdout)
	}
	if !strings.Contains(r.Stderr, fmt.Sprintf("%d of %d days", all, all)) {
		t.Errorf("there is no progress\n%s", r.Stderr)
	}
	onceEach(t, p, "abc", records)
	if out := p.Run(t, nil, "backfill", dates...).Must(t); !strings.Contains(out, "0 of 90 days that have objects need something") {
		t.Error(out)
	}

	last := runsOf(t, p, "--state", "done")[0]
	if out := p.Run(t, nil, "runs logs", strconv.FormatInt(last.ID, 10)).Must(t); !strings.Contains(out, "a run begins") || !strings.Contains(out, "serialized") {
		t.Error(out)
	}
	if out := p.Run(t, nil, "runs retry", strconv.FormatInt(last.ID, 10)).Must(t); !strings.Contains(out, "1 of 1 days are made") {
		t.Error(out)
	}
	if r := p.Run(t, nil, "runs cancel", strconv.FormatInt(last.ID, 10)); r.Code != 2 {
		t.Errorf("code %d, %s", r.Code, r.Stderr)
	}
}

// TestScheduleKilled kills a process at every point of a run and at random, and has the last one make what is missing.
func TestScheduleKilled(t *testing.T) {
	t.Parallel()
	kills := 6
	if n, err := strconv.Atoi(os.Getenv("HEADWATER_KILLS")); err == nil {
		kills = max(kills, n/5)
	}
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("HEADWATER_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("HEADWATER_SEED=%d, %d kills", seed, kills)
	random := rand.New(rand.NewPCG(seed, 9))
	p := binary.New(t, binary.Build(t), days3+"serialize: {schedule: \"\", retries: {max: 100}}\n")
	records := fill(t, p, "ab", kills+6, 2)
	p.Write(t, "pipeline.yaml", []byte(days3+"serialize: {schedule: \"10 0 * * *\", retries: {max: 100}}\n"))
	var points []string
	for _, point := range crash.Points {
		if strings.HasPrefix(point, "runs.") {
			points = append(points, point)
		}
	}
	for n := range kills {
		if n < len(points) {
			proc := p.Start(t, []string{"HEADWATER_CRASH=" + points[n]}, "run")
			if r := proc.Wait(t, 3*time.Minute); r.Signal != syscall.SIGKILL {
				t.Fatalf("%s: %d\n%s", points[n], r.Code, r.Stderr)
			}
			continue
		}
		proc := p.Start(t, nil, "run")
		binary.Eventually(t, "a run to begin", func() bool { return strings.Contains(proc.Stderr(), "a run begins") })
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond) // a moment that is drawn
		proc.Kill(t)
	}
	proc := p.Start(t, nil, "run")
	binary.EventuallyOr(t, "all days", func() bool {
		if statusOf(t, p).Listen.HTTP == "" {
			return false // it has the data folder, and does not answer yet
		}
		left := slices.DeleteFunc(runsOf(t, p), func(r runs.Run) bool { return r.State == runs.Done })
		var rows int64
		for _, x := range statusOf(t, p).Tables {
			rows += x.Rows
		}
		return len(left) == 0 && rows == int64(4*records)
	}, proc.Stderr)
	proc.Kill(t)
	onceEach(t, p, "ab", records)
}

// TestOwners: only who is a source's scheduler makes its days, and a person.
func TestOwners(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), `
database: db
sources:
  mine: {file: {path: none}}
  theirs: {file: {path: none}, scheduler: airflow}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`)
	for args, want := range map[string]int{
		"serialize --source mine --date 2026-07-05 --by airflow": 2, "serialize --source theirs --date 2026-07-05 --by airflow": 0,
		"serialize --source mine --date 2026-07-05": 0, "serialize --source theirs --date 2026-07-05": 0,
		"backfill --source theirs --from 2026-07-05 --to 2026-07-05": 2, "backfill --source mine --from 2026-07-05 --to 2026-07-05": 0,
	} {
		words := strings.Fields(args)
		if r := p.Run(t, nil, words[0], words[1:]...); r.Code != want {
			t.Errorf("%s: code %d, want %d\n%s", args, r.Code, want, r.Stderr)
		}
	}
}

// TestLeaseIsLost stops who has a run until another process has made its day: what it would publish when it goes on is refused.
func TestLeaseIsLost(t *testing.T) {
	t.Parallel()
	server := fixture.NewPostgreSQL(t)
	url := server.Database(t, "shared")
	bin := binary.Build(t)
	p := binary.New(t, bin, days3+"serialize: {schedule: \"\"}\n")
	records := fill(t, p, "a", 1, 5)
	shared := days3 + "state: \"" + url + "\"\nserialize: {schedule: \"\", lease: 20s}\nlake: {raw: " + p.Dir + "/headwater-data/raw, tables: " + p.Dir + "/headwater-data/tables}\n"
	yesterday := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	first := binary.New(t, bin, shared)
	stopped := first.Start(t, []string{"HEADWATER_STOP=table.before-put"}, "backfill", "--from", yesterday, "--to", yesterday)
	second := binary.New(t, bin, shared)
	binary.EventuallyOr(t, "the run to be taken", func() bool { return len(runsOf(t, second, "--state", "running")) == 1 }, stopped.Stderr)
	other := second.Start(t, nil, "run")
	binary.EventuallyOr(t, "the other one to make the day", func() bool {
		return len(runsOf(t, second, "--state", "done")) == 1
	}, func() string { return other.Stderr() + stopped.Stderr() })
	if err := stopped.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	r := stopped.Wait(t, 3*time.Minute)
	if !strings.Contains(r.Stderr, "another process's now") {
		t.Errorf("code %d\n%s", r.Code, r.Stderr)
	}
	if got := runsOf(t, second); len(got) != 1 || got[0].Epoch != 2 {
		t.Errorf("%+v", got)
	}
	other.Kill(t)
	onceEach(t, second, "a", records)
}
