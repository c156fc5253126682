package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/gorilla/websocket"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// fresh is what to write for answers that are seconds old.
const fresh = `
database: db
sources:
  hooks: {push: {}}
  lines: {file: {path: "in/*.ndjson"}}
  feed: {websocket: {url: %q}}
land: {rotate.schedule.interval.ms: 1000}
serialize: {every: 1s}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
`

// freshRates are how many items a second each source gets.
var freshRates = map[string]int{"hooks": 160, "lines": 20, "feed": 20}

// TestFreshness prints how old items are when the table has them, of each kind of source, on a day that has none before and on days that
// have many. It checks that every item comes.
func TestFreshness(t *testing.T) {
	seconds, before := 2, []int{0}
	if os.Getenv("HEADWATER_BENCH") != "" {
		seconds, before = 60, []int{0, 100_000, 500_000}
	}
	for _, n := range before {
		t.Run(strconv.Itoa(n), func(t *testing.T) { freshness(t, n, seconds) })
	}
}

func freshness(t *testing.T, before, seconds int) {
	start := make(chan struct{})
	feed := fixture.Feed(t, func(conn *websocket.Conn) {
		<-start
		paced(freshRates["feed"], seconds, func(n int) { _ = conn.WriteMessage(websocket.TextMessage, item(n)) })
		_, _, _ = conn.ReadMessage()
	})
	p := binary.New(t, binary.Build(t), fmt.Sprintf(fresh, feed))
	p.Write(t, "in/lines.ndjson", nil)
	proc := p.Start(t, nil, "run")
	url := ingestURL(t, p)
	fill(t, p, url, before)

	seen := map[string]*arrivals{}
	for source, rate := range freshRates {
		seen[source] = &arrivals{pattern: openFiles(p, source), want: rate * seconds, ages: map[int64]time.Duration{}}
	}
	used := cpu(t, proc.Cmd.Process.Pid)
	began := time.Now()
	var sending sync.WaitGroup
	sending.Go(func() { paced(freshRates["hooks"], seconds, func(n int) { send(t, url, item(n)) }) })
	sending.Go(func() { appendLines(t, filepath.Join(p.Dir, "in/lines.ndjson"), seconds) })
	close(start)
	for complete := false; !complete; {
		complete = true
		for source, a := range seen {
			if err := a.look(); err != nil {
				t.Fatal(err)
			}
			if complete = complete && len(a.ages) == a.want; len(a.ages) < a.want && time.Since(began) > time.Duration(seconds)*time.Second+3*time.Minute {
				t.Fatalf("of %d items of %s only %d came", a.want, source, len(a.ages))
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(began)
	used = cpu(t, proc.Cmd.Process.Pid) - used
	sending.Wait()
	for _, source := range []string{"hooks", "lines", "feed"} {
		a := seen[source]
		t.Logf("%8d rows before, %-5s %5d items at %3d/s: %v; there were %d files", before, source, a.want, freshRates[source], quantiles(a), a.files)
	}
	t.Logf("%8d rows before, %.2f processors busy, a query takes %v", before, used.Seconds()/took.Seconds(), queried(t, p, before+seen["hooks"].want))
}

func quantiles(a *arrivals) string {
	var all []time.Duration
	for _, age := range a.ages {
		all = append(all, age)
	}
	slices.Sort(all)
	at := func(q float64) time.Duration { return all[int(q*float64(len(all)-1))].Round(10 * time.Millisecond) }
	return fmt.Sprintf("half within %v, 99%% within %v, the last after %v", at(0.5), at(0.99), at(1))
}

// paced calls f at the rate for so long.
func paced(rate, seconds int, f func(n int)) {
	began := time.Now()
	for n := range rate * seconds {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		f(n)
	}
}

// ingestURL waits until the push source takes items.
func ingestURL(t *testing.T, p binary.Pipeline) (url string) {
	t.Helper()
	var run struct{ HTTP string }
	binary.Eventually(t, "being ready", func() bool {
		data, err := os.ReadFile(filepath.Join(p.Dir, "headwater-data/run.json"))
		if err != nil || json.Unmarshal(data, &run) != nil || run.HTTP == "" {
			return false
		}
		url = "http://" + run.HTTP + "/ingest/hooks"
		resp, err := http.Post(url, "application/json", strings.NewReader(`{"warm":1}`))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return url
}

func send(t *testing.T, url string, body []byte) {
	kind := "application/json"
	if bytes.Contains(body, []byte("\n")) {
		kind = "application/x-ndjson"
	}
	resp, err := http.Post(url, kind, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a request was answered with %s", resp.Status)
	}
}

// fill gives the table so many rows of the day before anything is measured.
func fill(t *testing.T, p binary.Pipeline, url string, rows int) {
	t.Helper()
	var b bytes.Buffer
	for n := range rows {
		fmt.Fprintf(&b, "{\"n\":%d,\"before\":%d,\"pad\":\"%0200d\"}\n", n, n%1000, n)
		if b.Len() > 1<<20 || n == rows-1 {
			send(t, url, b.Bytes())
			b.Reset()
		}
	}
	binary.Eventually(t, "the rows before", func() bool {
		files, err := filepath.Glob(openFiles(p, "hooks"))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{} // by folder, each of which begins with all there was
		for _, name := range files {
			f, err := file.OpenParquetFile(name, false)
			if err != nil {
				t.Fatal(err)
			}
			got[filepath.Dir(name)] += f.NumRows()
			_ = f.Close()
		}
		return len(got) > 0 && slices.Max(slices.Collect(maps.Values(got))) > int64(rows) // and the one that warmed
	})
}

// appendLines appends to a file, a line at a time.
func appendLines(t *testing.T, name string, seconds int) {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	paced(freshRates["lines"], seconds, func(n int) {
		if _, err := f.Write(append(item(n), '\n')); err != nil {
			t.Error(err)
		}
	})
}

// openFiles is a pattern of the files of a source's open day.
func openFiles(p binary.Pipeline, source string) string {
	return filepath.Join(p.Dir, "headwater-data/tables/db", source, "_runs/*/*.parquet")
}

// arrivals are the items that have been seen in a table, by when they were sent.
type arrivals struct {
	pattern string
	want    int
	ages    map[int64]time.Duration
	files   int
	last    map[string]os.FileInfo
}

// look reads the table's files that are others than before, as anybody who may read them would.
func (a *arrivals) look() error {
	names, err := filepath.Glob(a.pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if was := a.last[name]; was != nil && os.SameFile(was, info) {
			continue
		}
		if a.last == nil {
			a.last = map[string]os.FileInfo{}
		}
		a.last[name] = info
		a.files++
		if err := a.read(name, time.Now().UnixNano()); err != nil {
			return err
		}
	}
	return nil
}

func (a *arrivals) read(name string, now int64) error {
	f, err := file.OpenParquetFile(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	column := f.MetaData().Schema.ColumnIndexByName("sent")
	if column < 0 {
		return nil
	}
	values, levels := make([]int64, 10_000), make([]int16, 10_000)
	for g := range f.NumRowGroups() {
		chunk, err := f.RowGroup(g).Column(column)
		if err != nil {
			return err
		}
		sent := chunk.(*file.Int64ColumnChunkReader)
		for sent.HasNext() {
			_, n, err := sent.ReadBatch(int64(len(values)), values, levels, nil)
			if err != nil {
				return err
			}
			for _, v := range values[:n] {
				if _, old := a.ages[v]; !old {
					a.ages[v] = time.Duration(now - v)
				}
			}
		}
	}
	return nil
}

// cpu is how long the process has used processors.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	ticks := 0
	for _, i := range []int{11, 12} { // utime and stime
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// queried is how long the command takes that counts the rows and finds the newest.
func queried(t *testing.T, p binary.Pipeline, want int) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 5 {
		began := time.Now()
		out := p.Run(t, nil, "query", "--format", "csv", "select count(*), max(sent) from db.hooks where warm is null").Must(t)
		took = append(took, time.Since(began))
		if !strings.Contains(out, fmt.Sprintf("\n%d,", want)) {
			t.Errorf("the table has not %d rows: %s", want, out)
		}
	}
	slices.Sort(took)
	return took[2].Round(10 * time.Millisecond)
}
