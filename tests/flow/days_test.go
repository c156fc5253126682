package flow

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/web"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// dayOf asks whether a day is closed, and compares the exit code with the answer.
func dayOf(t *testing.T, p binary.Pipeline, env []string, source, date string) (d web.DayResult) {
	t.Helper()
	r := p.Run(t, env, "day", "--source", source, "--date", date, "--json")
	if r.Code == 7 {
		return d // the process that is to be asked is starting
	}
	if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
		t.Fatalf("day ended with %d: %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	if d.Closed != (r.Code == 0) || !d.Closed && (r.Code != 5 || d.Reason == "") {
		t.Fatalf("day ended with %d and says %+v", r.Code, d)
	}
	return d
}

// waitsFor says whether a day waits for something, of the first thing that it waits for.
func waitsFor(d web.DayResult, what string) bool { return len(d.Waits) > 0 && d.Waits[0].What == what }

// TestDayCloses follows a day through what it waits for: its collector, the landing of what was collected; the next one waits for the clock.
func TestDayCloses(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), `
database: db
sources:
  orders: {file: {path: "in/*.ndjson", every: 50ms, settle: 50ms}}
land: {rotate.interval.ms: 3600000, rotate.schedule.interval.ms: 3600000}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`)
	now := time.Now().UTC()
	date, next := now.AddDate(0, 0, -1).Format(time.DateOnly), now.AddDate(0, 0, 30).Format(time.DateOnly)
	if d := dayOf(t, p, nil, "orders", date); !waitsFor(d, "collector") {
		t.Errorf("before anything was read it waits for %+v", d)
	}
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n{\"n\":2}\n"))
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "answering", func() bool { return statusOf(t, p).Running }) // who asks before has the data folder, which it needs
	var d web.DayResult
	binary.EventuallyOr(t, "a day that waits for its landing", func() bool {
		d = dayOf(t, p, nil, "orders", date)
		return waitsFor(d, "land") || d.Closed // the ends may have been noted before the records came
	}, func() string { return fmt.Sprintf("%+v", d) })
	if w := d.Waits; !d.Closed && (w[0].Topic != "orders_raw" || w[0].Needs < 1 || w[0].Landed != 0 || !strings.Contains(d.Reason, "orders_raw partition 0")) {
		t.Errorf("it waits for %+v", d)
	}
	if d := dayOf(t, p, nil, "orders", next); !waitsFor(d, "clock") {
		t.Errorf("a day of the next month waits for %+v", d)
	}
	if r := p.Run(t, nil, "serialize", "--source", "orders", "--date", next, "--closed"); r.Code != 5 || !strings.Contains(r.Stderr, "it ends at") {
		t.Errorf("serialize --closed ended with %d: %s", r.Code, r.Stderr)
	}
	must(t, proc.Cmd.Process.Signal(syscall.SIGTERM))
	if r := proc.Wait(t, 3*time.Minute); r.Code != 0 {
		t.Fatalf("run ended with %d: %s", r.Code, r.Stderr)
	}
	if d := dayOf(t, p, nil, "orders", date); !d.Closed { // what was open has landed
		t.Errorf("after the end it waits for %+v", d)
	}
	p.Run(t, nil, "run", "--once").Must(t)
	if r := p.Run(t, nil, "serialize", "--source", "orders", "--date", "yesterday", "--closed"); r.Code != 0 {
		t.Errorf("serialize --date yesterday --closed ended with %d: %s", r.Code, r.Stderr)
	}
	if r := p.Run(t, nil, "day", "--source", "nobody", "--date", date); r.Code != 2 {
		t.Errorf("of a source that there is not it ended with %d", r.Code)
	}
	if all := binary.Files(t, filepath.Join(p.Dir, "headwater-data", "tables")); true {
		tables, err := all.Tables(t.Context())
		must(t, err)
		for _, table := range tables {
			if got := table.CompleteThrough.String(); got < date {
				t.Errorf("%s is complete through %s, want %s", table.Name, got, date)
			}
		}
		if len(tables) != 2 {
			t.Errorf("%d tables", len(tables))
		}
	}
}

// TestLateRecords: what a topic of others gets for a day that was closed goes to quarantine, exactly; with another setting it becomes rows.
func TestLateRecords(t *testing.T) {
	t.Parallel()
	const pipeline = `
database: db
close: {after: 0s}
sources:
  legacy: {external: {topic: legacy, timestamp: ms}}
land: {rotate.schedule.interval.ms: 300}
serialize: {every: 200ms, late: %s}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`
	p := binary.New(t, binary.Build(t), fmt.Sprintf(pipeline, "quarantine"))
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "a broker", func() bool { return statusOf(t, p).Listen.Kafka != "" })
	others := newForeign(t, statusOf(t, p).Listen.Kafka)
	_, err := kadm.NewClient(others.cl).CreateTopic(t.Context(), 1, 1, nil, "legacy")
	must(t, err)
	noon := time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour)
	sent := 0
	send := func(n int, at time.Time) {
		for range n {
			sent++
			others.send(&kgo.Record{Topic: "legacy", Value: fmt.Appendf(nil, `{"raw_data": {"n": %d}, "ingestion_timestamp": %d}`, sent, at.UnixMilli())})
		}
	}
	send(3, noon)
	date := noon.Format(time.DateOnly)
	binary.Eventually(t, "a day that is closed", func() bool { return dayOf(t, p, nil, "legacy", date).Closed })
	send(4, noon)
	far := time.Date(9998, 12, 31, 12, 0, 0, 0, time.UTC)
	send(1, far) // its time routes it, and closes nothing

	text, err := os.ReadFile(filepath.Join(p.Dir, "headwater-data", "raw", "_days", "legacy", "date="+date+".json"))
	must(t, err)
	var ended struct {
		Offsets map[string]int `json:"offsets"`
	}
	must(t, json.Unmarshal(text, &ended))
	rows := ended.Offsets["0"]
	quarantined := func() int {
		return strings.Count(p.Run(t, nil, "quarantine show", "--json").Stdout, `"reason":"late"`)
	}
	counted := func() string {
		return ask(t, p, fmt.Sprintf("select count(*) from db.legacy_raw where make_date(year, month, day) = '%s'", date))
	}
	binary.EventuallyOr(t, "the late records in quarantine", func() bool { return quarantined() == 7-rows && (rows == 0 || counted() == fmt.Sprint(rows)) },
		func() string {
			return fmt.Sprintf("%d in quarantine, %s rows, want %d", quarantined(), counted(), rows)
		})
	if d := dayOf(t, p, nil, "legacy", far.Format(time.DateOnly)); !waitsFor(d, "clock") {
		t.Errorf("the far day waits for %+v", d)
	}
	if d := dayOf(t, p, nil, "legacy", time.Now().UTC().AddDate(0, 0, 2).Format(time.DateOnly)); d.Closed {
		t.Error("a record dated 9998 has closed the days before it")
	}
	must(t, proc.Cmd.Process.Signal(syscall.SIGTERM))
	if r := proc.Wait(t, 3*time.Minute); r.Code != 0 {
		t.Fatalf("run ended with %d: %s", r.Code, r.Stderr)
	}
	p.Write(t, "pipeline.yaml", fmt.Appendf(nil, pipeline, "reopen"))
	p.Run(t, nil, "run", "--once").Must(t)
	if got := counted(); got != "7" || quarantined() != 0 {
		t.Errorf("with late: reopen there are %s rows, and %d in quarantine", got, quarantined())
	}
}

// TestDaysOfReplicas: the stages are processes of their own, on Apache Kafka, and what each knows comes to the one that is asked.
func TestDaysOfReplicas(t *testing.T) {
	p := onKafka(t, fixture.Kafka(t))
	n := &numbers{p: p}
	n.arrive(t, 50)
	n.arrive(t, 50)
	date := time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	running := []*binary.Process{p.Start(t, own("serve"), "serve")}
	binary.Eventually(t, "answering", func() bool {
		var s status
		return json.Unmarshal([]byte(p.Run(t, own("serve"), "status", "--json").Must(t)), &s) == nil && s.Running
	})
	both := func(what string, is func(web.DayResult) bool) {
		t.Helper()
		var d web.DayResult
		for _, source := range []string{"odd", "even"} {
			binary.EventuallyOr(t, source+" "+what, func() bool {
				d = dayOf(t, p, own("serve"), source, date)
				return is(d)
			}, func() string { return fmt.Sprintf("%+v", d) })
		}
	}
	both("waits for its collector", func(d web.DayResult) bool { return waitsFor(d, "collector") })
	running = append(running, p.Start(t, own("collect"), "collect"))
	both("waits for its landing, unless nothing had come", func(d web.DayResult) bool { return waitsFor(d, "land") || d.Closed })
	running = append(running, p.Start(t, own("land"), "land"))
	both("is closed", func(d web.DayResult) bool { return d.Closed })
	for _, source := range []string{"odd", "even"} {
		if d := dayOf(t, p, own("alone"), source, date); !d.Closed { // a process that has seen nothing of it
			t.Errorf("alone: %+v", d)
		}
	}
	var status web.Status
	binary.EventuallyOr(t, "tables that are complete", func() bool {
		must(t, json.Unmarshal([]byte(p.Run(t, own("serve"), "status", "--json").Must(t)), &status))
		complete := 0
		for _, d := range status.Days {
			if d.CompleteThrough >= date {
				complete++
			}
		}
		return complete == 2
	}, func() string { return fmt.Sprintf("%+v", status.Days) })
	for _, proc := range running {
		must(t, proc.Cmd.Process.Signal(syscall.SIGTERM))
	}
	for _, proc := range running {
		r := proc.Wait(t, 3*time.Minute)
		if r.Code != 0 || strings.Contains(r.Stderr, "by the clock of this machine") {
			t.Errorf("it ended with %d: %s", r.Code, r.Stderr)
		}
	}
}
