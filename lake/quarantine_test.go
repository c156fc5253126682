package lake_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
)

const day = "2026-07-05"

// poison are entries of every kind, as they are read back.
func poison(stage, source string) []lake.Entry {
	all := []lake.Entry{
		{Reason: "no timestamp", Record: &lake.RecordPosition{Topic: "trades_raw"}, Data: []byte(`{"a":"<b>\u2028&"}`)},
		{Reason: "not UTF-8", Origin: "topics/x/date=1/x+0+0.json.gz", Position: "17", Data: []byte("\xff\xfe\x00broken")},
		{Reason: "too large", Stream: &lake.StreamPosition{Stream: "in/a.csv#2", Seq: 1 << 60}, Data: bytes.Repeat([]byte("0123456789"), 300_000)},
		{Reason: "empty"},
		{Reason: "lines", Data: []byte("a\nb\r\n\x00\x7f\u2028\U0010FFFF\ufffd")},
	}
	for i := range all {
		all[i].Stage, all[i].Source = stage, source
	}
	return all
}

func readQuarantine(t *testing.T, q lake.Quarantine, key string) []lake.Entry {
	t.Helper()
	var all []lake.Entry
	for e, err := range q.Read(t.Context(), key) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func stored(t *testing.T, s lake.Store) []string {
	t.Helper()
	var keys []string
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func TestCreate(t *testing.T) {
	t.Parallel()
	q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
	id := lake.LandID("trades_raw", 3, 42)
	want := poison("land", "trades")
	for _, e := range [][]lake.Entry{want, want[:1]} { // the second time is a retry
		if err := q.Create(t.Context(), "land", "trades", day, id, lake.Entries(e...)); err != nil {
			t.Fatal(err)
		}
	}
	key := "_quarantine/land/trades/date=2026-07-05/trades_raw+3+0000000042.json.gz"
	if diff := cmp.Diff([]string{key}, stored(t, q.Store)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, readQuarantine(t, q, key), cmp.Comparer(bytes.Equal)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := q.Create(t.Context(), "land", "trades", day, "none", lake.Entries()); err != nil || len(stored(t, q.Store)) != 1 {
		t.Errorf("Create of nothing: %v, and there are %q", err, stored(t, q.Store))
	}
}

func TestQuarantineFormat(t *testing.T) {
	t.Parallel()
	q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
	if err := q.Create(t.Context(), "serialize", "trades", day, "id", lake.Entries(poison("", "")[:2]...)); err != nil {
		t.Fatal(err)
	}
	r, _, err := q.Store.Get(t.Context(), lake.QuarantineKey("serialize", "trades", day, "id"), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := stdgzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"v":1,"stage":"serialize","source":"trades","reason":"no timestamp","record":{"topic":"trades_raw","partition":0,"offset":0},"length":18,"sha256":"ddb2fa771238a8d59f49b3ae94a56869637d69bc298ef8a9ae85b0fce41c2256","data":"{\"a\":\"<b>\\u2028&\"}"}
{"v":1,"stage":"serialize","source":"trades","reason":"not UTF-8","origin":"topics/x/date=1/x+0+0.json.gz","position":"17","length":9,"sha256":"2a8f4e7d8f3213620cf3037d99b02bdde84c19b8732c293c4de2591ccffed957","data_base64":"//4AYnJva2Vu"}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReplace(t *testing.T) {
	t.Parallel()
	q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
	want := poison("serialize", "trades")
	key := "_quarantine/serialize/trades/date=2026-07-05/2026-07-05.json.gz"
	exists := false
	for _, n := range []int{0, 5, 2, 0, 0, 1} {
		if err := replace(t, q, lake.Entries(want[:n]...)); err != nil {
			t.Fatal(err)
		}
		if exists = exists || n > 0; !exists {
			if keys := stored(t, q.Store); len(keys) != 0 {
				t.Errorf("after Replace by nothing there are %q", keys)
			}
			continue
		}
		if diff := cmp.Diff(append([]lake.Entry(nil), want[:n]...), readQuarantine(t, q, key), cmp.Comparer(bytes.Equal)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// replace is Replace by a writer that nobody disturbs.
func replace(t *testing.T, q lake.Quarantine, entries iter.Seq2[lake.Entry, error]) error {
	t.Helper()
	version, err := q.Version(t.Context(), "serialize", "trades", day)
	if err != nil {
		return err
	}
	return q.Replace(t.Context(), "serialize", "trades", day, version, entries)
}

// TestReplaceOutdated has a second writer, who knows of more, between a writer's look and its Replace.
func TestReplaceOutdated(t *testing.T) {
	t.Parallel()
	all := poison("serialize", "trades")
	for had := range 2 {
		for mine := range 2 {
			q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
			if err := replace(t, q, lake.Entries(all[:had]...)); err != nil {
				t.Fatal(err)
			}
			before, err := q.Version(t.Context(), "serialize", "trades", day)
			if err != nil {
				t.Fatal(err)
			}
			if err := q.Add(t.Context(), "serialize", "trades", day, nil, lake.Entries(all[had:]...)); err != nil {
				t.Fatal(err)
			}
			err = q.Replace(t.Context(), "serialize", "trades", day, before, lake.Entries(all[:mine]...))
			if nothing := had == 0 && mine == 0; !nothing && !errors.Is(err, lake.ErrChanged) || nothing && err != nil {
				t.Errorf("%d entries over %d: %v", mine, had, err)
			}
			if diff := cmp.Diff(all, readQuarantine(t, q, lake.QuarantineKey("serialize", "trades", day, day)), cmp.Comparer(bytes.Equal)); diff != "" {
				t.Errorf("%d entries over %d changed the day (-want +got):\n%s", mine, had, diff)
			}
		}
	}
}

func TestAdd(t *testing.T) {
	q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
	add := func(origin string, data ...string) {
		t.Helper()
		var es []lake.Entry
		for _, d := range data {
			es = append(es, lake.Entry{Reason: "bad", Origin: origin, Data: []byte(d)})
		}
		if err := q.Add(t.Context(), "serialize", "orders", "2026-07-05", map[string]bool{origin: true}, lake.Entries(es...)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(want ...string) {
		t.Helper()
		var got []string
		for e, err := range q.Read(t.Context(), lake.QuarantineKey("serialize", "orders", "2026-07-05", "2026-07-05")) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(e.Data))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	add("a", "a1", "a2")
	add("b", "b1")
	want("a1", "a2", "b1")
	add("a", "a1", "a2")
	want("a1", "a2", "b1")
	add("a", "a3")
	want("a3", "b1")
	add("b")
	want("a3")
	add("a")
	want()
	add("a", "a3")
	add("b", "b1")
	var g sync.WaitGroup
	for i := range 8 {
		g.Go(func() { add(string(rune('c'+i)), string(rune('c'+i))) })
	}
	g.Wait()
	want("a3", "b1", "c", "d", "e", "f", "g", "h", "i", "j")
}

func TestQuarantineFails(t *testing.T) {
	t.Parallel()
	store := mem.New()
	q := lake.Quarantine{Store: store, Dir: t.TempDir()}
	before := poison("serialize", "trades")[:1]
	if err := replace(t, q, lake.Entries(before...)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("reading raw broke")
	half := func(yield func(lake.Entry, error) bool) { _ = yield(before[0], nil) && yield(lake.Entry{}, broken) }
	atOnce := func(yield func(lake.Entry, error) bool) { yield(lake.Entry{}, broken) }
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	faulty := lake.Quarantine{Store: lakefault.New(store, lakefault.Rule{}), Dir: q.Dir}
	noDir := lake.Quarantine{Store: store, Dir: q.Dir + "/none"}
	for name, err := range map[string]error{
		"replace, entries fail":  replace(t, q, half),
		"replace, first fails":   replace(t, q, atOnce),
		"create, entries fail":   q.Create(t.Context(), "serialize", "trades", day, "id", half),
		"context ended":          q.Replace(ended, "serialize", "trades", day, "1", lake.Entries(before...)),
		"store fails":            faulty.Create(t.Context(), "serialize", "trades", day, "id", lake.Entries(before...)),
		"store fails to empty":   faulty.Replace(t.Context(), "serialize", "trades", day, "1", lake.Entries()),
		"no folder":              noDir.Create(t.Context(), "serialize", "trades", day, "id", lake.Entries(before...)),
		"odd day":                q.Create(t.Context(), "serialize", "trades", "2026-7-5", "id", lake.Entries(before...)),
		"slash in the id":        q.Create(t.Context(), "serialize", "trades", day, "a/b", lake.Entries(before...)),
		"slash in the source":    q.Create(t.Context(), "serialize", "../../x", day, "id", lake.Entries(before...)),
		"nothing for the source": q.Create(t.Context(), "serialize", "", day, "id", lake.Entries(before...)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if keys := stored(t, store); len(keys) != 1 {
		t.Errorf("failed calls left %q", keys)
	}
	if diff := cmp.Diff(before, readQuarantine(t, q, lake.QuarantineKey("serialize", "trades", day, day))); diff != "" {
		t.Errorf("failed calls changed the day (-want +got):\n%s", diff)
	}
}

func TestReadDamagedQuarantine(t *testing.T) {
	t.Parallel()
	q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
	good := `{"v":1,"stage":"land","source":"s","reason":"r","length":1,"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","data":"x"}` + "\n"
	whole := members(t, good, good)
	for name, c := range map[string]struct {
		data    []byte
		entries int
		fails   string
	}{
		"good":           {whole, 2, ""},
		"cut":            {whole[:len(whole)-20], 1, "unexpected EOF"},
		"no gzip":        {[]byte(good), 0, "gzip"},
		"empty":          {nil, 0, "EOF"},
		"other version":  {members(t, good, strings.Replace(good, `"v":1`, `"v":2`, 1)), 1, "version 2"},
		"other data":     {members(t, good, strings.Replace(good, `"x"`, `"y"`, 1)), 1, "line 2: the entry's data is damaged"},
		"no JSON":        {members(t, good, "{"), 1, "line 2"},
		"text after all": {members(t, good, "x"), 1, "line 2"},
		"half a header":  {members(t, good, strings.Replace(good, `"length"`, `"headers":[["a"]],"length"`, 1)), 1, "1 parts are no header"},
		"other encoding": {members(t, good, strings.Replace(good, `"length"`, `"headers":[["a","b","hex"]],"length"`, 1)), 1, "3 parts are no header"},
		"no base64":      {members(t, good, strings.Replace(good, `"length"`, `"headers":[["a","?","base64"]],"length"`, 1)), 1, "illegal base64"},
	} {
		key := "_quarantine/land/s/date=2026-07-05/" + name + ".json.gz"
		if _, err := q.Store.Put(t.Context(), key, bytes.NewReader(c.data), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
		entries, last := 0, error(nil)
		for _, err := range q.Read(t.Context(), key) {
			if last = err; err == nil {
				entries++
			}
		}
		if entries != c.entries || (last == nil) != (c.fails == "") {
			t.Errorf("%s: %d entries, %v", name, entries, last)
		}
		if last != nil && (!strings.Contains(last.Error(), c.fails) || !strings.Contains(last.Error(), key)) {
			t.Errorf("%s: %v, want %q and the key", name, last, c.fails)
		}
	}
	for _, err := range q.Read(t.Context(), "_quarantine/none") {
		if !errors.Is(err, lake.ErrNotExist) {
			t.Errorf("reading what is not there: %v", err)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	a := lake.CollectID("in/a.csv", "7", []byte("x"))
	if a != lake.CollectID("in/a.csv", "7", []byte("x")) || len(a) != 65 {
		t.Errorf("CollectID = %s", a)
	}
	for _, other := range []string{lake.CollectID("in/b.csv", "7", []byte("x")), lake.CollectID("in/a.csv", "8", []byte("x")), lake.CollectID("in/a.csv", "7", []byte("y"))} {
		if other == a {
			t.Errorf("the id %s does not tell streams, names and data apart", a)
		}
	}
	if got := lake.LandID("x+y", 1, 12345678901); got != "x+y+1+12345678901" {
		t.Errorf("LandID = %s", got)
	}
}

func FuzzQuarantine(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add([]byte("\xff\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
		if err := q.Create(t.Context(), "land", "s", day, "id", lake.Entries(lake.Entry{Data: data})); err != nil {
			t.Fatal(err)
		}
		for e, err := range q.Read(t.Context(), lake.QuarantineKey("land", "s", day, "id")) {
			if err != nil || !bytes.Equal(e.Data, data) {
				t.Errorf("put in %q, got %q, %v", data, e.Data, err)
			}
		}
	})
}

// A large entry is not in memory several times over, and least of all with every byte escaped.
func TestLargeEntry(t *testing.T) {
	for name, data := range map[string][]byte{
		"escaped":   make([]byte, 2<<20),
		"not UTF-8": bytes.Repeat([]byte("\xff"), 2<<20),
		"wide":      bytes.Repeat([]byte("a\u20ac\U0001F600"), 200<<10),
	} {
		t.Run(name, func(t *testing.T) {
			q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := q.Create(t.Context(), "collect", "x", day, "id", lake.Entries(lake.Entry{Reason: "too large", Data: data})); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 20*uint64(len(data)) {
				t.Errorf("%d bytes were allocated for %d", got, len(data))
			}
			got := readQuarantine(t, q, lake.QuarantineKey("collect", "x", day, "id"))
			if len(got) != 1 || !bytes.Equal(got[0].Data, data) {
				t.Errorf("%d entries, or other data", len(got))
			}
		})
	}
}

// TestQuarantinedRecord: all that Kafka has of a record comes back, and what is empty is not what is missing.
func TestQuarantinedRecord(t *testing.T) {
	t.Parallel()
	q := lake.Quarantine{Store: mem.New(), Dir: t.TempDir()}
	want := []lake.Entry{
		{Key: []byte{}, Headers: [][2]string{{"a", "<1>"}, {"a", "\xff"}, {"", ""}}},
		{Key: []byte{0, 0xff}, Data: []byte("x")},
		{},
	}
	for i := range want {
		want[i].Stage, want[i].Source, want[i].Reason = "land", "trades", "no time"
	}
	if err := q.Create(t.Context(), "land", "trades", day, "id", lake.Entries(want...)); err != nil {
		t.Fatal(err)
	}
	got := readQuarantine(t, q, lake.QuarantineKey("land", "trades", day, "id"))
	for i := range got {
		got[i].Data = want[i].Data // nil or empty, which is told apart by the reason
		if (got[i].Key == nil) != (want[i].Key == nil) {
			t.Errorf("entry %d has the key %v, want %v", i, got[i].Key, want[i].Key)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
