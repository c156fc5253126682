package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/tests/interop/fixture"
)

// behind is a store that is reached through a proxy with a fault, and the same without it.
func behind(t *testing.T, server fixture.Azure, bucket string, f *fixture.HTTPFault) (faulty, plain *Store) {
	t.Helper()
	location := server.Bucket(t, bucket)
	plain, err := open(location, patience)
	if err != nil {
		t.Fatal(err)
	}
	host, account, _ := strings.Cut(strings.TrimPrefix(server.Endpoint, "http://"), "/")
	faulty, err = open("azblob://"+bucket+"?endpoint="+f.Before(t, "http://"+host)+"/"+account, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return faulty, plain
}

func comp(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == http.MethodPut && r.URL.Query().Get("comp") == name }
}

func failing(on func(*http.Request) bool, times int32, status int, code string) fixture.HTTPFault {
	return fixture.HTTPFault{On: on, Times: times, Status: status, Body: "<Error><Code>" + code + "</Code></Error>"}
}

var large = bytes.Repeat([]byte("0123456789abcdef"), blockSize/16+100)

// TestLostAnswers: a write that the store has done, and whose answer is lost, is done, conditional or not, of one block or of more; and one that
// another has disturbed is begun anew.
func TestLostAnswers(t *testing.T) {
	server := fixture.NewAzure(t)
	n := 0
	for name, c := range map[string]struct {
		fault fixture.HTTPFault
		data  []byte
	}{
		"one block":         {fixture.HTTPFault{On: comp(""), Times: 2}, []byte("x")},
		"a block of more":   {fixture.HTTPFault{On: comp("block"), Times: 2}, large},
		"the list":          {fixture.HTTPFault{On: comp("blocklist"), Times: 2}, large},
		"refused at first":  {failing(comp(""), 3, 503, "ServerBusy"), []byte("x")},
		"blocks taken away": {failing(comp("blocklist"), 2, 400, "InvalidBlockList"), large},
		"disturbed":         {failing(comp(""), 2, 409, "OperationTimedOut"), []byte("x")},
	} {
		for _, replacing := range []bool{false, true} {
			n++
			f := c.fault
			faulty, plain := behind(t, server, fmt.Sprint("lake-", n), &f)
			cond := lake.Condition{IfAbsent: true}
			if replacing {
				o, err := plain.Put(t.Context(), "d/k", strings.NewReader("old"), lake.Condition{})
				if err != nil {
					t.Fatal(err)
				}
				cond = lake.Condition{IfVersion: o.Version}
			}
			o, err := faulty.Put(t.Context(), "d/k", bytes.NewReader(c.data), cond)
			if err != nil || f.Met() != f.Times {
				t.Errorf("%s, replacing %t: %v after %d of %d faults", name, replacing, err, f.Met(), f.Times)
				continue
			}
			r, got, err := plain.Get(t.Context(), "d/k", 0, -1)
			if err != nil || got.Version != o.Version || got.Size != o.Size {
				t.Fatalf("%s, replacing %t: %+v is there, put %+v: %v", name, replacing, got, o, err)
			}
			if data, err := io.ReadAll(r); err != nil || !bytes.Equal(data, c.data) {
				t.Errorf("%s, replacing %t: %d bytes of %d are there, %v", name, replacing, len(data), len(c.data), err)
			}
			_ = r.Close()
			// Another's object is in the way, then and now.
			if _, err := faulty.Put(t.Context(), "d/k", bytes.NewReader(c.data), cond); !errors.Is(err, lake.ErrExists) && !errors.Is(err, lake.ErrChanged) {
				t.Errorf("%s, replacing %t, again: %v", name, replacing, err)
			}
		}
	}
}

// TestFaults: what stays wrong is an error, which may pass or may not, and leaves nothing behind.
func TestFaults(t *testing.T) {
	server := fixture.NewAzure(t)
	n := 0
	for name, c := range map[string]struct {
		fault fixture.HTTPFault
		class retry.Class
		says  string
	}{
		"busy for ever":    {failing(comp(""), 1<<20, 503, "ServerBusy"), retry.Transient, "ServerBusy"},
		"always disturbed": {failing(comp(""), 1<<20, 409, "OperationTimedOut"), retry.Transient, "another write of the key is under way"},
		"stalled":          {fixture.HTTPFault{On: comp(""), Times: 1 << 20, Stalled: true}, retry.Transient, "i/o timeout"},
		"no rights":        {failing(comp(""), 1, 403, "AuthorizationFailure"), retry.Permanent, "check the credentials"},
		"no container":     {failing(comp(""), 1, 404, "ContainerNotFound"), retry.Permanent, "create it"},
		"nonsense":         {failing(comp(""), 1, 400, "InvalidInput"), retry.Permanent, "InvalidInput"},
	} {
		n++
		faulty, plain := behind(t, server, fmt.Sprint("lake-", n), &c.fault)
		_, err := faulty.Put(t.Context(), "d/k", strings.NewReader("x"), lake.Condition{IfAbsent: true})
		if err == nil || retry.Classify(err) != c.class || !strings.Contains(err.Error(), c.says) || errors.Is(err, lake.ErrExists) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: class %v: %v", name, retry.Classify(err), err)
		}
		if _, err := plain.Stat(t.Context(), "d/k"); !errors.Is(err, lake.ErrNotExist) {
			t.Errorf("%s: there is something: %v", name, err)
		}
	}
}

// TestBlocksOfMany: of 16 writers of more than one block exactly one makes the object, and it is whole.
func TestBlocksOfMany(t *testing.T) {
	server := fixture.NewAzure(t)
	s, err := open(server.Bucket(t, "sixteen"), patience)
	if err != nil {
		t.Fatal(err)
	}
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			data := bytes.Repeat([]byte{byte('a' + i)}, blockSize+1)
			switch _, err := s.Put(t.Context(), "k", bytes.NewReader(data), lake.Condition{IfAbsent: true}); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, lake.ErrExists):
				t.Error(err)
			}
		})
	}
	all.Wait()
	r, _, err := s.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil || won.Load() != 1 || !bytes.Equal(data, bytes.Repeat(data[:1], blockSize+1)) {
		t.Errorf("%d writers think that the object is theirs; it has %d bytes, %v", won.Load(), len(data), err)
	}
}

// TestBrokenReads go on where they broke, with the same version or not at all.
func TestBrokenReads(t *testing.T) {
	server := fixture.NewAzure(t)
	getting := func(r *http.Request) bool { return r.Method == http.MethodGet }
	read := func(bucket string, offset int64, f *fixture.HTTPFault, replace bool) ([]byte, error) {
		faulty, plain := behind(t, server, bucket, f)
		if _, err := plain.Put(t.Context(), "k", bytes.NewReader(large[:3<<20]), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
		if replace {
			f.Then = func() {
				if _, err := plain.Put(context.Background(), "k", strings.NewReader("other"), lake.Condition{}); err != nil {
					t.Error(err)
				}
			}
		}
		r, _, err := faulty.Get(t.Context(), "k", offset, 2<<20)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	for name, offset := range map[string]int64{"four": 1000, "end": 1000 - 3<<20} {
		got, err := read(name, offset, &fixture.HTTPFault{On: getting, Times: 4, Cut: 300_000}, false)
		if err != nil || !bytes.Equal(got, large[1000:1000+2<<20]) {
			t.Errorf("four breaks, from %d: %d bytes, %v", offset, len(got), err)
		}
	}
	got, err := read("replaced", 1000, &fixture.HTTPFault{On: getting, Times: 1, Cut: 300_000}, true)
	if !errors.Is(err, lake.ErrChanged) || !bytes.Equal(got, large[1000:1000+len(got)]) {
		t.Errorf("replaced meanwhile: %d bytes, %v", len(got), err)
	}
	between := failing(getting, 1, http.StatusPreconditionFailed, "ConditionNotMet")
	if got, err := read("shrunk", -3, &between, true); err != nil || string(got) != "her" {
		t.Errorf("replaced between the size and the bytes: %q, %v", got, err)
	}
}

// TestHierarchy: an account whose folders are objects is refused.
func TestHierarchy(t *testing.T) {
	server := fixture.NewAzure(t)
	folder := func(r *http.Request) bool { return r.Method == http.MethodHead && strings.Count(r.URL.Path, "/") == 4 }
	faulty, _ := behind(t, server, "lake", &fixture.HTTPFault{On: folder, Times: 1 << 20, Status: 200})
	if err := faulty.Probe(t.Context()); err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "hierarchical namespace") {
		t.Errorf("the probe said %v", err)
	}
}

func TestKeys(t *testing.T) {
	s, err := open("azblob://lake?account=acme&endpoint=http://127.0.0.1:1", patience)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`a\b`, "a.", "a./b"} {
		if _, err := s.Put(t.Context(), key, strings.NewReader(""), lake.Condition{}); err == nil || retry.Classify(err) != retry.Permanent {
			t.Errorf("Put(%q): %v", key, err)
		}
	}
}

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"azblob://b":                          "",
		"azblob://b/a/p/?account=acme":        "",
		"azblob://b?endpoint=http://a:1/b":    "",
		"azblob:///p":                         "must be as azblob://container",
		"azblob://key:secret@b":               "must be as azblob://container",
		"azblob://b/a//b":                     "prefix",
		"azblob://b/a.":                       "prefix",
		"azblob://b?region=x":                 "takes account and endpoint",
		"azblob://b?account=":                 "takes account and endpoint",
		"azblob://b?a=%zz":                    "a query that cannot be read",
		"azblob://b?account=Acme":             "an account of 3 to 24",
		"azblob://b?endpoint=acme":            "an endpoint that is no address",
		"azblob://b?endpoint=https://a?sig=1": "an endpoint that is no address",
	} {
		err := CheckURL(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	t.Setenv(accountEnv, "")
	if _, err := open("azblob://b", patience); err == nil || !strings.Contains(err.Error(), accountEnv) {
		t.Errorf("without an account: %v", err)
	}
	t.Setenv(keyEnv, "no base64")
	if _, err := open("azblob://b?account=acme", patience); err == nil || !strings.Contains(err.Error(), keyEnv) {
		t.Errorf("a key that is none: %v", err)
	}
}
