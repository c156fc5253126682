package serialize

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/serialize/parquet"
	"headwater/table"
)

func (w *world) fails(t *testing.T, want error, words ...string) {
	t.Helper()
	_, err := w.Run(t.Context(), w.job)
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not name %s", err, word)
		}
	}
	if want == ErrData && retry.Classify(err) != retry.Permanent {
		t.Errorf("%v would be tried again", err)
	}
}

func (w *world) absent(t *testing.T) {
	t.Helper()
	for _, n := range []table.Name{w.job.Raw, w.job.Flat} {
		if seen, err := table.Look(t.Context(), w.tables, n, w.job.Day); err != nil || seen.Exists {
			t.Errorf("%s: published %v, %v", n, seen.Exists, err)
		}
	}
}

func TestDamagedObjects(t *testing.T) {
	whole := zip(t, envelopeOf(`{"a":1}`)+"\n"+envelopeOf(`{"a":"`+strings.Repeat("xyz", 100)+`"}`)+"\n")
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-6] ^= 1 // the checksum
	for name, data := range map[string][]byte{
		"cut": whole[:len(whole)/2], "cut in the checksum": whole[:len(whole)-3], "flipped": flipped, "only the magic": whole[:5], "empty": nil,
		"garbage behind": append(bytes.Clone(whole), "garbage that is no gzip"...),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(t, envelopeOf(`{"a":0}`))
			key := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 1)
			w.putObject(t, key, data)
			w.fails(t, ErrData, key)
			w.absent(t)
		})
	}
}

func TestTailMustAgree(t *testing.T) {
	w := newWorld(t)
	key := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 0)
	tail := lake.Tail{Log: testLog, First: 0, Next: 3, Count: 3}
	w.putObject(t, key, tail.Append(zip(t, envelopeOf(`{}`)+"\n\n"+envelopeOf(`{}`)+"\n")))
	w.fails(t, ErrData, key, "2 records", "with 3")
	w.absent(t)
}

func TestOverlap(t *testing.T) {
	tests := map[string]func(t *testing.T, w *world) (a, b string){
		"by tails": func(t *testing.T, w *world) (string, string) {
			a := w.put(t, envelopeOf(`{}`), envelopeOf(`{}`))
			w.next--
			return a, w.put(t, envelopeOf(`{}`))
		},
		"inside": func(t *testing.T, w *world) (string, string) {
			a := w.put(t, envelopeOf(`{}`), envelopeOf(`{}`), envelopeOf(`{}`))
			w.next = 1
			w.put(t, envelopeOf(`{}`))
			w.next = 2
			return a, lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 1)
		},
		"a connector's after ours": func(t *testing.T, w *world) (string, string) {
			a := w.put(t, envelopeOf(`{}`), envelopeOf(`{}`))
			b := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 1)
			w.putObject(t, b, zip(t, envelopeOf(`{}`)+"\n"))
			return a, b
		},
		"ours after a connector's": func(t *testing.T, w *world) (string, string) {
			a := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 0)
			w.putObject(t, a, zip(t, strings.Repeat(envelopeOf(`{}`)+"\n", 5)))
			w.next = 4
			return a, w.put(t, envelopeOf(`{}`))
		},
		"without tails": func(t *testing.T, w *world) (string, string) {
			a := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 0)
			w.putObject(t, a, zip(t, strings.Repeat(envelopeOf(`{}`)+"\n", 5)))
			b := lake.RawKey("topics", testTopic, "date=2026-07-05", 0, 4)
			w.putObject(t, b, zip(t, envelopeOf(`{}`)+"\n"))
			return a, b
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, b := prepare(t, w)
			w.fails(t, ErrData, a, b)
			w.absent(t)
		})
	}
}

// TestFoldersOfHours: late records make objects of several hours interleave, with or without tails.
func TestFoldersOfHours(t *testing.T) {
	w := newWorld(t)
	put := func(hour int, p int32, first, next, count int64, told bool) {
		data := zip(t, strings.Repeat(envelopeOf(`{}`)+"\n", int(count)))
		if told {
			data = lake.Tail{Log: testLog, First: first, Next: next, Count: count}.Append(data)
		}
		w.putObject(t, lake.RawKey("topics", testTopic, fmt.Sprintf("date=2026-07-05/hour=%02d", hour), p, first), data)
	}
	for p, told := range []bool{true, false} {
		put(1, int32(p), 0, 10, 5, told)
		put(2, int32(p), 3, 12, 4, told)
		put(1, int32(p), 10, 14, 3, told)
	}
	if r := w.run(t); r.Rows != 24 {
		t.Error(r.Rows)
	}
	put(2, 0, 11, 13, 1, true)
	w.fails(t, ErrData, "hour=02", "+0000000003", "+0000000011")
}

// TestConnectorObjects are those of the real connector: no tail, gaps between them, several Kafka partitions, plain text.
func TestConnectorObjects(t *testing.T) {
	w := newWorld(t)
	line := func(i int) string { return envelopeOf(fmt.Sprintf(`{"i":%d}`, i)) + "\n" }
	key := func(p int32, offset int64) string {
		return lake.RawKey("topics", testTopic, "date=2026-07-05", p, offset)
	}
	w.putObject(t, key(0, 0), zip(t, line(0)+line(1)))
	w.putObject(t, key(0, 2), zip(t, line(2)))
	w.putObject(t, key(0, 1000), []byte(line(3)+"\n\r\n"+strings.TrimSuffix(line(4), "\n")))
	w.putObject(t, key(1, 0), zip(t, ""))
	w.putObject(t, key(2, 0), append(zip(t, line(5)), zip(t, line(6))...))
	w.putObject(t, "topics/"+testTopic+"/date=2026-07-05/_SUCCESS", nil)
	w.putObject(t, "_superseded/"+key(0, 2), zip(t, line(9))) // moved away by land adopt
	w.putObject(t, lake.RawKeyGeneration("topics", testTopic, "date=2026-07-05", 0, 2, 0), zip(t, line(7)))
	r := w.run(t)
	var got []int64
	for _, row := range w.rows(t, w.job.Flat) {
		got = append(got, row.(map[string]any)["i"].(int64))
	}
	if diff := cmp.Diff([]int64{0, 1, 2, 3, 4, 7, 5, 6}, got); diff != "" || r.Objects != 6 {
		t.Error(r.Objects, diff)
	}
}

func TestStrangeFileIsNamed(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{}`))
	w.putObject(t, "topics/"+testTopic+"/date=2026-07-05/notes.txt", []byte("x"))
	w.fails(t, ErrData, "notes.txt")
}

// TestMissingRawEmptiesNothing: raw objects that have expired take no rows with them.
func TestMissingRawEmptiesNothing(t *testing.T) {
	w := newWorld(t)
	key := w.put(t, envelopeOf(`{"a":1}`))
	w.run(t)
	before := w.file(t, w.job.Flat)
	if err := w.raw.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	w.fails(t, ErrNoInput)
	if !bytes.Equal(before, w.file(t, w.job.Flat)) {
		t.Error("the table partition changed")
	}
	if stale, err := w.Stale(t.Context(), w.job); stale || err != nil {
		t.Error(stale, err)
	}
}

func TestShrinkIsRefused(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"a":1}`))
	key := w.put(t, envelopeOf(`{"a":2}`))
	w.run(t)
	if err := w.raw.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	w.fails(t, table.ErrShrink)
	w.job.AllowShrink = true
	if r := w.run(t); r.Rows != 1 || len(w.rows(t, w.job.Flat)) != 1 {
		t.Error(r)
	}
}

// replacer is a store in which an object is replaced after it was listed.
type replacer struct {
	lake.Store
	replace func()
	mu      sync.Mutex
	// left is how many reads of whole objects come before.
	left int
}

func (r *replacer) Get(ctx context.Context, key string, offset, n int64) (io.ReadCloser, lake.Object, error) {
	if offset == 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.left--; r.left < 0 {
			r.replace()
		}
	}
	return r.Store.Get(ctx, key, offset, n)
}

func TestReplacedObject(t *testing.T) {
	for pass := range 2 {
		w := newWorld(t)
		key := w.put(t, envelopeOf(`{"a":1}`))
		w.Raw = &replacer{Store: w.raw, left: pass, replace: func() { w.putObject(t, key, zip(t, "{}")) }}
		w.fails(t, lake.ErrChanged, key)
		w.absent(t)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	w.Config.RecordBytes = 1 << 20
	deep := func(n int) string { return strings.Repeat(`[`, n-1) + strings.Repeat(`]`, n-1) }
	long := strings.Repeat("x", 2<<20)
	w.put(t,
		envelopeOf(`{"a":`+deep(1000)+`}`),
		envelopeOf(`{"a":`+deep(1001)+`}`),
		envelopeOf(`{"a":`+strings.Repeat(`[`, 300_000)),
		envelopeOf(`{"a":"`+long+`"}`),
		envelopeOf(`{"a":"`+long[:1<<19]+`"}`),
		long,
	)
	r := w.run(t)
	want := map[string]int64{"too-deep": 2, "record-too-long": 2}
	if diff := cmp.Diff(want, r.Reasons); diff != "" || r.Rows != 2 {
		t.Error(r.Rows, diff)
	}
}

func TestTooManyColumns(t *testing.T) {
	w := newWorld(t)
	w.job.Schema.MaxColumns = 100
	var b strings.Builder
	for i := range 200 {
		fmt.Fprintf(&b, `,"id%d":1`, i)
	}
	w.put(t, envelopeOf(`{`+b.String()[1:]+`}`))
	w.fails(t, ErrData, "max_columns")
	w.absent(t)
}

// TestKeysAreBounded: ids for keys end the run before they fill the memory, also those that no column would come of.
func TestKeysAreBounded(t *testing.T) {
	nulls := func(from, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"id%d":null`, from+i)
		}
		return envelopeOf(`{"a":[{` + b.String()[1:] + `}]}`)
	}
	for name, lines := range map[string][]string{
		"in one record": {nulls(0, 1000)}, "long": {envelopeOf(`{"a":{"` + strings.Repeat("k", 50_000) + `":null}}`)}, "in many": {nulls(0, 250), nulls(250, 250), nulls(500, 250)},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.job.Schema.MaxColumns = 10
			w.put(t, lines...)
			w.fails(t, ErrData, "500 different keys", "max_columns")
			w.absent(t)
		})
	}
	w := newWorld(t)
	w.job.Schema.MaxColumns = 10
	var lines []string
	for i := range 20 { // those of records in quarantine do not count
		lines = append(lines, nulls(i*100, 100)+"x")
	}
	w.put(t, append(lines, nulls(0, 400))...)
	if r := w.run(t); r.Rows != 1 || r.Quarantined != 20 {
		t.Error(r)
	}
}

// TestSparseElements: what a batch holds is bounded also where a few bytes of text stand for many empty places.
func TestSparseElements(t *testing.T) {
	w := newWorld(t)
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `,"f%d":1`, i)
	}
	w.put(t, envelopeOf(`{"a":[{`+b.String()[1:]+`}]}`), envelopeOf(`{"a":[`+strings.Repeat("{},", 5000)+`{}]}`), envelopeOf(`{"a":[{}]}`))
	r := &run{Serializer: w.Serializer, job: w.job}
	if err := r.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := r.infer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.layout = layout{record: s.evidenceOfRows().Resolve(), rows: s.rowsOf()}
	c := &cut{layout: s.layout, queues: []chan *batch{make(chan *batch, 10)}, waiting: newWaiting(1 << 30)}
	in := newInferrer(reading{}, noon, noon+1, 1<<20)
	in.cutInto(s.layout)
	in.cut.out = c.batch(len(in.cut.leaves))
	p := &pass{run: r, cut: c, scanned: scanned{objects: make([]scannedObject, 1)}}
	if err := p.readObject(t.Context(), in, 0); err != nil {
		t.Fatal(err)
	}
	var rows []int
	for b := range c.queues[0] {
		rows = append(rows, b.rows)
	}
	if diff := cmp.Diff([]int{2, 1}, rows); diff != "" {
		t.Error(diff)
	}
}

// TestBareLinesAreRuns: a day of text lines is not held in memory line by line.
func TestBareLinesAreRuns(t *testing.T) {
	var o scannedObject
	for _, number := range []int64{1, 2, 3, 5, 6, 9} {
		o.addBare(number)
	}
	if want := []lineRun{{1, 3}, {5, 6}, {9, 9}}; !slices.Equal(want, o.bare) {
		t.Error(o.bare)
	}
	w := newWorld(t)
	w.put(t, envelopeOf(`"x"`), envelopeOf(`1`), envelopeOf(`null`), envelopeOf(`[]`), envelopeOf(`{}`), `{`, envelopeOf(`2`))
	r := w.run(t)
	if diff := cmp.Diff(map[string]int64{"kind": 4, "unexpected-end": 1}, r.Reasons); diff != "" || r.Rows != 2 {
		t.Error(r.Rows, diff)
	}
}

// TestFooterTooLong: a file whose footer is longer than anybody reads must not take the place of the table partition,
// because no later run could replace it.
func TestFooterTooLong(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 300 << 20
	end := append(binary.LittleEndian.AppendUint32(nil, size-100), "PAR1"...)
	if _, err := f.WriteAt(end, size-int64(len(end))); err != nil {
		t.Fatal(err)
	}
	if err := (&tempParquet{f: f}).check(); !errors.Is(err, ErrData) || !strings.Contains(err.Error(), "keys") {
		t.Error(err)
	}
}

func TestColumnsNestToALimit(t *testing.T) {
	w := newWorld(t)
	doc := `{"a":` + strings.Repeat(`[{"b":`, 400) + `1` + strings.Repeat(`}]`, 400) + `}`
	w.put(t, envelopeOf(doc))
	w.run(t)
	check(t, w, []string{doc})
	if n := depthOf(w.footer(t, w.job.Raw).Schema); n > 52 {
		t.Errorf("the type is %d deep", n)
	}
}

// TestPageTooLarge: rows that no page can have are a matter of the data, and the error says what to do.
func TestPageTooLarge(t *testing.T) {
	e := &encoder{columns: []*encoded{{name: "raw_data.list"}}, scratch: make([]parquet.Scratch, 2)}
	err := e.each(t.Context(), func(*encoded, *parquet.Scratch) error { return fmt.Errorf("%w: 3 bytes", parquet.ErrPage) })
	if !errors.Is(err, ErrData) || !strings.Contains(err.Error(), "raw_data.list") || !strings.Contains(err.Error(), "record_bytes") {
		t.Error(err)
	}
}
