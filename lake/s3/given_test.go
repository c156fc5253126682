package s3

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/retry"
	"headwater/lake"
)

// recorder is a store that takes everything, and keeps the headers that objects were put with.
type recorder struct {
	mu  sync.Mutex
	got map[string]map[string]string // by what the request was
}

var givenHeaders = []string{
	"X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "X-Amz-Acl", "X-Amz-Storage-Class", "X-Amz-Tagging",
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	query, what := r.URL.Query(), ""
	w.Header().Set("ETag", `"x"`)
	switch {
	case r.Method == http.MethodPut && query.Has("partNumber"):
		what = "part"
	case r.Method == http.MethodPut:
		what = "put"
	case query.Has("uploads"):
		what = "begin"
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	case query.Has("uploadId"):
		what = "complete"
		_, _ = io.WriteString(w, `<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>`)
	}
	headers := map[string]string{}
	for _, name := range givenHeaders {
		if value := r.Header.Get(name); value != "" {
			headers[name] = value
		}
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.got[what] = headers
}

// TestGiven: what a URL says of objects is in the request that makes one, and nothing is where it says nothing.
func TestGiven(t *testing.T) {
	all := map[string]string{
		givenHeaders[0]: "aws:kms", givenHeaders[1]: "arn:aws:kms:eu-west-1:1:key/2", givenHeaders[2]: "bucket-owner-full-control", givenHeaders[3]: "STANDARD_IA",
	}
	tagged := func(tags string) map[string]string {
		with := maps.Clone(all)
		with[givenHeaders[4]] = tags
		return with
	}
	for query, want := range map[string]map[string]string{
		"": {},
		"&sse=aws:kms&kms_key=arn:aws:kms:eu-west-1:1:key/2&acl=bucket-owner-full-control&storage_class=STANDARD_IA&tags=team:big%20data,a%2Bb:c/d,e:": tagged("a%2Bb=c%2Fd&e=&team=big%20data"),
	} {
		rec := &recorder{got: map[string]map[string]string{}}
		server := httptest.NewServer(rec)
		defer server.Close()
		s, err := Open(t.Context(), "s3://lake?endpoint="+server.URL+query)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, partSize + 1} {
			if _, err := s.Put(t.Context(), "k", bytes.NewReader(make([]byte, size)), lake.Condition{}); err != nil {
				t.Fatal(err)
			}
		}
		none := map[string]string{}
		if diff := cmp.Diff(map[string]map[string]string{"put": want, "begin": want, "part": none, "complete": none}, rec.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
		for _, size := range []int{1, partSize + 1} {
			if _, err := s.PutTagged(t.Context(), "k", bytes.NewReader(make([]byte, size)), lake.Condition{}, map[string]string{"startOffset": "7"}); err != nil {
				t.Fatal(err)
			}
		}
		tags := "startOffset=7"
		if query != "" {
			tags = "a%2Bb=c%2Fd&e=&startOffset=7&team=big%20data"
		}
		for _, what := range []string{"put", "begin"} {
			if got := rec.got[what]["X-Amz-Tagging"]; got != tags {
				t.Errorf("%s: tags of a %s are %q, want %q", query, what, got, tags)
			}
		}
	}
}

// TestTooManyTags: what no try can put is an error that none follows.
func TestTooManyTags(t *testing.T) {
	s, err := Open(t.Context(), "s3://lake?endpoint=http://127.0.0.1:1&tags=a:1,b:2,c:3,d:4,e:5,f:6,g:7,h:8")
	if err != nil {
		t.Fatal(err)
	}
	for want, tags := range map[string]map[string]string{
		"at most 10":      {"x": "1", "y": "2", "z": "3"},
		"of the names":    {"a": "1"},
		"tags are letter": {"x": "?"},
	} {
		_, err := s.PutTagged(t.Context(), "k", strings.NewReader(""), lake.Condition{}, tags)
		if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want something about %q", tags, err, want)
		}
	}
	if len(s.bodies) != bodies {
		t.Errorf("%d of %d bodies came back", len(s.bodies), bodies)
	}
}

func TestURL(t *testing.T) {
	const takes = "takes acl, endpoint, kms_key, profile, region, sse, storage_class, tags, each once"
	for text, want := range map[string]string{
		"s3://b": "",
		"s3://b/a/p/?region=eu-west-1&profile=ingest": "",
		"s3://b?endpoint=https://minio.example:9000":  "",
		"s3:///p":                          "must be as s3://bucket",
		"s3://key:secret@b":                "must be as s3://bucket",
		"https://b":                        "must be as s3://bucket",
		"s3://b/a//b":                      "prefix",
		"s3://b?regoin=x":                  takes,
		"s3://b?region=":                   takes,
		"s3://b?region=a&region=b":         takes,
		"s3://b?region=a;b":                "a query that cannot be read",
		"s3://b?endpoint=minio:9000":       "endpoint that is no address",
		"s3://b?endpoint=http://u:p@minio": "endpoint that is no address",

		"s3://b?sse=AES256":                                               "",
		"s3://b?sse=aws:kms:dsse&kms_key=alias/lake":                      "",
		"s3://b?sse=aws:kms&storage_class=GLACIER_IR&acl=private":         "",
		"s3://b?storage_class=COLD-1":                                     "",
		"s3://b?sse=kms":                                                  "takes an sse of AES256, aws:kms",
		"s3://b?kms_key=1":                                                "beside sse=aws:kms",
		"s3://b?sse=AES256&kms_key=1":                                     "beside sse=aws:kms",
		"s3://b?acl=owner":                                                "takes an acl of",
		"s3://b?storage_class=GLACIER":                                    "cannot be read without being restored",
		"s3://b?storage_class=DEEP_ARCHIVE":                               "cannot be read without being restored",
		"s3://b?storage_class=cold":                                       "as STANDARD_IA",
		"s3://b?tags=team":                                                "tags as team:data",
		"s3://b?tags=team:a,team:b":                                       "tags as team:data",
		"s3://b?tags=team:a,":                                             "tags as team:data",
		"s3://b?tags=:a":                                                  "keys have 1 to 128",
		"s3://b?tags=a:" + strings.Repeat("b", 257):                       "up to 256",
		"s3://b?tags=a:b%3Cc":                                             "tags are letters",
		"s3://b?tags=a:,b:,c:,d:,e:,f:,g:,h:,i:,j:,k:":                    "at most 10",
		"s3://b?tags=" + strings.Repeat("\u00e9", 128) + ":\u65e5 \u672c": "",
	} {
		err := CheckURL(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestNotTagged: an object whose tags were refused is not there without them.
func TestNotTagged(t *testing.T) {
	f := new(failing(func(r *http.Request) bool { return r.Header.Get("X-Amz-Tagging") != "" }, 1<<20, 403, "AccessDenied"))
	faulty, plain := behind(t, f, nil)
	_, err := faulty.PutTagged(t.Context(), "k", strings.NewReader("x"), lake.Condition{IfAbsent: true}, map[string]string{"a": "b"})
	if err == nil || retry.Classify(err) != retry.Permanent || !strings.Contains(err.Error(), "check the credentials and the rights") {
		t.Errorf("got %v", err)
	}
	if _, err := plain.Stat(t.Context(), "k"); !errors.Is(err, lake.ErrNotExist) {
		t.Errorf("there is something: %v", err)
	}
}
