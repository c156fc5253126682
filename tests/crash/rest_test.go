package crash

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/tests/binary"
)

// row is a version of a thing; N numbers all versions of all things.
type row struct {
	N       int       `json:"n"`
	ID      int       `json:"id"`
	Version int       `json:"version"`
	At      time.Time `json:"at"`
}

// api has things that are added and changed all the time, on pages of seven: /history has every version, the newest first; /latest the
// newest version of each thing, in the order of their times; /lines the version of a number, after a while. A post to /exports begins a job, which has all versions at some time after that, in three files.
type api struct {
	mu      sync.Mutex
	history []row
	latest  []row // by id
	exports []export
}

// export is a job. Its rows are those of when it is done, after some polls.
type export struct {
	since time.Time
	polls int
	rows  []row
}

// change adds a thing or changes one. Several have the same time.
func (a *api) change(random *rand.Rand) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := row{N: len(a.history), ID: random.IntN(len(a.latest) + 3), At: time.Now().UTC().Truncate(time.Millisecond)}
	if r.ID < len(a.latest) {
		r.Version = a.latest[r.ID].Version + 1
		a.latest[r.ID] = r
	} else {
		r.ID = len(a.latest)
		a.latest = append(a.latest, r)
	}
	a.history = append(a.history, r)
}

// add adds a thing of a number.
func (a *api) add(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.history = append(a.history, row{N: n, ID: n, At: time.Now().UTC().Truncate(time.Millisecond)})
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/lines" {
		time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if strings.HasPrefix(r.URL.Path, "/exports/") {
		a.export(w, r)
		return
	}
	if n, err := strconv.Atoi(r.FormValue("of")); err == nil && n < len(a.history) {
		_ = json.NewEncoder(w).Encode(map[string]any{"rows": a.history[n : n+1]})
		return
	}
	since, err := time.Parse(time.RFC3339Nano, r.FormValue("since"))
	if r.URL.Path == "/exports" && err == nil {
		a.exports = append(a.exports, export{since: since, polls: 1 + rand.IntN(3)})
		_ = json.NewEncoder(w).Encode(map[string]int{"id": len(a.exports) - 1})
		return
	}
	page, err2 := strconv.Atoi(r.FormValue("page"))
	if err != nil || err2 != nil {
		http.Error(w, "no time or no page", http.StatusBadRequest)
		return
	}
	rows := slices.Clone(a.latest)
	if r.URL.Path == "/history" {
		rows = slices.Clone(a.history)
		slices.Reverse(rows)
	} else {
		slices.SortFunc(rows, func(x, y row) int { return cmp.Or(x.At.Compare(y.At), x.ID-y.ID) })
	}
	rows = slices.DeleteFunc(rows, func(x row) bool { return x.At.Before(since) })
	from := min(len(rows), 7*(page-1))
	_ = json.NewEncoder(w).Encode(map[string]any{"rows": rows[from:min(len(rows), from+7)]}) // a client that is killed is no fault of the server's
}

// export answers for a job: /exports/3 says whether it is done, /exports/3/1 is its second file. The third job of all is lost when it has given its first.
func (a *api) export(w http.ResponseWriter, r *http.Request) {
	id, file, isFile := strings.Cut(strings.TrimPrefix(r.URL.Path, "/exports/"), "/")
	n, err := strconv.Atoi(id)
	if err != nil || n >= len(a.exports) || n%3 == 2 && isFile && file != "0" {
		http.Error(w, "no such job", http.StatusNotFound)
		return
	}
	e := &a.exports[n]
	if isFile {
		i, _ := strconv.Atoi(file)
		third := len(e.rows)/3 + 1
		for _, x := range e.rows[min(len(e.rows), i*third):min(len(e.rows), (i+1)*third)] {
			_ = json.NewEncoder(w).Encode(x)
		}
		return
	}
	if e.polls--; e.polls == 0 {
		e.rows = slices.DeleteFunc(slices.Clone(a.history), func(x row) bool { return x.At.Before(e.since) })
		rand.Shuffle(len(e.rows), func(i, j int) { e.rows[i], e.rows[j] = e.rows[j], e.rows[i] })
	}
	links := []string{}
	for i := range 3 {
		links = append(links, fmt.Sprintf("/exports/%d/%d?signed=%d", n, i, e.polls))
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"done": e.polls <= 0, "files": links})
}

// TestPollKilled kills a process that polls an API whose pages shift, again and again, and one whose jobs are lost. In the end every version of /history,
// of /exports, and of /lines, which is asked for beside each other, is there once, and of /latest every newest one, and none twice.
func TestPollKilled(t *testing.T) {
	t.Parallel()
	kills, seed := drawn(t, 8, 5)
	random := rand.New(rand.NewPCG(seed, 0))
	a := &api{}
	server := httptest.NewServer(a)
	defer server.Close()
	source := func(name, path, order string) string {
		return fmt.Sprintf(`
  %s:
    rest:
      url: %q
      every: 20ms
      params: {since: "{incremental.start}"}
      paginate: {page_number: {param: page}}
      records: ".rows[]"
      incremental: {path: .at, initial: "2020-01-01", lag: 200ms, order: %s}`, name, server.URL+path, order)
	}
	w := newWorld(t, binary.Build(t), "database: db\ncollect: {snapshot_every: 100ms}\nsources:"+
		source("history", "/history", "any")+source("latest", "/latest", "any")+source("sorted", "/latest", "ascending")+
		source("lines", "/history", "any")+fmt.Sprintf(`
      concurrency: 8
      children: {url: "%[1]s/lines?of={parent.n}", records: ".rows[]"}
  exports:
    rest:
      url: "%[1]s/exports"
      method: POST
      every: 20ms
      params: {since: "{incremental.start}"}
      format: ndjson
      job: {id: .id, poll: "%[1]s/exports/{job.id}", done: .done, download: ".files[]", every: 20ms}
      incremental: {path: .at, initial: "2020-01-01", lag: 200ms}`, server.URL)+`
land: {flush.size: 40, rotate.interval.ms: 300, rotate.schedule.interval.ms: 500}
serialize: {every: 300ms}
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`)
	ended := make(chan struct{})
	var changing sync.WaitGroup
	own := rand.New(rand.NewPCG(seed, 1))
	changing.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Duration(own.IntN(20)) * time.Millisecond):
			}
			for range 1 + own.IntN(3) {
				a.change(own)
			}
		}
	})
	for range kills {
		proc := w.Start(t, nil, "run")
		time.Sleep(time.Duration(300+random.IntN(1500)) * time.Millisecond)
		proc.Kill(t)
	}
	close(ended)
	changing.Wait()
	w.Run(t, nil, "run", "--once").Must(t)
	if len(a.history) < 50*kills {
		t.Errorf("only %d versions were made", len(a.history))
	}
	for _, source := range []string{"history", "latest", "sorted", "lines", "exports"} {
		got := w.count(t, "topics/"+source+"_raw", func(line []byte) (int, bool) {
			var e struct {
				RawData struct{ N *int } `json:"raw_data"`
			}
			if json.Unmarshal(line, &e) != nil || e.RawData.N == nil {
				return 0, false
			}
			return *e.RawData.N, true
		})
		tables := w.sql(t, "select n from db."+source)
		for n, r := range a.history {
			newest := a.latest[r.ID].N == n
			if times := got.numbers[n]; times > 1 || times == 0 && (source != "latest" && source != "sorted" || newest) {
				t.Errorf("%s: version %d of %d is there %d times", source, r.Version, r.ID, times)
			}
			if got.numbers[n] != tables[n] {
				t.Errorf("%s: version %d of %d is in the table %d times, in the objects %d", source, r.Version, r.ID, tables[n], got.numbers[n])
			}
		}
		if got.other > 0 || len(got.numbers) > len(a.history) {
			t.Errorf("%s has %d records that are none", source, got.other)
		}
		t.Logf("%s: %d versions of %d", source, len(got.numbers), len(a.history))
	}
}
