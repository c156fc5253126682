package rest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headwater/internal/retry"
	"headwater/internal/setting"
)

// bureau is an API that makes reports: what is posted to /items begins one, /reports/n says how it stands, and /files/n/i is its ith file.
type bureau struct {
	// files are those of the nth report, from 0.
	files func(n int, query string) []string
	// slow is how often a report is not done when it is asked for.
	slow int
	// first, if not nil, answers in the bureau's place where it says true.
	first func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	begun    []string // the queries of the submits
	polls    int
	download int
}

func (o *bureau) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if o.first != nil && o.first(w, r) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var n, i int
	switch _, part, _ := strings.Cut(r.URL.Path, "/"); {
	case part == "items":
		o.begun = append(o.begun, r.URL.RawQuery)
		reply(w, map[string]any{"id": len(o.begun) - 1, "state": "new"})
	case scan(part, "reports/%d", &n) && n < len(o.begun):
		if o.polls++; o.polls <= o.slow {
			reply(w, map[string]any{"state": "running"})
			return
		}
		links := []string{}
		for i := range o.files(n, o.begun[n]) {
			links = append(links, fmt.Sprintf("/files/%d/%d", n, i))
		}
		reply(w, map[string]any{"state": "done", "files": links})
	case scan(part, "files/%d/%d", &n, &i) && n < len(o.begun):
		o.download++
		_, _ = w.Write([]byte(o.files(n, o.begun[n])[i]))
	default:
		http.Error(w, "no such "+part, http.StatusNotFound)
	}
}

func scan(text, format string, into ...any) bool {
	n, err := fmt.Sscanf(text, format, into...)
	return err == nil && n == len(into)
}

func (o *bureau) submits() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.begun)
}

// reports reads those of a bureau at base.
func reports(c *Config, base string) {
	c.Method, c.Format, c.Records = methodPost, formatNDJSON, ""
	c.Job = Job{
		ID: ".id", Poll: base + "/reports/{job.id}", Done: `.state == "done"`, Failed: `if .state == "failed" then .why // true else null end`,
		Every: time.Millisecond, Deadline: time.Minute, Download: ".files[]",
	}
}

func newBureau(t *testing.T, o *bureau) *bench {
	b := newBench(t, o.ServeHTTP)
	reports(&b.c, b.server.URL)
	return b
}

func lined(items ...string) string { return strings.Join(items, "\n") + "\n" }

// same gives every report the same files.
func same(files ...string) func(int, string) []string {
	return func(int, string) []string { return files }
}

// TestJobs: the ways by which APIs lead from a request to files.
func TestJobs(t *testing.T) {
	t.Parallel()
	zip := func(text string) string {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write([]byte(text))
		_ = z.Close()
		return b.String()
	}
	two := same(lined(numbers(0, 3)...), lined(numbers(3, 5)...))
	page := func(from, to int) string { return lined(numbers(from, to)...) }
	for name, c := range map[string]struct {
		bureau *bureau
		set    func(c *Config, base string)
		want   []string
	}{
		"files":         {&bureau{files: two, slow: 3}, func(*Config, string) {}, numbers(0, 5)},
		"none":          {&bureau{files: same()}, func(*Config, string) {}, nil},
		"null":          {&bureau{files: same()}, func(c *Config, _ string) { c.Job.Download = ".nothing" }, nil},
		"an empty file": {&bureau{files: same("", page(0, 2), "")}, func(*Config, string) {}, numbers(0, 2)},
		"alike":         {&bureau{files: same(page(0, 2), page(0, 2))}, func(*Config, string) {}, append(numbers(0, 2), numbers(0, 2)...)},
		"gzip":          {&bureau{files: same(zip("n\n0\n1\n"), zip("n\n2\n"))}, func(c *Config, _ string) { c.Format = formatCSV }, []string{`{"n":"0"}`, `{"n":"1"}`, `{"n":"2"}`}},
		"json": {&bureau{files: same(string(data(0, 2)), string(data(2, 3)))}, func(c *Config, _ string) {
			c.Format, c.Records = formatJSON, ".data[]"
		}, numbers(0, 3)},
		"xml": {&bureau{files: same("<a><n>0</n></a>", "<a/>")}, func(c *Config, _ string) {
			c.Format, c.Records = formatXML, ".a | objects"
		}, []string{`{"n":"0"}`}},
		"an address": {&bureau{files: two}, func(c *Config, base string) { c.Job.Download = base + "/files/{job.id}/1" }, numbers(3, 5)},
		"jq": {&bureau{files: two}, func(c *Config, _ string) {
			c.Job.Poll, c.Job.Download = `"/reports/\(.id)"`, `.files[1]`
		}, numbers(3, 5)},
		"Location": {&bureau{files: two, first: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/items" {
				w.Header().Set("Location", "reports/0")
				w.Header().Set("Content-Type", "text/plain")
			}
			return false
		}}, func(c *Config, _ string) { c.Job.ID, c.Job.Poll = "", "" }, numbers(0, 5)},
		"a document": {&bureau{files: two, first: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/documents" {
				reply(w, map[string]string{"url": "/files" + r.FormValue("of")})
			}
			return r.URL.Path == "/documents"
		}}, func(c *Config, _ string) {
			c.Job.Download, c.Job.Link = `.files[] | "/documents?of=" + .[6:]`, ".url"
		}, numbers(0, 5)},
		"Amazon":          {&bureau{files: two, first: amazon(`{"processingStatus":"DONE","reportDocumentId":"a/b"}`)}, likeAmazon, numbers(3, 5)},
		"Amazon, nothing": {&bureau{files: two, first: amazon(`{"processingStatus":"CANCELLED"}`)}, likeAmazon, nil},
		"GraphQL": {&bureau{files: two, first: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/graph" {
				var body bytes.Buffer
				_, _ = body.ReadFrom(r.Body)
				if r.Method != methodPost || body.String() != `{"query":"{node(id:0)}"}` {
					http.Error(w, body.String(), http.StatusBadRequest)
				}
				reply(w, map[string]any{"state": "done", "files": []string{"/files/0/0"}})
			}
			return r.URL.Path == "/graph"
		}}, func(c *Config, base string) {
			c.Job.Poll, c.Job.PollBody = base+"/graph", `{"query":"{node(id:{job.id})}"}`
		}, numbers(0, 3)},
		"linked pages": {&bureau{files: two, first: func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/files/0/0" && r.FormValue("more") == "" {
				w.Header().Set("Link", `</files/0/1?more=1>; rel="next"`)
			}
			return false
		}}, func(c *Config, _ string) { c.Paginate.LinkHeader = &LinkHeader{} }, append(numbers(0, 5), numbers(3, 5)...)},
		"pages of files": {&bureau{files: two, first: func(w http.ResponseWriter, r *http.Request) bool {
			at, next := number(r, "locator", 0), "null"
			if strings.HasPrefix(r.URL.Path, "/files/") {
				if at < 2 {
					next = strconv.Itoa(at + 1)
				}
				w.Header().Set("Sforce-Locator", next)
				_, _ = w.Write([]byte(page(10*at, 10*at+2)))
				return true
			}
			return false
		}}, func(c *Config, _ string) {
			c.Paginate.HeaderCursor = &HeaderCursor{Header: "Sforce-Locator", Param: "locator"}
		}, slices.Concat(numbers(0, 2), numbers(10, 12), numbers(20, 22), numbers(0, 2), numbers(10, 12), numbers(20, 22))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBureau(t, c.bureau)
			c.set(&b.c, b.server.URL)
			b.must()
			b.expect(c.want...)
			if n := c.bureau.submits(); n != 1 {
				t.Errorf("%d jobs were submitted", n)
			}
		})
	}
}

// amazon answers polls and requests for documents as SP-API does.
func amazon(state string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasPrefix(r.URL.Path, "/reports/"):
			_, _ = w.Write([]byte(state))
		case r.URL.EscapedPath() == "/documents/a%2Fb":
			reply(w, map[string]string{"url": "/files/0/1"})
		default:
			return false
		}
		return true
	}
}

// likeAmazon is as docs/sources/rest.md has it.
func likeAmazon(c *Config, _ string) {
	c.Job.Done, c.Job.Failed = `.processingStatus == "DONE" or .processingStatus == "CANCELLED"`, `.processingStatus == "FATAL"`
	c.Job.Download, c.Job.Link = `.reportDocumentId | values | "/documents/\(@uri)"`, ".url"
}

// TestJobsAgain: every poll submits a job, and what a job of one file brings is emitted if it has changed.
func TestJobsAgain(t *testing.T) {
	t.Parallel()
	o := &bureau{files: func(n int, _ string) []string { return []string{lined(numbers(n/2, 2)...)} }}
	b := newBureau(t, o)
	for range 4 {
		b.must()
	}
	b.expect(append(numbers(0, 2), numbers(1, 2)...)...)
	if n := o.submits(); n != 4 {
		t.Errorf("%d jobs were submitted", n)
	}
}

func times(from, to int) (items []string) {
	for n := from; n < to; n++ {
		items = append(items, dated(n, fmt.Sprintf("2001-01-%02dT00:00:00Z", n+1)))
	}
	return items
}

// is there as often as the report has it. A poll of everything begins anew.
func TestOtherJobs(t *testing.T) {
	t.Parallel()
	for _, windows := range []bool{true, false} {
		for seed := range uint64(10) {
			random := rand.New(rand.NewPCG(seed, 5))
			all := slices.Concat(times(0, 4), times(2, 6), times(2, 3))
			shuffled := map[int][]string{}
			o := &bureau{}
			o.files = func(n int, _ string) []string {
				if shuffled[n] == nil {
					items := slices.Clone(all)
					random.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
					cut := random.IntN(len(items) + 1)
					shuffled[n] = []string{lined(items[:cut]...), lined(items[cut:]...)}
				}
				return shuffled[n]
			}
			var last atomic.Int64
			o.first = func(w http.ResponseWriter, r *http.Request) bool {
				gone := strings.HasPrefix(r.URL.Path, "/reports/") && !strings.HasSuffix(r.URL.Path, fmt.Sprint("/", last.Load()))
				if gone {
					http.Error(w, "gone", http.StatusGone)
				}
				if r.URL.Path == "/items" {
					last.Store(int64(o.submits()))
				}
				return gone
			}
			b := newBureau(t, o)
			b.log.PartitionCount = 2
			if windows {
				since(&b.c)
			}
			for n := range 8 {
				b.log.Fail(1 + random.IntN(6))
				if n%3 == 0 {
					b.log.Fail(0)
					b.log.Lose(1 + random.IntN(6))
				}
				_ = b.once() // many an end is asked for
				last.Store(-1)
			}
			b.log.Fail(0)
			b.log.Lose(0)
			for n := 0; b.once() != nil; n++ { // until a job is lost no more
				if n == 20 {
					t.Fatal("it does not end")
				}
			}
			got := b.items()
			if !windows {
				got = got[max(0, len(got)-len(all)):]
			}
			slices.Sort(got)
			want := slices.Sorted(slices.Values(all))
			if !slices.Equal(got, want) {
				t.Errorf("windows %v, %d: %q", windows, seed, got)
			}
		}
	}
}

// TestJobsFail: what becomes of a job that cannot be read is told, adds nothing, and no job is submitted more often than need be.
func TestJobsFail(t *testing.T) {
	t.Parallel()
	at := func(prefix string, do http.HandlerFunc) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, prefix) {
				do(w, r)
			}
			return strings.HasPrefix(r.URL.Path, prefix)
		}
	}
	says := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text))
		}
	}
	for name, c := range map[string]struct {
		first     func(w http.ResponseWriter, r *http.Request) bool
		set       func(*Config)
		says      string
		permanent bool
		forgotten bool // the next process submits another
	}{
		"it fails":             {at("/reports/", says(200, `{"state":"failed","why":"no rights to s3cret-token"}`)), nil, `job 0: the server says that it has failed: "no rights to ***"`, false, true},
		"without a word":       {at("/reports/", says(200, `{"state":"failed"}`)), nil, `job 0: the server says that it has failed: {"state":"failed"}`, false, true},
		"it never ends":        {at("/reports/", says(200, `{"state":"asleep"}`)), func(c *Config) { c.Job.Deadline = 20 * time.Millisecond }, `job 0: it is not done within job.deadline (20ms): raise it`, false, true},
		"it vanishes":          {at("/reports/", says(404, `oh`)), nil, `job 0: the server does not know it any more: GET `, false, true},
		"polls refused":        {at("/reports/", says(400, `oh`)), nil, `asking for a job: GET `, true, false},
		"refused for long":     {at("/reports/", says(400, `oh`)), func(c *Config) { c.Job.Deadline = 1 }, `job 0: asking for a job: GET `, true, true},
		"HTML for long":        {at("/reports/", says(200, `<html>`)), func(c *Config) { c.Job.Deadline = 1 }, `/reports/0 is not JSON: `, false, true},
		"an odd file for long": {at("/files/", says(200, `<html>`)), func(c *Config) { c.Job.Deadline = 1 }, `job 0: page 1 of http`, true, true},
		"polls are HTML":       {at("/reports/", says(200, `<html>`)), nil, `/reports/0 is not JSON: `, false, false},
		"submit refused":       {at("/items", says(400, `oh`)), nil, `submitting a job: POST `, true, true},
		"no id":                {at("/items", says(200, `{"errors":["busy"]}`)), nil, `submitting a job: job.id gives no text on "{\"errors\":[\"busy\"]}"`, false, true},
		"no Location":          {nil, func(c *Config) { c.Job.Poll = "" }, `the answer has no header Location: write as job.poll`, true, true},
		"another host":         {nil, func(c *Config) { c.Job.Poll = `"http://other.example/"` }, `where the job is asked for: other.example is not the host of url`, true, true},
		"another host's":       {nil, func(c *Config) { c.Job.Poll = "http://other.example/{job.id}" }, `job.poll: other.example is not the host of url`, true, true},
		"no address":           {nil, func(c *Config) { c.Job.Download = "{}" }, `job.download gives a object and not an address`, true, false},
		"an odd jq":            {nil, func(c *Config) { c.Job.Download = ".state[0].a" }, `job.download: `, true, false},
		"an odd done":          {nil, func(c *Config) { c.Job.Done = ".state[0].a" }, `job.done: `, true, false},
		"an odd failed":        {nil, func(c *Config) { c.Job.Failed = ".state[0].a" }, `job.failed: `, true, false},
		"an odd id":            {nil, func(c *Config) { c.Job.ID = ".state[0].a" }, `submitting a job: job.id: `, true, true},
		"an odd link":          {nil, func(c *Config) { c.Job.Link = ".url" }, `downloading file 1 of a job: the answer of `, false, false},
		"no link":              {at("/files/", says(200, `{}`)), func(c *Config) { c.Job.Link = ".url" }, `downloading file 1 of a job: job.link gives no text on "{}"`, false, false},
		"an odd file":          {at("/files/", says(200, `<html>log in`)), nil, `the answer is a page of HTML`, true, false},
		"a file is gone":       {at("/files/", says(404, `oh`)), nil, `job 0: downloading file 1, from a new address too: GET `, false, true},
		"a file is cut": {at("/files/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			says(200, `{"n":0}`)(w, nil)
		}), nil, `downloading file 1 of a job: GET`, false, false},
		"a file is 304":   {at("/files/", says(304, "")), nil, `the server answers 304 to a request without a condition`, false, false},
		"a gzip is cut":   {at("/files/", says(200, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xaaV")), nil, `the answer ends too early`, false, false},
		"a file too long": {nil, func(c *Config) { c.MaxBody = 100 }, `the answer is longer than max_body (100`, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &bureau{files: same(lined(numbers(0, 20)...)), first: c.first}
			b := newBureau(t, o)
			b.c.Auth.Bearer = &Bearer{"s3cret-token"}
			if c.set != nil {
				c.set(&b.c)
			}
			before := b.c
			err := b.once()
			if err == nil || !strings.Contains(err.Error(), c.says) || (retry.Classify(err) == retry.Permanent) != c.permanent {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Error(err)
			}
			b.expect()
			_, cursor := b.log.Snapshots()
			if open := strings.Contains(string(cursor.Streams[jobStream].Resume), `"for"`); open == c.forgotten {
				t.Errorf("the job is %s", cursor.Streams[jobStream].Resume)
			}
			if c.set == nil {
				o.first = nil
				b.c = before
				b.must()
				b.expect(numbers(0, 20)...)
			}
		})
	}
}

// TestJobsInNoHurry: a job that fails over and over is submitted as seldom as polls are made, and the first waits are short; so is one whose submit fails.
func TestJobsInNoHurry(t *testing.T) {
	t.Parallel()
	for _, fails := range []string{"/reports/", "/items"} {
		synctest.Test(t, func(t *testing.T) {
			var submits []time.Duration
			began := time.Now()
			o := &bureau{files: same()}
			o.first = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/items" {
					submits = append(submits, time.Since(began))
				}
				if !strings.HasPrefix(r.URL.Path, fails) {
					return false
				}
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
			if fails == "/reports/" {
				o.first = func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/items" {
						submits = append(submits, time.Since(began))
						return false
					}
					reply(w, map[string]any{"state": "failed"})
					return true
				}
			}
			b := &bench{t: t, c: DefaultConfig(), log: newLog()}
			b.c.URL = "http://api.example/items"
			reports(&b.c, "http://api.example")
			b.c.Job.Every, b.c.Every = 10*time.Second, 5*time.Minute
			for range 200 { // processes, a minute each
				_ = func() error {
					s := source(t, b.c)
					s.transport = inside{b.watch(o.ServeHTTP)}
					return b.runner(s).Run(t.Context(), true)
				}()
				time.Sleep(time.Second)
			}
			if len(submits) < 7 {
				t.Fatalf("%s: submits at %s", fails, submits)
			}
			for i, least := range []time.Duration{0, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute} {
				before := time.Duration(0)
				if i > 0 {
					before = submits[i-1]
				}
				if wait := submits[i] - before; wait < least || wait > least+2*time.Second {
					t.Errorf("%s: the wait before submit %d is %s, want %s", fails, i, wait, least)
				}
			}
		})
	}
}

// TestJobPolls: how often a job is asked for: soon at first, though it may not be known everywhere yet, and as the server says.
func TestJobPolls(t *testing.T) {
	t.Parallel()
	for first, want := range map[string]string{"": "[0s 1s 3s 7s 12s 1m42s 1m47s 1m52s]", "30": "[30s 31s 33s 37s 45s 2m15s 2m47s 3m22s]"} {
		var polls []time.Duration
		var began time.Time
		set := func(c *Config) {
			began = time.Now()
			reports(c, "http://api.example")
			c.Job.Every, c.Job.Deadline = 5*time.Second, 10*time.Minute
			if first == "30" {
				c.Job.Every = 35 * time.Second
			}
		}
		o := &bureau{files: same(lined(numbers(0, 1)...)), slow: 6}
		o.first = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/reports/") {
				w.Header().Set("Retry-After", first)
				return false
			}
			polls = append(polls, time.Since(began))
			if len(polls) == 5 {
				w.Header().Set("Retry-After", "90")
			}
			if len(polls) == 1 {
				w.WriteHeader(http.StatusNotFound)
			}
			return len(polls) == 1
		}
		bubble(t, set, o.ServeHTTP, func(b *bench, err error, _ time.Duration) {
			if err != nil {
				b.t.Fatal(err)
			}
			b.expect(numbers(0, 1)...)
			if got := fmt.Sprint(polls); got != want {
				t.Errorf("polls at %s, want %s", got, want)
			}
		})
	}
}

// TestJobCredentials: files on other hosts are asked for without anything that the API is asked with, wherever they are told of.
func TestJobCredentials(t *testing.T) {
	t.Parallel()
	for _, auth := range []Auth{
		{Bearer: &Bearer{"s3cret-token"}},
		{Basic: &Basic{"me", "s3cret-password"}},
		{APIKey: &APIKey{Name: "X-Api-Key", In: inHeader, Value: "s3cret-key"}},
		{APIKey: &APIKey{Name: "key", In: inQuery, Value: "s3cret-key"}},
		{APIKey: &APIKey{Name: "key", In: inCookie, Value: "s3cret-key"}},
	} {
		for _, way := range []string{"link", "redirect", "allowed"} {
			other := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				if r.FormValue("refuse") != "" {
					http.Error(w, "expired: "+r.FormValue("signature"), http.StatusBadRequest)
					return
				}
				_, _ = w.Write([]byte(lined(numbers(0, 2)...)))
			})
			o := &bureau{files: same("")}
			more := ""
			o.first = func(w http.ResponseWriter, r *http.Request) bool {
				link := other.server.URL + "/files/7?signature=0123456789abcdef&b=%2F&a=1" + more
				switch {
				case strings.HasPrefix(r.URL.Path, "/reports/") && way != "redirect":
					reply(w, map[string]any{"state": "done", "files": []string{link}})
				case strings.HasPrefix(r.URL.Path, "/files/"):
					http.Redirect(w, r, link, http.StatusFound)
				default:
					return false
				}
				return true
			}
			b := newBureau(t, o)
			b.c.Auth = auth
			b.c.Headers = map[string]setting.Secret{"X-Tenant": "s3cret-tenant"}
			if way == "allowed" {
				b.c.AllowHosts = []string{strings.TrimPrefix(other.server.URL, "http://")}
			}
			b.must()
			b.expect(numbers(0, 2)...)
			for _, r := range other.requests {
				text := fmt.Sprint(r.Header, r.URL)
				if strings.Contains(text, "s3cret") != (way == "allowed") || r.Header.Get("Authorization") != "" && way != "allowed" {
					t.Errorf("%s: another host is asked with %s", way, text)
				}
				if way != "allowed" && r.URL.RawQuery != "signature=0123456789abcdef&b=%2F&a=1" {
					t.Errorf("the link is asked for as %s", r.URL)
				}
			}
			more = "&refuse=1"
			if err := b.once(); err == nil || strings.Contains(err.Error(), "0123456789abcdef") {
				t.Errorf("%s: %v", way, err)
			}
		}
	}
}

// TestJobLinksExpire: the link of a file that has expired is asked for again, and the file is the same one wherever it is listed then, if its path tells.
func TestJobLinksExpire(t *testing.T) {
	t.Parallel()
	for name, link := range map[string]string{"by path": "/files/0/%d?good=%d", "by place": "/files?file=%d&good=%d"} {
		for lost := range 2 { // files that are not listed again
			o := &bureau{files: same(lined(numbers(0, 2)...), lined(numbers(2, 4)...), lined(numbers(4, 6)...))}
			polls := 0
			o.first = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/reports/") {
					links := []string{}
					for i := range 3 {
						links = append(links, fmt.Sprintf(link, i, polls))
					}
					from := polls % 3
					if name == "by place" {
						from = 0
					}
					links = append(links[from:], links[:from]...)
					if polls++; polls > 1 {
						links = links[lost:]
					}
					reply(w, map[string]any{"state": "done", "files": links})
					return true
				}
				if !strings.HasPrefix(r.URL.Path, "/files") {
					return false
				}
				file := number(r, "file", 0)
				if name == "by path" {
					file, _ = strconv.Atoi(r.URL.Path[len("/files/0/"):])
				}
				if file != number(r, "good", 0) {
					http.Error(w, "expired", http.StatusForbidden)
					return true
				}
				_, _ = w.Write([]byte(o.files(0, "")[file]))
				return true
			}
			b := newBureau(t, o)
			err := b.once()
			if lost > 0 {
				b.expect(numbers(0, 2)...)
				if err == nil || !strings.Contains(err.Error(), "the job has 2 files now, and had 3 before") {
					t.Error(name, err)
				}
				continue
			}
			if err != nil {
				t.Error(name, err)
			}
			b.expect(numbers(0, 6)...)
			if n := o.submits(); n != 1 || polls != 3 {
				t.Errorf("%s: %d jobs, %d polls", name, n, polls)
			}
		}
	}
}
