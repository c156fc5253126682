package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/klauspost/compress/gzip"

	"headwater/lake"
)

// shapes are data that programs which make columns of it may find hard.
var shapes = []dataset{
	{"sparse", 200_000, "id", sparse},
	{"deep", 100_000, "id", deep},
	{"wide", 20_000, "id", wide},
}

const (
	sparseColumns, sparsePresent = 1500, 30
	deepLevels                   = 20
	wideColumns                  = 2000
)

// cell is a value of a column, whose kind is the column's own.
func cell(g *generator, column int) string {
	switch column % 4 {
	case 0:
		return strconv.Itoa(g.IntN(1_000_000))
	case 1:
		return decimal(g.IntN(1_000_000), 3)
	case 2:
		return `"` + one(g, nouns) + `"`
	}
	return either(g.in(500), "true", "false")
}

// sparse has very many columns, of which each record has a few.
func sparse(g *generator, n, _ int) string {
	var s strings.Builder
	fmt.Fprintf(&s, `{"id":%d`, n)
	for i := range sparsePresent {
		const step = sparseColumns / sparsePresent
		column := i*step + g.IntN(step)
		fmt.Fprintf(&s, `,"f%04d":%s`, column, cell(g, column))
	}
	return s.String() + "}"
}

// deep has objects inside of each other.
func deep(g *generator, n, _ int) string {
	var s strings.Builder
	fmt.Fprintf(&s, `{"id":%d`, n)
	for i := range deepLevels {
		fmt.Fprintf(&s, `,"in":{"a":%s,"b":%s`, cell(g, i), cell(g, i+1))
	}
	return s.String() + strings.Repeat("}", deepLevels+1)
}

// wide has very many columns in every record.
func wide(g *generator, n, _ int) string {
	var s strings.Builder
	fmt.Fprintf(&s, `{"id":%d`, n)
	for i := range wideColumns {
		fmt.Fprintf(&s, `,"f%04d":%s`, i, cell(g, i))
	}
	return s.String() + "}"
}

// doObjects puts the items of In into objects as land writes them, of one Kafka partition and one day.
func doObjects(_ context.Context, t task) (n int64, err error) {
	at := 0
	var next *object
	for p := range parts {
		f, err := os.Open(filepath.Join(t.In, fmt.Sprintf("part-%d.ndjson", p)))
		if err != nil {
			return 0, err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			if next == nil {
				next = newObject(n)
			}
			if err := next.add(lines.Bytes()); err != nil {
				return 0, err
			}
			n++
			if n == int64(t.Records*(at+1)/t.Objects) {
				if err := next.write(t.Out, t.Topic); err != nil {
					return 0, err
				}
				next = nil
				at++
			}
		}
		if err := lines.Err(); err != nil {
			return 0, err
		}
	}
	if next != nil || at != t.Objects {
		err = fmt.Errorf("%d objects of %d", at, t.Objects)
	}
	return n, err
}

// object is a raw object in the making.
type object struct {
	first, next int64
	data        bytes.Buffer
	z           *gzip.Writer
	// text is how long that of the gzip member is.
	text int
}

func newObject(first int64) *object {
	o := &object{first: first, next: first}
	o.z = gzip.NewWriter(&o.data)
	return o
}

// memberBytes is how much text goes into a gzip member, as land has it.
const memberBytes = 1 << 20

func (o *object) add(item []byte) error {
	const line = `{"raw_data":%s,"metadata":{"thread_id":%d,"host_name":"collector-%d","process_start_time":"2026-11-20T00:00:00Z"},"ingestion_timestamp":%d}` + "\n"
	const midnight, day = 1_795_132_800_000, 86_400_000
	n, err := fmt.Fprintf(o.z, line, item, o.next%16, o.next%5, midnight+o.next%day)
	o.next++
	if o.text += n; o.text < memberBytes || err != nil {
		return err
	}
	o.text = 0
	err = o.z.Close()
	o.z.Reset(&o.data)
	return err
}

func (o *object) write(raw, topic string) error {
	if err := o.z.Close(); err != nil {
		return err
	}
	tail := lake.Tail{Log: "AAAAAAAAAAAAAAAAAAAAAA", First: o.first, Next: o.next, Count: o.next - o.first}
	path := filepath.Join(raw, lake.RawKey("topics", topic, "date=2026-11-20", 0, o.first))
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	return errors.Join(err, os.WriteFile(path, tail.Append(o.data.Bytes()), 0o600))
}

var fraction = regexp.MustCompile(`\.\d+[,}]`)

// changeOne changes one digit in one of the objects: of the first fraction, or of the last record's time.
func changeOne(t *testing.T, raw string) {
	t.Helper()
	objects, err := objectsIn(raw)
	if err != nil {
		t.Fatal(err)
	}
	text, err := unpacked(nil, objects[len(objects)/2])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndexByte(text, '}') - 1
	if found := fraction.FindIndex(text); found != nil {
		at = found[1] - 2
	}
	text[at] = '0' + (text[at]-'0'+1)%10
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(text)
	if err := errors.Join(err, z.Close(), os.WriteFile(objects[len(objects)/2], packed.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// doValues counts the values in the objects of In, those of lists one by one.
func doValues(_ context.Context, t task) (n int64, err error) {
	objects, err := objectsIn(t.In)
	if err != nil {
		return 0, err
	}
	for _, path := range objects {
		text, err := unpacked(nil, path)
		if err != nil {
			return 0, err
		}
		// Keys are strings too; that there may be such text in strings does not matter here.
		n += scanBytes(text) - int64(bytes.Count(text, []byte(`":`)))
	}
	return n, nil
}

// perObject is how many ticks an object has at full scale where the costs of objects are measured.
const perObject = 200_000

// TestShapes prints what a value costs in data of each shape, and what records cost in more and more objects of one size. CPU time is without that of a run over one record. The first run
// over data has no types to go by; again is one that has those of the first, as all have but that of a source's first day.
func TestShapes(t *testing.T) {
	scale, runs := settings(t)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "data\tobjects\trecords\tvalues of a record\tCPU s\tns of CPU per value\tof orders'\tagain CPU s\trecords per CPU s\tpeak MB")
	measure := func(d dataset, records, objects int) (first, again usage, values int64) {
		l := &lab{t: t, dir: t.TempDir(), data: d, records: records, least: map[string]usage{}, profiles: os.Getenv("HEADWATER_BENCH_PROFILES")}
		l.prepare()
		raw := l.objects(objects)
		for range runs {
			task := task{Role: "serialize", In: raw, Out: l.fresh("serialized"), Topic: l.topic()}
			l.do(task)
			task.Part, task.Full = "again", true
			l.do(task)
		}
		return l.least["serialize"], l.least["again"], l.count(task{Role: "values", In: raw})
	}
	start, _, _ := measure(datasets[0], 1, 1)
	ofOrders := 0.0
	line := func(d dataset, records, objects int) {
		first, again, values := measure(d, records, objects)
		first.cpu -= start.cpu
		again.cpu -= start.cpu
		cost := float64(first.cpu.Nanoseconds()) / float64(values)
		if d.name == "orders" {
			ofOrders = cost
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.2f\t%.0f\t%.2f\t%.2f\t%.0f\t%d\n", d.name, objects, records, values/int64(records), first.cpu.Seconds(), cost, cost/ofOrders, again.cpu.Seconds(), again.perSecond(), first.memory>>20)
	}
	for _, d := range append([]dataset{datasets[1], datasets[0], datasets[2]}, shapes...) {
		line(d, int(float64(d.full)*scale), 6)
	}
	for _, objects := range []int{1, 10, 50} {
		line(datasets[0], objects*int(perObject*scale), objects)
	}
	fmt.Printf("%s, %s/%s, %d processors, %d runs each: least CPU time, greatest memory\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runs)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}
