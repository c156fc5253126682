package flow

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"headwater/tests/binary"
)

// lines gives numbered lines to a pipeline, each number once.
type lines struct {
	binary.Pipeline
	next int
}

// text is n lines with the next numbers.
func (l *lines) text(n int) string {
	var b bytes.Buffer
	for range n {
		fmt.Fprintf(&b, "{\"n\":%d}\n", l.next)
		l.next++
	}
	return b.String()
}

// counts is how often the first column of an answer has each number.
func counts(t *testing.T, csvText string) map[int]int {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(csvText)).ReadAll()
	if err != nil || len(rows) == 0 {
		t.Fatalf("%v in %.1000s", err, csvText)
	}
	got := map[int]int{}
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[0])
		if err != nil {
			t.Fatal(err)
		}
		got[n]++
	}
	return got
}

func everyLine(t *testing.T, p binary.Pipeline, table, column string) map[int]int {
	t.Helper()
	return counts(t, p.Run(t, nil, "query", "--format", "csv", "select "+column+" from db."+table).Must(t))
}

// wantOnce fails for every number below next that is not exactly once in got, and for every other that is there.
func wantOnce(t *testing.T, where string, next int, got map[int]int) {
	t.Helper()
	var wrong []string
	for n := range next {
		if got[n] != 1 {
			wrong = append(wrong, fmt.Sprintf("line %d is %d times", n, got[n]))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(got)) {
		if n < 0 || n >= next {
			wrong = append(wrong, fmt.Sprintf("line %d was never written", n))
		}
	}
	if len(wrong) > 0 {
		t.Errorf("%s: %d lines are wrong: %s", where, len(wrong), strings.Join(wrong[:min(len(wrong), 10)], ", "))
	}
}

// verify is the oracle: every line is exactly once in both tables.
func (l *lines) verify(t *testing.T) {
	t.Helper()
	wantOnce(t, "the flat table", l.next, everyLine(t, l.Pipeline, "orders", "n"))
	wantOnce(t, "the raw table", l.next, everyLine(t, l.Pipeline, "orders_raw", "raw_data.n"))
}

// TestManyProcesses starts runs, serialize jobs and queries on one folder at the same moment, again and again. A run has the folder or is
// told that it is taken; a query sees what was there before or what is there after; and no line is lost or doubled.
func TestManyProcesses(t *testing.T) {
	t.Parallel()
	l := &lines{Pipeline: binary.New(t, binary.Build(t), orders)}
	l.Write(t, "in/first.ndjson", []byte(l.text(10)))
	l.Run(t, nil, "run", "--once").Must(t)
	for round := range times(t, "HEADWATER_ROUNDS", 4) {
		before := l.next
		l.Write(t, fmt.Sprintf("in/%03d.ndjson", round), []byte(l.text(20)))
		var runs, jobs, queries []*binary.Process
		for range 2 {
			runs = append(runs, l.Start(t, nil, "run", "--once"), l.Start(t, nil, "run", "--once"))
			jobs = append(jobs, l.Start(t, nil, "serialize", "--source", "orders", "--date", day()))
			queries = append(queries, l.Start(t, nil, "query", "--format", "csv", "select n from db.orders"))
		}
		done := 0
		for _, proc := range runs {
			r := proc.Wait(t, 3*time.Minute)
			switch {
			case r.Code == 0:
				done++
			case r.Code != 7 || !strings.Contains(r.Stderr, "in use"):
				t.Errorf("round %d: a run ended with %d, signal %v\n%s", round, r.Code, r.Signal, r.Stderr)
			}
		}
		for _, proc := range jobs {
			if r := proc.Wait(t, 3*time.Minute); r.Code != 0 && r.Code != 7 {
				t.Errorf("round %d: serialize ended with %d, signal %v\n%s", round, r.Code, r.Signal, r.Stderr)
			} else if r.Code == 0 && !strings.Contains(r.Stdout, "rows") {
				t.Errorf("round %d: serialize said %q", round, r.Stdout)
			}
		}
		for _, proc := range queries {
			saw := counts(t, proc.Wait(t, 3*time.Minute).Must(t))
			after := before
			if len(saw) > before {
				after = l.next
			}
			wantOnce(t, fmt.Sprintf("round %d: a query beside the runs", round), after, saw)
		}
		// If a serialize job had the folder, every run may have been turned away.
		if done == 0 {
			l.Run(t, nil, "run", "--once").Must(t)
		}
		l.verify(t)
		if t.Failed() {
			return
		}
	}
}

// TestStoppedProcess stops a run before and after it has put a table's file. While it lives the folder is its own; queries go on. When it is
// killed the next run gets in, and when it is woken it ends well.
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	bin := binary.Build(t)
	for _, point := range []string{"table.before-put", "table.after-put"} {
		for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGCONT} {
			t.Run(point+" "+end.String(), func(t *testing.T) {
				t.Parallel()
				l := &lines{Pipeline: binary.New(t, bin, orders)}
				l.Write(t, "in/a.ndjson", []byte(l.text(10)))
				l.Run(t, nil, "run", "--once").Must(t)
				l.Write(t, "in/b.ndjson", []byte(l.text(10)))
				proc := l.Start(t, []string{"HEADWATER_STOP=" + point}, "run", "--once")
				binary.Eventually(t, "stopping at "+point, func() bool { return isStopped(t, proc) })
				if r := l.Run(t, nil, "run", "--once"); r.Code != 7 || !strings.Contains(r.Stderr, "in use") {
					t.Errorf("a run beside the stopped one ended with %d\n%s", r.Code, r.Stderr)
				}
				if r := l.Run(t, nil, "serialize", "--source", "orders", "--date", day()); r.Code != 7 {
					t.Errorf("serialize beside the stopped run ended with %d\n%s", r.Code, r.Stderr)
				}
				// The raw table is made first, so that the flat one is as it was.
				wantOnce(t, "a query beside the stopped run", 10, everyLine(t, l.Pipeline, "orders", "n"))
				if err := proc.Cmd.Process.Signal(end); err != nil {
					t.Fatal(err)
				}
				if r := proc.Wait(t, 3*time.Minute); end == syscall.SIGCONT {
					r.Must(t)
				}
				l.Run(t, nil, "run", "--once").Must(t)
				l.verify(t)
			})
		}
	}
}

// isStopped asks the kernel whether a process is stopped.
func isStopped(t *testing.T, proc *binary.Process) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", proc.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(stat), ") T ")
}
