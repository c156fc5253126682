package serialize

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
	"headwater/table/dir"
)

// twice never guesses; once guesses always, from all that there is, and the others from so little that they miss things.
var (
	twice  = sampling{from: 1 << 62}
	once   = sampling{objects: 1 << 20, records: 1 << 40, bytes: 1 << 40}
	scarce = []sampling{{objects: 1, records: 1, bytes: 1 << 20}, {objects: 2, records: 20, bytes: 1 << 20}, {objects: 3, records: 1000, bytes: 300, end: true}}
)

// otherwise is the world with other tables and quarantine, of the same objects, and with what is there besides.
func (w *world) otherwise(t testing.TB, s sampling, others map[string][]byte) *world {
	t.Helper()
	tables := mem.New()
	for key, data := range others {
		if _, err := tables.Put(t.Context(), key, bytes.NewReader(data), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := dir.Open(t.Context(), tables)
	if err != nil {
		t.Fatal(err)
	}
	o := w.Options
	o.Tables, o.Catalog, o.Quarantine = tables, catalog, lake.Quarantine{Store: mem.New(), Dir: o.Temp}
	z := New(o)
	z.sampling = s
	return &world{Serializer: z, raw: w.raw, tables: tables, job: w.job}
}

// agrees runs the day with other guesses and wants the same tables, quarantine and numbers.
func (w *world) agrees(t testing.TB, r Result, besides map[string][]byte, others ...sampling) {
	t.Helper()
	for _, s := range others {
		other := w.otherwise(t, s, besides)
		got := other.runOnce(t)
		if got.Rows != r.Rows || got.Quarantined != r.Quarantined {
			t.Errorf("%+v: %d rows and %d quarantined, without %d and %d", s, got.Rows, got.Quarantined, r.Rows, r.Quarantined)
		}
		if !r.NoOp && (!cmp.Equal(r.Reasons, got.Reasons) || got.LoneSurrogates != r.LoneSurrogates) {
			t.Errorf("%+v: %+v, without %+v", s, got, r)
		}
		for _, n := range []table.Name{w.job.Raw, w.job.Flat} {
			if !bytes.Equal(w.file(t, n), other.file(t, n)) {
				t.Errorf("%+v: %s has other bytes", s, n)
			}
		}
		if diff := cmp.Diff(w.quarantined(t), other.quarantined(t)); diff != "" {
			t.Errorf("%+v: the quarantine is other (-this +that):\n%s", s, diff)
		}
	}
}

// quarantined is what is in quarantine of the day.
func (w *world) quarantined(t testing.TB) (all []lake.Entry) {
	t.Helper()
	for e, err := range w.Quarantine.Read(t.Context(), lake.QuarantineKey("serialize", w.job.Source, w.job.Day.String(), w.job.Day.String())) {
		if errors.Is(err, lake.ErrNotExist) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// surprise is a record that a sample may miss; some change the schema, some only seem to, and some are unfit.
func (r texts) surprise() string {
	lines := []string{
		envelopeOf(`{"new":` + r.value(2) + `}`),
		envelopeOf(`{"a":` + r.value(3) + `,"c":` + r.value(1) + `}`),
		envelopeOf(`{"n":1.5}`), envelopeOf(`{"n":9007199254740993}`), envelopeOf(`{"n":18446744073709551616}`), envelopeOf(`{"n":1` + strings.Repeat("0", 40) + `}`),
		envelopeOf(`{"f":9007199254740993}`), envelopeOf(`{"f":1}`), envelopeOf(`{"f":1e400}`), envelopeOf(`{"n":true}`), envelopeOf(`{"n":[1]}`),
		envelopeOf(`{"late":null}`), envelopeOf(`{"late":[]}`), envelopeOf(`{"late":{}}`), envelopeOf(`{"late":{"x":null}}`), envelopeOf(`{"late":[[null]]}`),
		envelopeOf(`{"l":[[1]]}`), envelopeOf(`{"l":[{"x":1}]}`), envelopeOf(`{"l":[1.5,null]}`), envelopeOf(`{"l":null,"o":null}`), envelopeOf(`{"o":[]}`),
		envelopeOf(`{"mixed":{"k":[{"j":1}]}}`), envelopeOf(`{"mixed":{"k":1,"k":2}}`), envelopeOf(`{"mixed":[1, {"j" : "\ud800"}]}`), envelopeOf(`{"mixed":{"k":1}`),
		envelopeOf(`{"n":1,"n":2}`), envelopeOf(`{"l":[1,2],"s":"\ud800","o":{"x":1,"x":1}}`), envelopeOf(`{"new2":1,"l":["cut`), `no JSON`, `[]`, `"x"`,
		envelopeOf(`null`), envelopeOf(`[]`), envelopeOf(`"bare"`), envelopeOf(`7`), envelopeOf(`{}`),
		strings.Replace(envelopeOf(`{"n":"x"}`), `"h"}`, `"h","malformed":"x"}`, 1),
		strings.Replace(envelopeOf(`{"n":1}`), `"h"}`, `"h","trace":{"id":"x"}}`, 1),
		strings.Replace(envelopeOf(`null`), `"host_name"`, `"only_of_nulls"`, 1),
		strings.Replace(envelopeOf(`{"n":"x"}`), fmt.Sprint(noon), fmt.Sprint(noon+86400000), 1),
		strings.Replace(envelopeOf(`{"n":"x"}`), fmt.Sprint(noon), `"noon"`, 1),
		strings.Replace(envelopeOf(`{"n":"x"}`), `"ingestion_timestamp"`, `"time"`, 1),
		strings.Replace(envelopeOf(`{"n":1}`), `}`, `},"beside":[1,"x"]`, 1),
		fmt.Sprintf(`{"ingestion_timestamp":%d,"metadata":{"host_name":"h"},"raw_data":%s}`, noon, r.value(1)),
	}
	return lines[r.IntN(len(lines))]
}

// TestGuesses: whatever a sample misses, the tables and the quarantine are those of all records. Both ends of a guess are met often.
func TestGuesses(t *testing.T) {
	held, missed := 0, 0
	for seed := range uint64(50) {
		r := texts{rand.New(rand.NewPCG(seed, 11))}
		w := newWorld(t)
		w.sampling = twice
		w.Config.Workers = 1 + int(seed%3)
		for range 1 + r.IntN(4) {
			var lines []string
			for i := range 1 + r.IntN(40) {
				lines = append(lines, envelopeOf(fmt.Sprintf(`{"n":%d,"f":0.5,"s":"é\n%d","l":[%d,null],"o":{"x":{"y":true}},"mixed":%s,"none":null}`,
					i, i, i, either(i%2 == 0, `1`, `"x"`))))
				if seed%7 == 0 {
					lines[len(lines)-1] = envelopeOf(r.value(int(seed % 3)))
				}
				if r.IntN(30) == 0 {
					lines = append(lines, r.surprise())
				}
			}
			w.put(t, lines...)
		}
		w.agrees(t, w.runOnce(t), nil, append(scarce, once)...)
		for _, s := range scarce {
			switch how := w.guessed(t, s); {
			case how == nil:
			case how.misfit:
				missed++
			default:
				held++
			}
		}
		if t.Failed() {
			t.Fatal("seed", seed)
		}
	}
	if t.Logf("%d guesses held and %d did not", held, missed); held < 20 || missed < 20 {
		t.Errorf("%d guesses held and %d did not, so one of the two is hardly tested", held, missed)
	}
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// guessed is how a guess ended, nil if there was none.
func (w *world) guessed(t testing.TB, s sampling) *scanned {
	t.Helper()
	r := &run{Serializer: w.otherwise(t, s, nil).Serializer, job: w.job}
	defer func() { r.discard() }()
	if err := r.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := r.guess(t.Context())
	if err != nil || l == nil {
		return nil
	}
	how, err := r.write(t.Context(), *l)
	if err != nil {
		t.Fatal(err)
	}
	return how
}

// TestGuessIsKept: what leaves the columns as they are costs no second pass.
func TestGuessIsKept(t *testing.T) {
	const first = `{"n":1,"b":18446744073709551616,"f":0.5,"s":"x","l":[1],"o":{"x":1},"mixed":[1,"x",{"k":1}],"text":{"k":"x"},"none":null}`
	for doc, kept := range map[string]bool{
		`{}`: true, `{"n":null,"o":null,"l":null}`: true, `{"n":9007199254740993}`: true, `{"n":1.5}`: false, `{"n":1e2}`: false, `{"n":18446744073709551616}`: false,
		`{"n":"1"}`: false, `{"n":true}`: false, `{"n":[1]}`: false, `{"n":{}}`: false, `{"b":1}`: true, `{"b":9007199254740993}`: true, `{"b":0.5}`: false,
		`{"f":1}`: true, `{"f":9007199254740993}`: false, `{"f":1e400}`: false, `{"f":18446744073709551616}`: false, `{"s":1}`: true, `{"s":{"new":[1,{}]}}`: true, `{"l":[]}`: true,
		`{"l":[null]}`: true, `{"l":[1.5]}`: false, `{"l":[[]]}`: false, `{"l":{}}`: false, `{"o":{}}`: true, `{"o":{"x":1,"y":1}}`: false, `{"o":{"x":1,"y":null}}`: true, `{"o":[]}`: false,
		`{"mixed":[true,{"k":{"j":[]}}]}`: true, `{"mixed":1}`: false, `{"none":[]}`: true, `{"none":{"x":[null,{}]}}`: true, `{"none":1}`: false, `{"none":[[1]]}`: false,
		`{"new":null}`: true, `{"new":1}`: false, `{"n":1,"n":1.5}`: true, `{"new":1,"cut":`: true, `1`: true, `[1.5]`: true, `null`: true,
	} {
		w := newWorld(t)
		w.put(t, envelopeOf(first), envelopeOf(doc), envelopeOf(`{"n":2}`))
		w.agrees(t, w.runOnce(t), nil, scarce[0])
		if got := !w.guessed(t, scarce[0]).misfit; got != kept {
			t.Errorf("after %s, %s leaves the columns: %v, want %v", first, doc, got, kept)
		}
	}
}

// TestHollowTwice: what says nothing alone may say something together with what was met elsewhere.
func TestHollowTwice(t *testing.T) {
	w := newWorld(t)
	with := func(raw, x string) string {
		return strings.Replace(envelopeOf(raw), `"h"}`, `"h","x":`+x+`}`, 1)
	}
	w.put(t, envelopeOf(`{"n":1}`), with(`{"n":2}`, `[]`), with(`null`, `{}`))
	w.run(t)
	if got := fieldType(w.footer(t, w.job.Raw).Schema, "metadata").String(); got != "struct<host_name:string,thread_id:bigint,x:string>" {
		t.Error(got)
	}
	if !w.guessed(t, scarce[0]).misfit {
		t.Error("the guess had no such column, and yet it held")
	}
}

// own is what the records are cut into without a ledger.
func (s *scanned) own() layout { return layout{record: s.evidenceOfRows().Resolve(), rows: s.rowsOf()} }

// FuzzGuess guesses from one record and reads another: it is refused for the same reason as without a guess and leaves nothing behind, or it
// is a misfit exactly if the two together need other columns.
func FuzzGuess(f *testing.F) {
	r := texts{rand.New(rand.NewPCG(5, 5))}
	for range 300 {
		f.Add([]byte(r.value(3)), []byte(r.value(3)))
		f.Add([]byte(`{"n":1,"f":0.5,"s":"x","l":[1],"o":{"x":1},"mixed":[1,"x"],"none":null}`), []byte(strings.TrimSuffix(strings.TrimPrefix(r.surprise(), `{"raw_data":`), `,"metadata":{"thread_id":1,"host_name":"h"},"ingestion_timestamp":1783252800000}`)))
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		before, both := newInferrer(reading{}, noon, noon+1, 1<<20), newInferrer(reading{}, noon, noon+1, 1<<20)
		lines := [][]byte{[]byte(envelopeOf(string(first))), []byte(envelopeOf(string(second)))}
		if _, reason := before.record(lines[0]); reason != "" {
			return
		}
		both.record(lines[0])
		of, reason := both.record(lines[1])
		guess, truth := scanned{evidence: before.evidence()}, scanned{evidence: both.evidence()}
		guess.layout, truth.layout = guess.own(), truth.own()
		if depthOf(truth.layout.record) > schema.DeepestColumn-5 {
			return // where text begins, what says nothing has a column, which only the end of the pass tells
		}
		w := newInferrer(reading{}, noon, noon+1, 1<<20)
		w.cutInto(guess.layout)
		w.cut.out = &batch{leaves: make([]leaf, len(w.cut.leaves))}
		if w.record(lines[0]); w.misfit {
			t.Fatalf("%s does not fit its own columns", lines[0])
		}
		levels := func() (n []int) {
			for _, l := range w.cut.finish().leaves {
				n = append(n, l.Def.Len(), len(l.Rep), len(l.Longs)+len(l.Doubles)+len(l.Bools), len(l.Data))
			}
			return append(n, w.cut.out.rows, w.cut.out.levels, w.cut.out.bytes, int(w.cut.lone))
		}
		had := levels()
		got, why := w.record(lines[1])
		if got != of || why != reason {
			t.Fatalf("%s: %d %q, without a guess %d %q", lines[1], got, why, of, reason)
		}
		if now := levels(); w.cut.out.rows == had[len(had)-4] && !cmp.Equal(had, now) {
			t.Fatalf("%s is no row, and leaves something behind: %v, before %v", lines[1], now, had)
		}
		if row := w.cut.out.rows > had[len(had)-4]; row == (reason != "" || w.misfit || of == classBare && guess.layout.rows == classObject) {
			t.Fatalf("%s after %s is a row: %v", lines[1], lines[0], row)
		}
		same := guess.layout.rows == truth.layout.rows && schema.Equal(guess.layout.record, truth.layout.record)
		if w.misfit == same {
			t.Fatalf("%s after %s does not fit: %v, but the columns stay: %v", lines[1], lines[0], w.misfit, same)
		}
	})
}

// TestLastLines: the end of an object is found without what comes before it.
func TestLastLines(t *testing.T) {
	w := newWorld(t)
	noise := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // which never fails
	for name, test := range map[string]struct {
		members []string
		want    string
	}{
		"members":         {[]string{"a\nb\n", "c\nd\n", "e\n"}, "c d e"},
		"one member":      {[]string{"a\nb\n"}, "a b"},
		"a long one":      {[]string{"a\n", hex.EncodeToString(noise) + "\n"}, ""},
		"after long ones": {[]string{"a\n", hex.EncodeToString(noise) + "\n", "b\n", "c\n"}, "b c"},
		"looks like one":  {[]string{"a\n", hex.EncodeToString(noise) + "\n", "b\n", "\x1f\x8b\x08\x00_____\xff\xff\xff\xff"}, "b"},
		"one after":       {[]string{"a\n", hex.EncodeToString(noise) + "\n", "b\n"}, "b"},
	} {
		var data []byte
		for _, m := range test.members {
			if strings.HasPrefix(m, "\x1f") {
				data = append(data, m...)
			} else {
				data = append(data, zip(t, m)...)
			}
		}
		tail := lake.Tail{Log: testLog, Next: 1, Count: 1}
		key := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 0)
		w.putObject(t, key, tail.Append(data))
		in := input{Object: w.stat(t, key)}
		var got []string
		for l, err := range w.lastLines(t.Context(), in) {
			if err != nil {
				t.Fatal(name, err)
			}
			got = append(got, string(l.text))
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	w.putObject(t, "text", []byte("a\nb\n"))
	for l, err := range w.lastLines(t.Context(), input{Object: w.stat(t, "text")}) {
		t.Error(l, err)
	}
	in := input{Object: w.stat(t, "text")}
	w.putObject(t, "text", []byte("other\n"))
	for l, err := range w.lastLines(t.Context(), in) {
		if !errors.Is(err, lake.ErrChanged) {
			t.Error(l, err)
		}
	}
}

func (w *world) stat(t testing.TB, key string) lake.Object {
	t.Helper()
	o, err := w.raw.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestEndIsSampled: a column that only the end of the day shows is guessed.
func TestEndIsSampled(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"a":1}`), envelopeOf(`{"a":2}`))
	w.put(t, envelopeOf(`{"a":3}`), envelopeOf(`{"a":4,"late":1}`))
	for _, end := range []bool{false, true} {
		if fits := !w.guessed(t, sampling{objects: 2, records: 1, bytes: 1 << 20, end: end}).misfit; fits != end {
			t.Errorf("with the end %v: the guess holds: %v", end, fits)
		}
	}
}
