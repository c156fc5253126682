package flow

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"headwater/internal/crash"
	"headwater/tests/binary"
)

// seeded gives a test its random numbers; the seed that is logged gives the same ones again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("HEADWATER_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("HEADWATER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// times is how often a test does its work: few by default, as many as the environment variable says for a soak.
func times(t *testing.T, variable string, few int) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv(variable))
	if err != nil || n < 1 {
		n = few
	}
	t.Logf("%s=%d", variable, n)
	return n
}

// inFile is a file of the input.
type inFile struct {
	name string
	data []byte
}

// mixedInput draws several hundred records: objects of changing types, CSV rows, some of them in gzip files, and among them lines that
// are malformed, that serialize refuses, that occur twice, and that are too large for a record.
func mixedInput(r *rand.Rand) []inFile {
	var files []inFile
	for i := range 24 {
		var b bytes.Buffer
		name := fmt.Sprintf("in/a/%02d.ndjson", i)
		if i%3 == 2 {
			name = fmt.Sprintf("in/b/%02d.csv", i)
			b.WriteString("n,s,u\n")
		}
		for j := range 20 + r.IntN(20) {
			n := 1000*i + j
			if i%3 == 2 {
				b.WriteString(csvRow(r, n))
			} else {
				b.WriteString(jsonLine(r, n))
			}
		}
		data := b.Bytes()
		if r.IntN(3) == 0 {
			name += ".gz"
			var z bytes.Buffer
			w := gzip.NewWriter(&z)
			_, _ = w.Write(data) // to memory
			_ = w.Close()
			data = z.Bytes()
		}
		files = append(files, inFile{name, data})
	}
	return files
}

func csvRow(r *rand.Rand, n int) string {
	switch r.IntN(12) {
	case 0:
		return fmt.Sprintf("%d,one,field,too many\n", n)
	case 1:
		return fmt.Sprintf("%d,\"a line\nand another\",\"\"\"\"\n", n)
	case 2:
		return "7,the same,row\n"
	}
	return fmt.Sprintf("%d,s%d,%v\n", n, r.IntN(10), r.Float64())
}

func jsonLine(r *rand.Rand, n int) string {
	switch r.IntN(40) {
	case 0:
		return fmt.Sprintf("{\"n\":%d,\n", n) // malformed
	case 1:
		return fmt.Sprintf("{\"n\":%d,\"n\":%d}\n", n, n) // a key twice
	case 2:
		return strconv.Itoa(n) + "\n" // no object
	case 3:
		return fmt.Sprintf("{\"n\":%d,\"pad\":%q}\n", n, strings.Repeat("x", 150_000+r.IntN(50_000))) // too large
	case 4, 5:
		pad := make([]byte, 60_000) // random, so that objects are larger than memory and batches than their limit
		for i := range pad {
			pad[i] = byte('a' + r.IntN(26))
		}
		return fmt.Sprintf("{\"n\":%d,\"pad\":%q}\n", n, pad)
	case 6:
		return "{\"n\":7,\"same\":true}\n"
	}
	values := []string{"1", "2.5", "\"text\"", "null", "true", "[1,2]", "[]", "{\"deep\":{\"er\":1}}", "{\"deep\":[{\"x\":1.5}]}", "9007199254740993", "\"\\ud800\""}
	pick := func() string { return values[r.IntN(len(values))] }
	return fmt.Sprintf("{\"n\":%d,\"v\":%s,\"w\":{\"x\":%s,\"y\":[%s]}}\n", n, pick(), pick(), pick())
}

// sameForAll are the settings that decide what is quarantined, and so are the same in every run.
const sameForAll = `
database: db
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0"}
`

const plainSettings = sameForAll + `
collect: {max_record: 100KiB, max_item: 100KiB}
sources:
  a: {file: {path: "in/a/*"}}
  b: {file: {path: "in/b/*"}}
`

func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// drawSettings draws every setting that must make no difference. A topic keeps the Kafka partitions that it was made with, whatever a later
// run asks for, so these are drawn like the others.
func drawSettings(r *rand.Rand) string {
	return sameForAll + fmt.Sprintf(`
collect: {max_record: 100KiB, max_item: 100KiB, snapshot_every: %s}
sources:
  a: {file: {path: "in/a/*", every: 20ms, settle: 1h}, topic: {partitions: %d}}
  b: {file: {path: "in/b/*", every: 20ms, settle: 1h}, topic: {partitions: %d}}
land:
  flush.size: %d
  rotate.interval.ms: %d
  rotate.schedule.interval.ms: %d
  max.memory: %s
  flush.on.stop: %v
  s3.compression.level: %d
kafka:
  linger: %s
  batch_bytes: %s
  compression: %s
  max_buffered_records: %d
  max_buffered_bytes: %s
serialize:
  row_group_bytes: %s
  workers: %d
  every: %s
  publish: %s
  grace: %s
`, one(r, "10ms", "100ms", "1m"), 1+r.IntN(4), 1+r.IntN(4),
		one(r, 1+r.IntN(5), 1+r.IntN(60), 180_000), one(r, -1, 1+r.IntN(300), 300_000), one(r, -1, 20+r.IntN(500), 300_000),
		one(r, "1MiB", "2MiB", "128MiB"), one(r, true, false), one(r, -1, 0, 1, 9),
		one(r, "0s", "1ms", "20ms"), one(r, "1KiB", "16KiB", "1000000"), one(r, "gzip", "zstd", "lz4", "snappy", "none"),
		one(r, 1, 10, 10_000), one(r, "1KiB", "100KiB", "8MiB"),
		one(r, "1MiB", "2MiB", "256MiB"), r.IntN(5), one(r, "0s", "100ms"), one(r, "replace", "swap"), one(r, "0s", "24h"))
}

// outcome is what is in the tables and in quarantine, with how often it is there. What depends on the moment of a run is left out.
type outcome map[string]int

func outcomeOf(t *testing.T, p binary.Pipeline) outcome {
	t.Helper()
	got := outcome{}
	for _, table := range []string{"a", "b"} {
		flat := fmt.Sprintf("select to_json(t) as row from (select * exclude (_ingested_at, year, month, day) from db.%s) t", table)
		raw := fmt.Sprintf("select to_json(t) as row from (select raw_data, metadata.origin, metadata.position, metadata.thread_id from db.%s_raw) t", table)
		for where, sql := range map[string]string{table: flat, table + "_raw": raw} {
			for line := range strings.Lines(p.Run(t, nil, "query", "--format", "json", sql).Must(t)) {
				got[where+" "+strings.ReplaceAll(line, p.Dir, "")]++
			}
		}
	}
	for _, e := range quarantined(t, p) {
		got["quarantine "+e]++
	}
	return got
}

// quarantined describes what lies in quarantine.
func quarantined(t *testing.T, p binary.Pipeline) []string {
	t.Helper()
	return quarantinedIn(t, p, "headwater-data/raw")
}

func quarantinedIn(t *testing.T, p binary.Pipeline, raw string) []string {
	t.Helper()
	top := filepath.Join(p.Dir, raw, "_quarantine")
	var all []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".json.gz") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		for d := json.NewDecoder(z); d.More(); {
			var e struct {
				Stage, Source, Reason, Data string
				Data64                      string `json:"data_base64"`
				Stream                      struct {
					Stream string
					Seq    int64
				}
			}
			if err := d.Decode(&e); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			var record struct {
				RawData  json.RawMessage `json:"raw_data"`
				Metadata struct {
					Origin, Position, Malformed string
				}
			}
			text := e.Data + e.Data64
			if json.Unmarshal([]byte(e.Data), &record) == nil && record.RawData != nil { // an envelope, which says when it was made
				text = fmt.Sprintf("%s %+v", record.RawData, record.Metadata)
			}
			text = strings.ReplaceAll(text, p.Dir, "")
			sum := sha256.Sum256([]byte(text))
			all = append(all, fmt.Sprintf("%s %s %s %+v %d %x", e.Stage, e.Source, e.Reason, e.Stream, len(text), sum[:6]))
		}
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

func (o outcome) differences(want outcome) (all []string) {
	keys := maps.Clone(o)
	maps.Copy(keys, want)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if o[k] != want[k] {
			all = append(all, fmt.Sprintf("%d times, want %d: %.300s", o[k], want[k], k))
		}
	}
	if len(all) > 10 {
		all = append(all[:10], fmt.Sprintf("and %d more", len(all)-10))
	}
	return all
}

// TestMetamorphic gives the same input under random settings, spread over a random number of runs with kills between, and wants what the
// plain settings give in one run: the same rows in all tables, the same records in quarantine.
func TestMetamorphic(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	n := times(t, "HEADWATER_SETTINGS", 4)
	bin := binary.Build(t)
	files := mixedInput(r)
	plain := binary.New(t, bin, plainSettings)
	for _, f := range files {
		plain.Write(t, f.name, f.data)
	}
	plain.Run(t, nil, "run", "--once").Must(t)
	want := outcomeOf(t, plain)
	for _, kind := range []string{"a {", "a_raw {", "b {", "b_raw {", "quarantine collect", "quarantine serialize"} {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(k string) bool { return strings.HasPrefix(k, kind) }) {
			t.Fatalf("the plain run has nothing that begins with %q: the input tests too little", kind)
		}
	}
	for i := range n {
		own := rand.New(rand.NewPCG(r.Uint64(), 0)) // subtests run beside each other
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			spread(t, own, bin, files, want)
		})
	}
}

// spread runs the input through random settings and kills.
func spread(t *testing.T, r *rand.Rand, bin string, files []inFile, want outcome) {
	files = slices.Clone(files)
	r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	p := binary.New(t, bin, drawSettings(r))
	for _, folder := range []string{"in/a", "in/b"} { // a missing one is an error, also while no file has come
		if err := os.MkdirAll(filepath.Join(p.Dir, folder), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	var story strings.Builder
	t.Cleanup(func() {
		if t.Failed() {
			yaml, _ := os.ReadFile(p.File)
			t.Logf("what happened:%s\nthe last settings:\n%s", story.String(), yaml)
		}
	})
	changing := r.IntN(2) == 0
	for len(files) > 0 {
		some := 1 + r.IntN(len(files))
		for _, f := range files[:some] {
			p.Write(t, f.name, f.data)
		}
		files = files[some:]
		if changing {
			p.Write(t, "pipeline.yaml", []byte(drawSettings(r)))
		}
		fmt.Fprintf(&story, "\n%d files; ", some)
		story.WriteString(randomRun(t, r, p))
	}
	p.Run(t, nil, "run", "--once").Must(t)
	for _, d := range outcomeOf(t, p).differences(want) {
		t.Error(d)
	}
}

// randomRun runs to the end, or to a crash point, or for a moment, and tells which.
func randomRun(t *testing.T, r *rand.Rand, p binary.Pipeline) string {
	t.Helper()
	switch r.IntN(4) {
	case 0:
		p.Run(t, nil, "run", "--once").Must(t)
		return "a whole run"
	case 1:
		proc := p.Start(t, nil, "run")
		life := time.Duration(r.IntN(1500)) * time.Millisecond
		time.Sleep(life)
		proc.Kill(t)
		return fmt.Sprintf("killed after %v", life)
	case 2:
		proc := p.Start(t, nil, "run")
		life := 300*time.Millisecond + time.Duration(r.IntN(1000))*time.Millisecond
		time.Sleep(life)
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if r := proc.Wait(t, 3*time.Minute); r.Code != 0 && r.Code != 128+int(syscall.SIGTERM) && r.Signal != syscall.SIGTERM {
			t.Errorf("after SIGTERM: code %d, signal %v\n%s", r.Code, r.Signal, r.Stderr)
		}
		return fmt.Sprintf("SIGTERM after %v", life)
	}
	point := fmt.Sprintf("%s:%d", crash.Points[r.IntN(len(crash.Points))], 1+r.IntN(4))
	if got := p.Run(t, []string{"HEADWATER_CRASH=" + point}, "run", "--once"); got.Signal != syscall.SIGKILL {
		got.Must(t)
		return "did not pass " + point
	}
	return "killed at " + point
}
