package serialize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/mem"
	"headwater/schema"
	"headwater/schema/ledger"
	"headwater/serialize/parquet"
	"headwater/table/dir"
)

// on is the world on another day of July 2026.
func (w *world) on(day int) *world {
	other := *w
	other.job.Day.Day = day
	return &other
}

// land adds an object of documents to the world's day.
func (w *world) land(t testing.TB, docs ...string) {
	t.Helper()
	var lines []string
	for _, doc := range docs {
		lines = append(lines, fmt.Sprintf(`{"raw_data":%s,"metadata":{"thread_id":1},"ingestion_timestamp":%d}`, doc, noon+int64(w.job.Day.Day-testDay.Day)*86_400_000))
	}
	n := int64(len(lines))
	key := lake.RawKey("topics", testTopic, "date="+w.job.Day.String(), 0, int64(w.job.Day.Day)*1000)
	tail := lake.Tail{Log: testLog, First: int64(w.job.Day.Day) * 1000, Next: int64(w.job.Day.Day)*1000 + n, Count: n}
	w.putObject(t, key, tail.Append(zip(t, strings.Join(lines, "\n")+"\n")))
}

func (w *world) head(t testing.TB) *ledger.Version {
	t.Helper()
	v, err := ledger.Log{Store: w.Tables, Table: w.job.Flat.String()}.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// columns are the flat table's of the day, without _ingested_at.
func (w *world) columns(t testing.TB) string {
	t.Helper()
	s := w.footer(t, w.job.Flat).Schema
	return strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(s.String(), "struct<"), "_ingested_at:timestamp>"), ",")
}

// flat are the rows of the flat table, as texts, without _ingested_at.
func (w *world) flat(t testing.TB) (out []string) {
	t.Helper()
	for _, row := range w.rows(t, w.job.Flat) {
		fields := row.(map[string]any)
		delete(fields, "_ingested_at")
		var texts []string
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			texts = append(texts, fmt.Sprintf("%s=%v", name, fields[name]))
		}
		out = append(out, strings.Join(texts, " "))
	}
	return out
}

func (w *world) stale(t testing.TB) bool {
	t.Helper()
	stale, err := w.Stale(t.Context(), w.job)
	if err != nil {
		t.Fatal(err)
	}
	return stale
}

func (w *world) want(t testing.TB, columns string, rows ...string) {
	t.Helper()
	if got := w.columns(t); got != columns {
		t.Errorf("%s: the columns are %s, want %s", w.job.Day, got, columns)
	}
	if diff := cmp.Diff(rows, w.flat(t)); diff != "" {
		t.Errorf("%s: rows (-want +got):\n%s", w.job.Day, diff)
	}
}

// TestOneTypeForLife: a column that widens is rewritten in the days before; columns stay; what is undecided gets its type when it has one.
func TestOneTypeForLife(t *testing.T) {
	w := newWorld(t)
	first, second, third := w.on(1), w.on(2), w.on(3)
	first.land(t, `{"a":1,"n":null,"s":{"x":true}}`, `{"a":2}`)
	first.run(t)
	first.want(t, "a:bigint,s_x:boolean", "a=1 s_x=true", "a=2")
	second.land(t, `{"a":1.5,"n":"late"}`)
	second.run(t)
	second.want(t, "a:double,n:string,s_x:boolean", "a=1.5 n=late")
	if diff := cmp.Diff([]string{"2026-07-01"}, w.head(t).Rewrite); diff != "" {
		t.Error("days to be rewritten:", diff)
	}
	if !first.stale(t) || second.stale(t) {
		t.Error("the day whose file has another type is not the stale one")
	}
	first.run(t)
	first.want(t, "a:double,n:string,s_x:boolean", "a=1 s_x=true", "a=2")
	if first.stale(t) {
		t.Error("it is still stale after it was rewritten")
	}
	third.land(t, `{"z":[{"k":1}]}`)
	third.run(t)
	third.want(t, "a:double,n:string,s_x:boolean,z:array<struct<k:bigint>>", "z=[map[k:1]]")
	if first.stale(t) || second.stale(t) {
		t.Error("a new column makes files stale that do not have it")
	}
	head := w.head(t)
	if p := head.Places[head.Find("n").First["string"]]; p.Day != "2026-07-02" || p.Record != 1 || p.Offset != 2000 || p.Since != 2 {
		t.Errorf("the first text in n was met at %+v", p)
	}
	if head.Number != 3 {
		t.Errorf("there are %d versions, want 3", head.Number)
	}
	if again := third.run(t); !again.NoOp || w.head(t).Number != 3 {
		t.Error("a run without news has made a version")
	}
}

// TestWideningWaits: one odd value does not rewrite more days than may be; it is kept beside the column until somebody approves.
func TestWideningWaits(t *testing.T) {
	w := newWorld(t)
	w.job.Schema.MaxRewrite = 2
	for day := 1; day <= 3; day++ {
		w.on(day).land(t, fmt.Sprintf(`{"a":%d,"l":[{"q":1}]}`, day))
		w.on(day).run(t)
	}
	odd := w.on(4)
	odd.land(t, `{"a":4,"l":[{"q":1},{"q":"many"}]}`, `{"a": "n\u002fa","l":[{"q":1}]}`, `{"a":{"deep":[1, null]},"b":true}`)
	r := odd.run(t)
	rows := []string{
		`_rescued={"/raw_data/l/1/q":"many"} a=4 l=[map[q:1] map[]]`,
		`_rescued={"/raw_data/a":"n\u002fa"} l=[map[q:1]]`,
		`_rescued={"/raw_data/a":{"deep":[1,null]}} b=true`,
	}
	odd.want(t, "a:bigint,b:boolean,l:array<struct<q:bigint>>,_rescued:string", rows...)
	if r.Rows != 3 || r.Quarantined != 0 {
		t.Errorf("%d rows, %d quarantined", r.Rows, r.Quarantined)
	}
	for day := 1; day <= 3; day++ {
		if w.on(day).stale(t) {
			t.Errorf("day %d is to be rewritten unasked", day)
		}
	}
	number := w.head(t).Number
	w.on(5).land(t, `{"a":"again"}`)
	w.on(5).run(t)
	if w.head(t).Number != number {
		t.Error("what waits already makes another version")
	}
	w.approve(t, "a")
	for day := 1; day <= 5; day++ {
		w.on(day).run(t)
	}
	w.on(1).want(t, "a:string,b:boolean,l:array<struct<q:bigint>>,_rescued:string", "a=1 l=[map[q:1]]")
	odd.want(t, "a:string,b:boolean,l:array<struct<q:bigint>>,_rescued:string",
		rows[0], `a=n/a l=[map[q:1]]`, `a={"deep":[1,null]} b=true`)
	w.on(5).want(t, "a:string,b:boolean,l:array<struct<q:bigint>>,_rescued:string", "a=again")
}

// approve is what the command does.
func (w *world) approve(t testing.TB, path string) {
	t.Helper()
	s, err := w.Schema(w.job)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(t.Context(), "test", func(v *ledger.Version, touched ledger.Touched) error {
		_, err := v.Approve(path, touched)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestStructsStay: text in the place of a struct would take its columns away.
func TestStructsStay(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"a":{"b":1,"c":2}}`)
	w.on(1).run(t)
	w.on(2).land(t, `{"a":"x"}`, `{"a":{"b":3}}`)
	w.on(2).run(t)
	w.on(2).want(t, "a_b:bigint,a_c:bigint,_rescued:string", `_rescued={"/raw_data/a":"x"}`, "a_b=3")
	w.on(2).land(t, `{"a":{"b":1}}`, `{"a":{"c":2}}`, `{"a":"x"}`, `{"a":{"b":3,"c":4}}`, `{"a":{}}`, `{"a":7}`, `{"a":{"c":5}}`)
	w.on(2).run(t)
	w.on(2).want(t, "a_b:bigint,a_c:bigint,_rescued:string", "a_b=1", "a_c=2", `_rescued={"/raw_data/a":"x"}`, "a_b=3 a_c=4", "", `_rescued={"/raw_data/a":7}`, "a_c=5")
	var raw []string
	for _, row := range w.on(2).rows(t, w.job.Raw) {
		raw = append(raw, fmt.Sprint(row.(map[string]any)["raw_data"]))
	}
	if got := strings.Join(raw, " "); got != "map[a:map[b:1]] map[a:map[c:2]] map[] map[a:map[b:3 c:4]] map[a:map[]] map[] map[a:map[c:5]]" {
		t.Error("the raw table:", got)
	}
	w.on(3).land(t, `"bare"`, `{"a":null}`)
	if r := w.on(3).run(t); r.Reasons[reasonKind] != 1 {
		t.Error("a bare value in a table of objects:", r.Reasons)
	}
	w.on(4).land(t, `"bare"`)
	if r := w.on(4).run(t); r.Reasons[reasonKind] != 1 || r.Rows != 0 {
		t.Error("a day of one bare value in a table of objects:", r.Reasons)
	}
}

// TestRescuedStruct: text in the place of a struct leaves the structs of the rows before it as they are.
func TestRescuedStruct(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"a":{"b":1}}`)
	w.on(1).run(t)
	w.on(2).land(t, `{"a":{"b":1}}`, `{"a":{}}`, `{"a":"x"}`)
	w.on(2).run(t)
	var got []any
	for _, row := range w.on(2).rows(t, w.job.Raw) {
		got = append(got, row.(map[string]any)["raw_data"])
	}
	want := []any{map[string]any{"a": map[string]any{"b": int64(1)}}, map[string]any{"a": map[string]any{}}, map[string]any{}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("raw_data (-want +got):\n%s", diff)
	}
}

// TestBareFirst: a first day of one bare value does not make the table one of bare values.
func TestBareFirst(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `7`)
	w.on(1).run(t)
	w.on(1).want(t, "value:bigint", "value=7")
	w.on(2).land(t, `{"a":1}`)
	w.on(2).run(t)
	w.on(2).want(t, "a:bigint", "a=1")
}

func TestContracts(t *testing.T) {
	w := newWorld(t)
	w.job.Schema.Columns = ColumnsFreeze
	w.on(1).land(t, `{"a":1,"s":"t","o":{}}`)
	w.on(1).run(t)
	docs := []string{`{"a":2,"s":1,"o":{"k":1},"e":[],"n":null}`, `{"a":"x"}`, `{"a":3,"new":{"k":[1]}}`, `{"a":1.5}`}
	w.on(2).land(t, docs...)
	w.on(2).run(t)
	w.on(2).want(t, "a:bigint,s:string,_rescued:string",
		`_rescued={"/raw_data/o":{"k":1}} a=2 s=1`, `_rescued={"/raw_data/a":"x"}`, `_rescued={"/raw_data/new":{"k":[1]}} a=3`, `_rescued={"/raw_data/a":1.5}`)

	w.job.Schema.Columns = ColumnsQuarantine
	w.on(3).land(t, append(docs, `{"a":4,"e":{"f":null}}`)...)
	r := w.on(3).run(t)
	w.on(3).want(t, "a:bigint,s:string,_rescued:string", "a=4")
	if r.Reasons[reasonSchema] != 4 {
		t.Error("quarantined:", r.Reasons)
	}
}

// TestNamesStay: a column that comes later does not take the name of one that is there.
func TestNamesStay(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"a":1,"b":{"c":1},"l":[{"k":1}]}`)
	w.on(1).run(t)
	w.on(2).land(t, `{"A":"x","a":2,"b_c":true,"l":[{"k":2,"K":"y"}]}`)
	w.on(2).run(t)
	w.on(2).want(t, "A_2:string,a:bigint,b_c:bigint,b_c_2:boolean,l:array<struct<K_2:string,k:bigint>>", "A_2=x a=2 b_c_2=true l=[map[K_2:y k:2]]")
	w.on(3).land(t, `{"A":"z","_rescued":1}`)
	w.on(3).run(t)
	w.on(3).want(t, "A_2:string,_rescued_2:bigint,a:bigint,b_c:bigint,b_c_2:boolean,l:array<struct<K_2:string,k:bigint>>", "A_2=z _rescued_2=1")
	raw := w.on(3).footer(t, w.job.Raw)
	if diff := cmp.Diff(map[string]string{"raw_data.A_2": "raw_data.A", "raw_data.l.K_2": "raw_data.l.K"}, raw.Renamed); diff != "" {
		t.Error("renamed in the raw table:", diff)
	}
}

func TestHints(t *testing.T) {
	for _, with := range []string{LedgerOn, LedgerOff} {
		t.Run(with, func(t *testing.T) {
			w := newWorld(t)
			w.job.Schema.Ledger = with
			w.job.Schema.Hints = map[string]string{
				"id": "string", "n": "long", "d": "double", "ok": "boolean", "at": "timestamp(iso)", "ms": "timestamp(epoch_ms)", "s": "timestamp(epoch_s)",
				"l[].n": "long", "absent": "long", "o": "string", "p": "decimal(10,2)",
			}
			w.on(1).land(t,
				`{"id":7,"n":"12","d":"1.5","ok":"true","at":"2026-07-05T12:00:00.5Z","ms":1783252800000,"s":"1783252800.25","l":[{"n":"1"},{"n":"x"}],"o":{"a":1},"p":-12.5}`,
				`{"id":"x","n":1.5,"d":"","ok":1,"at":5,"ms":"soon","s":[],"l":[{"n":2}],"o":"t","p":"1e3"}`,
				`{"id":null,"n":" 1","d":1,"ok":false,"at":null,"p":0.005}`,
			)
			w.on(1).run(t)
			const noonMicros = "1783252800000000"
			w.on(1).want(t, "at:timestamp,d:double,id:string,l:array<struct<n:bigint>>,ms:timestamp,n:bigint,o:string,ok:boolean,p:decimal(10,2),s:timestamp,_rescued:string",
				`_rescued={"/raw_data/l/1/n":"x"} at=1783252800500000 d=1.5 id=7 l=[map[n:1] map[]] ms=`+noonMicros+` n=12 o={"a":1} ok=true p=-1250m s=1783252800250000`,
				`_rescued={"/raw_data/n":1.5,"/raw_data/d":"","/raw_data/ok":1,"/raw_data/at":5,"/raw_data/ms":"soon","/raw_data/s":[]} id=x l=[map[n:2]] o=t p=100000m`,
				`_rescued={"/raw_data/n":" 1","/raw_data/p":0.005} d=1 ok=false`,
			)
		})
	}
}

// TestHintLater: a hint that would have more days rewritten than may be is refused by name.
func TestHintLater(t *testing.T) {
	w := newWorld(t)
	for day := 1; day <= 3; day++ {
		w.on(day).land(t, `{"at":"2026-07-05T12:00:00Z"}`)
		w.on(day).run(t)
	}
	w.on(4).land(t, `{"at":"2026-07-05T12:00:00Z"}`)
	w.job.Schema.Hints = map[string]string{"at": "timestamp(iso)"}
	w.job.Schema.MaxRewrite = 2
	w.on(4).fails(t, ErrData, "schema pin")
	w.job.Schema.MaxRewrite = 3
	w.on(4).run(t)
	for day := 1; day <= 3; day++ {
		if !w.on(day).stale(t) {
			t.Errorf("day %d is not to be rewritten", day)
		}
		w.on(day).run(t)
		w.on(day).want(t, "at:timestamp,_rescued:string", "at=1783252800000000")
	}
}

func TestRevert(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"a":1}`)
	w.on(1).run(t)
	w.on(2).land(t, `{"a":"oops","b":1}`, `{"a":2}`)
	w.on(2).run(t)
	w.on(1).run(t)
	w.on(1).want(t, "a:string,b:bigint", "a=1")
	s, err := w.Schema(w.job)
	if err != nil {
		t.Fatal(err)
	}
	to, err := s.Log.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change(t.Context(), "test", func(v *ledger.Version, touched ledger.Touched) error {
		return v.Revert(to, true, touched)
	}); err != nil {
		t.Fatal(err)
	}
	w.on(1).run(t)
	w.on(1).want(t, "a:bigint", "a=1")
	if r := w.on(2).run(t); r.Reasons[reasonSchema] != 1 || r.Rows != 1 {
		t.Error("after the revert:", r.Rows, r.Reasons)
	}
	w.on(2).want(t, "a:bigint", "a=2")
	w.on(3).land(t, `{"a":"again"}`, `{"c":true}`)
	w.on(3).run(t)
	w.on(3).want(t, "a:bigint,c:boolean", "c=true")
}

// TestLedgerRace: runs of many days at once, each of a process of its own, end in one history, and after what is stale was rewritten in one type
// for each column, which is the same as one after the other.
func TestLedgerRace(t *testing.T) {
	values := []string{"1", "1.5", "null", `"t"`, "[1]", "[2.5]", "9223372036854775808", "true"}
	docs := func(r *rand.Rand) []string {
		var out []string
		for range 1 + r.IntN(4) {
			out = append(out, fmt.Sprintf(`{"a%d":%s,"b":{"c%d":%s}}`, r.IntN(4), values[r.IntN(len(values))], r.IntN(3), values[r.IntN(len(values))]))
		}
		return out
	}
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t)
		w.job.Schema.MaxRewrite = 100
		const days = 8
		all := map[int][]string{}
		for day := 1; day <= days; day++ {
			all[day] = docs(random)
			w.on(day).land(t, all[day]...)
		}
		var running sync.WaitGroup
		for day := 1; day <= days; day++ {
			running.Go(func() {
				// Of one catalog, as processes have it, only the files and the ledger are shared.
				other := w.on(day)
				catalog, err := dir.Open(t.Context(), mem.New())
				if err != nil {
					t.Error(err)
					return
				}
				o := w.Options
				o.Catalog = catalog
				other.Serializer = New(o)
				if _, err := other.Run(t.Context(), other.job); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
		w.settleAll(t, days)
		alone := newWorld(t)
		alone.job.Schema.MaxRewrite = 100
		for _, day := range random.Perm(days) {
			alone.on(day+1).land(t, all[day+1]...)
			alone.on(day + 1).run(t)
		}
		alone.settleAll(t, days)
		types := func(w *world) string {
			b, err := w.head(t).Evidence().Resolve().MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		if diff := cmp.Diff(types(alone), types(w)); diff != "" {
			t.Fatalf("seed %d: one after the other, and at once:\n%s", seed, diff)
		}
		for day := 1; day <= days; day++ {
			if diff := cmp.Diff(alone.on(day).flat(t), w.on(day).flat(t)); diff != "" {
				t.Fatalf("seed %d, day %d: one after the other, and at once:\n%s", seed, day, diff)
			}
		}
		numbers := 0
		for _, err := range w.Tables.List(t.Context(), "_headwater/schema/", "") {
			if err != nil {
				t.Fatal(err)
			}
			numbers++
		}
		if head := w.head(t).Number; head != numbers {
			t.Errorf("seed %d: %d objects, and the head is version %d", seed, numbers, head)
		}
	}
}

// settleAll runs what is stale until nothing is.
func (w *world) settleAll(t testing.TB, days int) {
	t.Helper()
	for range 10 {
		again := false
		for day := 1; day <= days; day++ {
			if w.on(day).stale(t) {
				w.on(day).run(t)
				again = true
			}
		}
		if !again {
			return
		}
	}
	t.Fatal("there is always a day that is stale")
}

// TestLedgerIsDamaged: what is no version is named and nothing is made of a guess.
func TestLedgerIsDamaged(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"a":1}`)
	for _, text := range []string{
		"", "{", `{"v":2,"version":1,"record":{}}`, `{"v":1,"version":1,"record":{"seen":"date"}}`,
		`{"v":1,"version":1,"record":{"fields":{"raw_data":{"fields":{"a":{"pin":"date"}}}}}}`,
	} {
		if _, err := w.tables.Put(t.Context(), "_headwater/schema/market.ticks/v000001.json", strings.NewReader(text), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.on(1).Run(t.Context(), w.on(1).job); !errors.Is(err, ledger.ErrFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestStandsAlone: without the ledger every day has the types of its own.
func TestStandsAlone(t *testing.T) {
	w := newWorld(t)
	w.job.Schema.Ledger = LedgerOff
	for day, value := range []string{"1", "1.5", `"t"`} {
		w.on(day+1).land(t, `{"a":`+value+`,"d`+strconv.Itoa(day)+`":1}`)
		w.on(day + 1).run(t)
	}
	for day, typ := range []string{"bigint", "double", "string"} {
		if got, want := w.on(day+1).columns(t), fmt.Sprintf("a:%s,d%d:bigint", typ, day); got != want || w.on(day+1).stale(t) {
			t.Errorf("day %d: %s, want %s", day+1, got, want)
		}
	}
	if _, err := w.Tables.Stat(t.Context(), "_headwater/schema/market.ticks/v000001.json"); !errors.Is(err, lake.ErrNotExist) {
		t.Error("there is a ledger:", err)
	}
}

// TestCast: a day whose raw objects have expired gets the types of today from its own files.
func TestCast(t *testing.T) {
	w := newWorld(t)
	docs := []string{
		`{"a":1,"b":1.5,"big":1,"l":[1,null,2],"s":{"c":true},"n":[[1],[],null,[2,3]]}`, `{"a":null,"b":-1e30,"l":[],"s":{"c":null}}`,
		`{"a":-9007199254740993,"big":9223372036854775807,"s":null,"t":"x"}`,
	}
	w.on(1).land(t, docs...)
	w.on(1).run(t)
	w.on(2).land(t, `{"a":"x","b":"y","big":9223372036854775808,"l":[0.5],"s":{"c":"z"},"n":[["q"]]}`)
	w.on(2).run(t)
	rows := []string{
		"a=1 b=1.5 big=1m l=[1 <nil> 2] n=[[1] [] <nil> [2 3]] s_c=true", "b=-1e+30 l=[] s_c=", "a=-9007199254740993 big=9223372036854775807m t=x",
	}
	rows[1] = "b=-1e+30 l=[]"
	if err := w.raw.Delete(t.Context(), lake.RawKey("topics", testTopic, "date=2026-07-01", 0, 1000)); err != nil {
		t.Fatal(err)
	}
	if !w.on(1).stale(t) {
		t.Fatal("the day is not stale")
	}
	w.on(1).run(t)
	w.on(1).want(t, "a:string,b:string,big:decimal(38,0),l:array<double>,n:array<array<string>>,s_c:string,t:string", rows...)
	if w.on(1).stale(t) {
		t.Error("it is stale after it was cast")
	}
	raw := w.on(1).rows(t, w.job.Raw)
	if got := fmt.Sprint(raw[0].(map[string]any)["raw_data"]); got != "map[a:1 b:1.5 big:1m l:[1 <nil> 2] n:[[1] [] <nil> [2 3]] s:map[c:true]]" {
		t.Error("the raw table:", got)
	}
	days, err := w.Marked(t.Context(), w.job)
	if err != nil || len(days) != 1 || days[0] != w.on(1).job.Day {
		t.Error("marked:", days, err)
	}
	w.on(1).fails(t, ErrNoInput, "no objects")
	if days, err = w.Marked(t.Context(), w.job); err != nil || len(days) != 0 {
		t.Error("marked, though a run has found it in order:", days, err)
	}
}

// TestCastLosesNothing: what cannot be cast without its raw values leaves the day as it is, and says so.
func TestCastLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"a":[1]}`)
	w.on(1).run(t)
	w.on(2).land(t, `{"a":"x"}`)
	w.on(2).run(t)
	if err := w.raw.Delete(t.Context(), lake.RawKey("topics", testTopic, "date=2026-07-01", 0, 1000)); err != nil {
		t.Fatal(err)
	}
	before := w.on(1).file(t, w.job.Flat)
	w.on(1).fails(t, ErrData, "a: array<bigint> cannot be cast to string")
	if !bytes.Equal(before, w.on(1).file(t, w.job.Flat)) {
		t.Error("the day has another file")
	}
	long := &parquet.Values{Longs: []int64{1<<53 + 1}}
	if _, err := castValues(long, schema.Long, schema.Double); err == nil {
		t.Error("a long is rounded")
	}
}

// TestOnePassByLedger: what the ledger knows is read once, also where something waits; what is new is read twice.
func TestOnePassByLedger(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"a":{"b":1.5},"l":[1],"text":"x"}`)
	w.on(1).run(t)
	for i, doc := range []string{`{"a":{"b":1},"text":[{"k":1}]}`, `{"a":"odd"}`, `{"a":"odd again"}`, `{"new":1}`} {
		day := w.on(i + 2)
		day.land(t, doc)
		r := &run{Serializer: day.Serializer, job: day.job}
		if err := r.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		l, err := r.guess(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.write(t.Context(), *l)
		if err != nil {
			t.Fatal(err)
		}
		if want := i%2 == 1; s.misfit != want {
			t.Errorf("%s is read again: %v, want %v", doc, s.misfit, want)
		}
		r.discard()
		day.run(t)
	}
}

// meddling is a quarantine's store that does something once before it is written to, which is after the files are made and before they are
// published.
type meddling struct {
	lake.Store
	once func()
}

func (m *meddling) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	if m.once != nil {
		m.once()
		m.once = nil
	}
	return m.Store.List(ctx, prefix, after)
}

func (m *meddling) Put(ctx context.Context, key string, body io.ReadSeeker, cond lake.Condition) (lake.Object, error) {
	if m.once != nil {
		m.once()
		m.once = nil
	}
	return m.Store.Put(ctx, key, body, cond)
}

// TestMovedTypes: nothing is published under types that another run has changed while the files were made.
func TestMovedTypes(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"a":1}`)
	w.on(1).run(t)
	w.on(2).land(t, `{"a":2}`, `no JSON`)
	w.on(3).land(t, `{"a":0.5}`)
	o := w.Options
	between := 0
	o.Quarantine.Store = &meddling{Store: w.raw, once: func() {
		between++
		w.on(3).runOnce(t)
	}}
	second := w.on(2)
	second.Serializer = New(o)
	if _, err := second.Run(t.Context(), second.job); err != nil {
		t.Fatal(err)
	}
	if between != 1 {
		t.Fatal("the other run did not come between")
	}
	if got := w.on(2).columns(t); got != "a:double" {
		t.Errorf("it is published with the old types: %s", got)
	}
}
