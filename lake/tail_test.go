package lake_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"headwater/lake"
	"headwater/lake/lakefault"
	"headwater/lake/mem"
)

const topicID = "AbCdEfGhIjKlMnOpQrStUA"

var tail = lake.Tail{
	Log: topicID, First: 100, Next: 300, Count: 197,
	Runs: []lake.Run{{First: 100, Last: 180}, {First: 183, Last: 183}, {First: 185, Last: 299}},
}

// members is text as gzip members of one line each.
func members(t testing.TB, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, line := range lines {
		w := gzip.NewWriter(&b)
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestTailText(t *testing.T) {
	t.Parallel()
	r, err := stdgzip.NewReader(bytes.NewReader(tail.Append(nil)))
	if err != nil {
		t.Fatal(err)
	}
	const want = "headwater log=" + topicID + " first=100 next=300 count=197 runs=100-180,183,185-299"
	if r.Name != want {
		t.Errorf("FNAME is %q, want %q", r.Name, want)
	}
}

func TestTailRoundTrip(t *testing.T) {
	t.Parallel()
	object := members(t, "{\"a\":1}\n", "{\"a\":2}\n")
	const far = 1<<63 - 1
	for _, want := range []lake.Tail{
		tail,
		{Log: topicID, First: 0, Next: 1, Count: 1},
		{Log: "-_-_-_-_-_-_-_-_-_-_-A", First: 5, Next: far, Count: 7, Runs: []lake.Run{{First: 5, Last: far - 1}}},
		{Log: topicID, First: far - 3, Next: far, Count: 2, Runs: []lake.Run{{First: far - 3, Last: far - 3}, {First: far - 1, Last: far - 1}}},
	} {
		got, found, err := lake.ParseTail(want.Append(object[:len(object):len(object)]))
		if diff := cmp.Diff(want, got); diff != "" || !found || err != nil {
			t.Errorf("found %v, %v (-want +got):\n%s", found, err, diff)
		}
	}
}

func TestTailLeavesRunsOut(t *testing.T) {
	t.Parallel()
	longest := 0
	for n := 1; n < 200; n++ {
		want := lake.Tail{Log: topicID, First: 1_000_000, Next: 1_000_000 + int64(2*n), Count: int64(n)}
		for i := range n {
			at := want.First + int64(2*i)
			want.Runs = append(want.Runs, lake.Run{First: at, Last: at})
		}
		member := want.Append(nil)
		r, err := stdgzip.NewReader(bytes.NewReader(member))
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, len(r.Name))
		got, found, err := lake.ParseTail(member)
		if err != nil || !found {
			t.Fatalf("%d runs: found %v, %v", n, found, err)
		}
		if got.Runs == nil {
			want.Runs = nil
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%d runs (-want +got):\n%s", n, diff)
		}
		if want.Runs == nil && n < 30 || want.Runs != nil && n > 60 {
			t.Errorf("%d runs: kept %v", n, want.Runs != nil)
		}
	}
	if longest > 400 || longest < 390 {
		t.Errorf("the longest FNAME has %d bytes, want at most 400 and nearly as many", longest)
	}
}

func TestTailHas(t *testing.T) {
	t.Parallel()
	whole := tail
	whole.Runs = nil
	for offset, want := range map[int64][2]bool{
		99: {false, false}, 100: {true, true}, 180: {true, true}, 181: {false, true}, 182: {false, true}, 183: {true, true},
		184: {false, true}, 185: {true, true}, 299: {true, true}, 300: {false, false}, -1: {false, false},
	} {
		if got := [2]bool{tail.Has(offset), whole.Has(offset)}; got != want {
			t.Errorf("Has(%d) with runs and without = %v, want %v", offset, got, want)
		}
	}
}

func TestAppendPanics(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*lake.Tail){
		"no log":              func(t *lake.Tail) { t.Log = "" },
		"short log":           func(t *lake.Tail) { t.Log = topicID[1:] },
		"log of odd bits":     func(t *lake.Tail) { t.Log = topicID[1:] + "B" },
		"log of other letter": func(t *lake.Tail) { t.Log = " " + topicID[1:] },
		"negative":            func(t *lake.Tail) { t.First = -1 },
		"nothing":             func(t *lake.Tail) { t.Next = 100 },
		"no records":          func(t *lake.Tail) { t.Count = 0 },
		"too many records":    func(t *lake.Tail) { t.Count = 201 },
		"more than the runs":  func(t *lake.Tail) { t.Count = 198 },
		"run before":          func(t *lake.Tail) { t.Runs[0].First = 99 },
		"run beyond":          func(t *lake.Tail) { t.Runs[2].Last = 300 },
		"run reversed":        func(t *lake.Tail) { t.Runs[1].Last = 182 },
		"runs overlap":        func(t *lake.Tail) { t.Runs[1].First = 180 },
	} {
		bad := tail
		bad.Runs = append([]lake.Run{}, tail.Runs...)
		change(&bad)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: %+v was written", name, bad)
				}
			}()
			bad.Append(nil)
		}()
	}
}

// member is a tail of any text.
func member(text string) []byte {
	valid := string(lake.Tail{Log: topicID, First: 0, Next: 1, Count: 1}.Append(nil))
	return []byte(strings.Replace(valid, "headwater log="+topicID+" first=0 next=1 count=1", text, 1))
}

func TestObjectsWithoutTail(t *testing.T) {
	t.Parallel()
	object := members(t, "{\"a\":1}\n")
	ended := tail.Append(object[:len(object):len(object)])
	for name, data := range map[string][]byte{
		"nothing":           nil,
		"one member":        object,
		"empty member":      members(t, ""),
		"members after it":  append(ended[:len(ended):len(ended)], object...),
		"bytes after it":    append(ended[:len(ended):len(ended)], 0),
		"its last byte cut": ended[:len(ended)-1],
		"another name":      member("headwaters log=" + topicID),
		"no name":           member(""),
		"text that ends so": members(t, string(tail.Append(nil))),
		"another member after its text": append(
			[]byte("\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\xffheadwater log=x\x00 the deflate data of a member"), member("other")...),
		"zeros": make([]byte, 1000),
	} {
		if got, found, err := lake.ParseTail(data); found || err != nil {
			t.Errorf("%s: %+v, %v, %v", name, got, found, err)
		}
	}
	for n := range len(ended) {
		if got, found, err := lake.ParseTail(ended[:n]); found || err != nil {
			t.Errorf("cut to %d bytes of %d: %+v, %v, %v", n, len(ended), got, found, err)
		}
	}
}

func TestDamagedTails(t *testing.T) {
	t.Parallel()
	for _, fields := range []string{
		"",
		"log=" + topicID,
		"log=short first=100 next=300 count=197",
		"log=" + topicID + " first=100 next=300",
		"log=" + topicID + " next=300 first=100 count=197",
		"log=" + topicID + " first=0100 next=300 count=197",
		"log=" + topicID + " first=+100 next=300 count=197",
		"log=" + topicID + " first=-1 next=300 count=197",
		"log=" + topicID + " first=100 next=100 count=1",
		"log=" + topicID + " first=100 next=300 count=0",
		"log=" + topicID + " first=100 next=300 count=201",
		"log=" + topicID + " first=100 next=99999999999999999999 count=197",
		"log=" + topicID + " first=100 next=300 count=197 ",
		"log=" + topicID + " first=100  next=300 count=197",
		"log=" + topicID + " first=100 next=300 count=197 more=1",
		"log=" + topicID + " first=100 next=300 count=197 runs=100-299 more=1",
		"log=" + topicID + " first=100 next=300 count=197 runs=",
		"log=" + topicID + " first=100 next=300 count=197 runs=100-180",
		"log=" + topicID + " first=100 next=300 count=197 runs=100-300",
		"log=" + topicID + " first=100 next=300 count=197 runs=99-299",
		"log=" + topicID + " first=100 next=300 count=2 runs=183-183,190",
		"log=" + topicID + " first=100 next=300 count=2 runs=190,183",
		"log=" + topicID + " first=100 next=300 count=2 runs=180-183,183-190",
		"log=" + topicID + " first=100 next=300 count=2 runs=180-183,",
		"log=" + topicID + " first=100 next=300 count=2 runs=183-180",
		"log=" + topicID + " first=100 next=300 count=2 runs=180-183-190",
	} {
		if got, found, err := lake.ParseTail(member("headwater " + fields)); err == nil || found {
			t.Errorf("%q reads as %+v, %v", fields, got, found)
		}
	}
}

func TestReadTail(t *testing.T) {
	t.Parallel()
	s := mem.New()
	object := members(t, strings.Repeat("{\"a\":1}\n", 1000))
	for key, data := range map[string][]byte{
		"with":    tail.Append(object[:len(object):len(object)]),
		"only":    tail.Append(nil),
		"without": object,
		"empty":   nil,
		"damaged": append(object[:len(object):len(object)], member("headwater log=x")...),
	} {
		if _, err := s.Put(t.Context(), key, bytes.NewReader(data), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	torn := lakefault.New(s, lakefault.Rule{Op: lakefault.Get, When: lakefault.After})
	for _, c := range []struct {
		store lake.Store
		key   string
		found bool
		fails string
	}{
		{s, "with", true, ""},
		{s, "only", true, ""},
		{s, "without", false, ""},
		{s, "empty", false, ""},
		{s, "damaged", false, "damaged"},
		{s, "none", false, lake.ErrNotExist.Error()},
		{torn, "with", false, lakefault.ErrInjected.Error()},
	} {
		got, found, err := lake.ReadTail(t.Context(), c.store, lake.Object{Key: c.key})
		if found != c.found || (err != nil) != (c.fails != "") {
			t.Errorf("%s: found %v, %v", c.key, found, err)
		}
		if err != nil && (!strings.Contains(err.Error(), c.fails) || !strings.Contains(err.Error(), c.key)) {
			t.Errorf("%s: %v, want %q and the key", c.key, err, c.fails)
		}
		if diff := cmp.Diff(tail, got); c.found && diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.key, diff)
		}
	}
}

// TestGzipReaders: a tail adds nothing to what a gzip reader gives.
func TestGzipReaders(t *testing.T) {
	t.Parallel()
	lines := []string{"{\"a\":1}\n", "{\"a\":2}\n", strings.Repeat("{\"a\":3}\n", 100_000)}
	long := tail
	long.Runs = nil
	long.First, long.Next, long.Count = 0, 1000, 30
	for i := range int64(30) {
		long.Runs = append(long.Runs, lake.Run{First: i * 33, Last: i*33 + 20})
	}
	if n := len(long.Append(nil)); n < 300 {
		t.Fatalf("the long tail has %d bytes, and is to be long", n)
	}
	want := strings.Join(lines, "")
	for i, tail := range []lake.Tail{tail, long} {
		object := tail.Append(members(t, lines...))
		std, err := stdgzip.NewReader(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		checkText(t, "compress/gzip", std, want)
		klauspost, err := gzip.NewReader(bytes.NewReader(object))
		if err != nil {
			t.Fatal(err)
		}
		checkText(t, "klauspost gzip", klauspost, want)
		file := filepath.Join(t.TempDir(), fmt.Sprintf("x+0+%d.json.gz", i))
		if err := os.WriteFile(file, object, 0o600); err != nil {
			t.Fatal(err)
		}
		checkProgram(t, want, "zcat", file)
		checkProgram(t, "", "gzip", "-t", file)
		checkProgram(t, want, "python3", "-c",
			"import gzip, sys; sys.stdout.buffer.write(gzip.open(sys.argv[1]).read())", file)
	}
}

func checkText(t *testing.T, name string, r io.Reader, want string) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != want {
		t.Errorf("%s reads %d bytes of %d, %v", name, len(got), len(want), err)
	}
}

func checkProgram(t *testing.T, want, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Logf("there is no %s here", name)
		return
	}
	got, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil || string(got) != want {
		t.Errorf("%s reads %d bytes of %d, %v", name, len(got), len(want), err)
	}
}

func FuzzParseTail(f *testing.F) {
	f.Add(tail.Append(nil))
	f.Add(tail.Append(members(f, "{}\n")))
	f.Add(members(f, "{}\n"))
	f.Add(member("headwater log=" + topicID + " first=1 next=2 count=1 runs=1"))
	f.Fuzz(func(t *testing.T, end []byte) {
		got, found, err := lake.ParseTail(end)
		if found && err != nil || !found && got.Log != "" {
			t.Fatalf("%+v, %v, %v", got, found, err)
		}
		if !found {
			return
		}
		if again := got.Append(nil); !bytes.HasSuffix(end, again) {
			t.Errorf("%+v was read from %q and is written as %q", got, end, again)
		}
		if r, err := stdgzip.NewReader(bytes.NewReader(got.Append(nil))); err != nil {
			t.Errorf("%+v is no gzip: %v", got, err)
		} else if data, err := io.ReadAll(r); err != nil || len(data) > 0 {
			t.Errorf("%+v unpacks to %q, %v", got, data, err)
		}
	})
}
