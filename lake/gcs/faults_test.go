package gcs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/tests/interop/fixture"
)

// behind is a store that is reached through a proxy with a fault, and the same without it.
func behind(t *testing.T, server fixture.GCS, bucket string, f *fixture.HTTPFault) (faulty, plain *Store) {
	t.Helper()
	location := server.Bucket(t, bucket)
	plain, err := Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	faulty, err = open(t.Context(), location, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	faulty.service.BasePath = f.Before(t, "http://"+server.Addr) + "/storage/v1/"
	return faulty, plain
}

func putting(r *http.Request) bool { return r.Method == http.MethodPost }

func getting(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Query().Get("alt") == "media"
}

func failing(times int32, status int, reason string) fixture.HTTPFault {
	return fixture.HTTPFault{On: putting, Times: times, Status: status, Body: fmt.Sprintf(`{"error":{"code":%d,"message":%q,"errors":[{"reason":%q}]}}`, status, reason, reason)}
}

// TestLostAnswers: a write that the store has done, and whose answer is lost, is done, conditional or not.
func TestLostAnswers(t *testing.T) {
	server := serve(t)
	n := 0
	for name, fault := range map[string]fixture.HTTPFault{
		"lost":             {On: putting, Times: 2},
		"refused at first": failing(3, 503, "backendError"),
		"too fast":         failing(2, 429, "rateLimitExceeded"),
		"too fast, by 403": failing(2, 403, "userRateLimitExceeded"),
	} {
		for _, replacing := range []bool{false, true} {
			n++
			faulty, plain := behind(t, server, fmt.Sprint("lake-", n), &fault)
			cond := lake.Condition{IfAbsent: true}
			if replacing {
				o, err := plain.Put(t.Context(), "d/k", strings.NewReader("old"), lake.Condition{})
				if err != nil {
					t.Fatal(err)
				}
				cond = lake.Condition{IfVersion: o.Version}
			}
			o, err := faulty.Put(t.Context(), "d/k", strings.NewReader("mine"), cond)
			if err != nil || fault.Met() != fault.Times {
				t.Errorf("%s, replacing %t: %v after %d of %d faults", name, replacing, err, fault.Met(), fault.Times)
				continue
			}
			if got, err := plain.Stat(t.Context(), "d/k"); err != nil || got.Version != o.Version || got.Size != 4 {
				t.Errorf("%s, replacing %t: %+v is there, put %+v: %v", name, replacing, got, o, err)
			}
			// Another's object is in the way, then and now.
			if _, err := faulty.Put(t.Context(), "d/k", strings.NewReader("mine"), cond); !errors.Is(err, lake.ErrExists) && !errors.Is(err, lake.ErrChanged) {
				t.Errorf("%s, replacing %t, again: %v", name, replacing, err)
			}
		}
	}
}

// TestFaults: what stays wrong is an error, which may pass or may not, and leaves nothing behind.
func TestFaults(t *testing.T) {
	server := serve(t)
	n := 0
	for name, c := range map[string]struct {
		fault fixture.HTTPFault
		class retry.Class
		says  string
	}{
		"busy for ever": {failing(1<<20, 503, "backendError"), retry.Transient, "backendError"},
		"stalled":       {fixture.HTTPFault{On: putting, Times: 1 << 20, Stalled: true}, retry.Transient, "i/o timeout"},
		"no rights":     {failing(1, 403, "forbidden"), retry.Permanent, "check the credentials"},
		"no bucket":     {failing(1, 404, "notFound"), retry.Permanent, "create it"},
		"nonsense":      {failing(1, 400, "invalid"), retry.Permanent, "invalid"},
	} {
		n++
		faulty, plain := behind(t, server, fmt.Sprint("lake-", n), &c.fault)
		_, err := faulty.Put(t.Context(), "d/k", strings.NewReader("x"), lake.Condition{IfAbsent: true})
		if err == nil || retry.Classify(err) != c.class || !strings.Contains(err.Error(), c.says) || errors.Is(err, lake.ErrExists) || errors.Is(err, lake.ErrNotExist) {
			t.Errorf("%s: class %v: %v", name, retry.Classify(err), err)
		}
		if _, err := plain.Stat(t.Context(), "d/k"); !errors.Is(err, lake.ErrNotExist) {
			t.Errorf("%s: there is something: %v", name, err)
		}
	}
}

// TestBrokenReads go on where they broke, with the same generation or not at all.
func TestBrokenReads(t *testing.T) {
	server := serve(t)
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i * 7)
	}
	read := func(bucket string, f *fixture.HTTPFault, replace bool) ([]byte, error) {
		faulty, plain := behind(t, server, bucket, f)
		if _, err := plain.Put(t.Context(), "k", bytes.NewReader(data), lake.Condition{}); err != nil {
			t.Fatal(err)
		}
		if replace {
			f.Then = func() {
				if _, err := plain.Put(context.Background(), "k", strings.NewReader("other"), lake.Condition{}); err != nil {
					t.Error(err)
				}
			}
		}
		r, _, err := faulty.Get(t.Context(), "k", 1000, 2<<20)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	got, err := read("four", &fixture.HTTPFault{On: getting, Times: 4, Cut: 300_000}, false)
	if err != nil || !bytes.Equal(got, data[1000:1000+2<<20]) {
		t.Errorf("four breaks: %d bytes, %v", len(got), err)
	}
	got, err = read("replaced", &fixture.HTTPFault{On: getting, Times: 1, Cut: 300_000}, true)
	if !errors.Is(err, lake.ErrChanged) || !bytes.Equal(got, data[1000:1000+len(got)]) {
		t.Errorf("replaced meanwhile: %d bytes, %v", len(got), err)
	}
}

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"gs://b":                             "",
		"gs://b/a/p/?storage_class=NEARLINE": "",
		"gs://b?kms_key=projects/p/locations/l/keyRings/r/cryptoKeys/k": "",
		"gs:///p":                 "must be as gs://bucket",
		"gs://key:secret@b":       "must be as gs://bucket",
		"s3://b":                  "must be as gs://bucket",
		"gs://b/a//b":             "prefix",
		"gs://b?region=x":         "takes kms_key and storage_class",
		"gs://b?kms_key=":         "takes kms_key and storage_class",
		"gs://b?a=%zz":            "a query that cannot be read",
		"gs://b?storage_class=IA": "a storage_class of STANDARD",
		"gs://b?kms_key=k":        "a kms_key as projects/",
	} {
		err := CheckURL(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// torn is a body that breaks at its end.
type torn struct{ *bytes.Reader }

var errTorn = errors.New("the disk of the body broke")

func (t torn) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = errTorn
	}
	return n, err
}

// TestUploads: what is larger than a chunk keeps to the same duties, and goes on over chunks whose answers are lost.
func TestUploads(t *testing.T) {
	server := serve(t)
	data := make([]byte, chunkSize+1000)
	for i := range data {
		data[i] = byte(i * 7)
	}
	chunk := func(r *http.Request) bool { return r.URL.Query().Has("upload_id") }
	for name, fault := range map[string]fixture.HTTPFault{
		"nothing":     {On: chunk},
		"beginning":   {On: func(r *http.Request) bool { return r.URL.Query().Get("uploadType") == "resumable" && !chunk(r) }, Times: 2},
		"busy chunks": {On: chunk, Times: 2, Status: 503},
		"lost chunks": {On: chunk, Times: 1},
	} {
		faulty, plain := behind(t, server, strings.ReplaceAll(name, " ", "-"), &fault)
		if _, err := faulty.Put(t.Context(), "torn", torn{bytes.NewReader(data)}, lake.Condition{IfAbsent: true}); !errors.Is(err, errTorn) {
			t.Errorf("%s: a torn body: %v", name, err)
		}
		o, err := faulty.Put(t.Context(), "k", bytes.NewReader(data), lake.Condition{IfAbsent: true})
		if err != nil || fault.Met() != fault.Times {
			t.Errorf("%s: %v after %d of %d faults", name, err, fault.Met(), fault.Times)
			continue
		}
		r, got, err := plain.Get(t.Context(), "k", 0, -1)
		if err != nil || got.Version != o.Version || got.Size != int64(len(data)) {
			t.Fatalf("%s: %+v is there, put %+v: %v", name, got, o, err)
		}
		if read, err := io.ReadAll(r); err != nil || !bytes.Equal(read, data) {
			t.Errorf("%s: %d bytes of %d are there, %v", name, len(read), len(data), err)
		}
		_ = r.Close()
		if _, err := faulty.Put(t.Context(), "k", bytes.NewReader(data), lake.Condition{IfAbsent: true}); !errors.Is(err, lake.ErrExists) {
			t.Errorf("%s: again: %v", name, err)
		}
		if _, err := faulty.Put(t.Context(), "k", bytes.NewReader(data), lake.Condition{IfVersion: "1"}); !errors.Is(err, lake.ErrChanged) {
			t.Errorf("%s: another version: %v", name, err)
		}
		if _, err := faulty.Put(t.Context(), "k", bytes.NewReader(data), lake.Condition{IfVersion: o.Version}); err != nil {
			t.Errorf("%s: its version: %v", name, err)
		}
		for o, err := range plain.List(t.Context(), "torn", "") {
			t.Errorf("%s: a torn upload left %v, %v", name, o, err)
		}
	}
}
