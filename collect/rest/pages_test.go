package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"headwater/internal/retry"
	"headwater/internal/setting"
)

// slice are the items from one on, at most n, of 25.
func slice(from, n int) []any {
	all := []any{}
	for i := from; i < min(25, from+n); i++ {
		all = append(all, map[string]int{"n": i})
	}
	return all
}

func number(r *http.Request, name string, missing int) int {
	if n, err := strconv.Atoi(r.FormValue(name)); err == nil {
		return n
	}
	return missing
}

// ways are the paginators, each with a server that has 25 items on pages of ten.
var ways = map[string]struct {
	set   func(c *Config)
	serve http.HandlerFunc
}{
	"cursor": {
		func(c *Config) { c.Paginate.Cursor = &Cursor{Path: ".next", Param: "after"} },
		func(w http.ResponseWriter, r *http.Request) {
			from := number(r, "after", 0)
			page := map[string]any{"data": slice(from, 10), "next": nil}
			if from < 20 {
				page["next"] = from + 10
			}
			reply(w, page)
		},
	},
	"cursor of text": {
		func(c *Config) { c.Paginate.Cursor = &Cursor{Path: ".next", Param: "after"} },
		func(w http.ResponseWriter, r *http.Request) {
			from := number(r, "after", 0)
			page := map[string]any{"data": slice(from, 10), "next": ""}
			if from < 20 {
				page["next"] = strconv.Itoa(from + 10)
			}
			reply(w, page)
		},
	},
	"cursor of the last item": {
		func(c *Config) { c.Paginate.Cursor = &Cursor{Path: ".data[-1].n", Param: "after"} },
		func(w http.ResponseWriter, r *http.Request) {
			reply(w, map[string]any{"data": slice(number(r, "after", -1)+1, 10)})
		},
	},
	"cursor in the body": {
		func(c *Config) {
			c.Method, c.Body = "POST", `{"query":"items","variables":{"size":10}}`
			c.Paginate.Cursor = &Cursor{Path: ".page.end", Body: ".variables.after"}
			c.Paginate.More = ".page.more"
		},
		func(w http.ResponseWriter, r *http.Request) {
			var q struct {
				Query     string
				Variables struct{ Size, After int }
			}
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Query != "items" {
				http.Error(w, "no query", http.StatusBadRequest)
				return
			}
			from := q.Variables.After
			reply(w, map[string]any{"data": slice(from, q.Variables.Size), "page": map[string]any{"end": from + 10, "more": from < 20}})
		},
	},
	"page number": {
		func(c *Config) { c.Paginate.PageNumber = &PageNumber{Param: "page"} },
		func(w http.ResponseWriter, r *http.Request) {
			reply(w, map[string]any{"data": slice(10*(number(r, "page", 1)-1), 10)})
		},
	},
	"page number from 0, no page after the last": {
		func(c *Config) {
			c.Paginate.PageNumber = &PageNumber{Param: "page", Start: new(int64(0))}
			c.Paginate.Total = ".total"
		},
		func(w http.ResponseWriter, r *http.Request) {
			page := number(r, "page", 0)
			if page > 2 {
				http.Error(w, "page out of range", http.StatusBadRequest)
				return
			}
			reply(w, map[string]any{"data": slice(10*page, 10), "total": 25})
		},
	},
	"offset, with fewer than the limit": {
		func(c *Config) { c.Paginate.Offset = &Offset{Param: "offset", LimitParam: "limit", Limit: 500} },
		func(w http.ResponseWriter, r *http.Request) {
			reply(w, map[string]any{"data": slice(number(r, "offset", 0), min(7, number(r, "limit", 1)))})
		},
	},
	"link": {
		func(c *Config) { c.Paginate.Link = &Link{Path: ".links.next"} },
		func(w http.ResponseWriter, r *http.Request) {
			from := number(r, "from", 0)
			links := map[string]any{}
			if from < 20 {
				links["next"] = fmt.Sprintf("http://%s/items?from=%d&size=10", r.Host, from+10)
			}
			reply(w, map[string]any{"data": slice(from, number(r, "size", 10)), "links": links})
		},
	},
	"link, relative": {
		func(c *Config) { c.Paginate.Link = &Link{Path: ".next"} },
		func(w http.ResponseWriter, r *http.Request) {
			from := number(r, "from", 0)
			page := map[string]any{"data": slice(from, 10)}
			if from < 20 {
				page["next"] = fmt.Sprintf("?from=%d", from+10)
			}
			reply(w, page)
		},
	},
	"link header": {
		func(c *Config) { c.Paginate.LinkHeader = &LinkHeader{} },
		func(w http.ResponseWriter, r *http.Request) {
			page := number(r, "page", 1)
			if page < 3 {
				w.Header().Add("Link", fmt.Sprintf(`</items?page=1,2>; rel="first"; title="a, b; c", </items?page=%d>; rel="prefetch next"`, page+1))
			}
			w.Header().Add("Link", `</items?page=3>; rel=last`)
			reply(w, map[string]any{"data": slice(10*(page-1), 10)})
		},
	},
	"header cursor": {
		func(c *Config) { c.Paginate.HeaderCursor = &HeaderCursor{Header: "X-Next", Param: "after"} },
		func(w http.ResponseWriter, r *http.Request) {
			from := number(r, "after", 0)
			if from < 20 {
				w.Header().Set("X-Next", strconv.Itoa(from+10))
			}
			reply(w, map[string]any{"data": slice(from, 10)})
		},
	},
}

func TestPaginators(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, way.serve)
			way.set(&b.c)
			b.must()
			b.expect(numbers(0, 25)...)
		})
	}
}

// TestPaginatorsResume: a process ends after every record, and the next one goes on behind it.
func TestPaginatorsResume(t *testing.T) {
	t.Parallel()
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, way.serve)
			way.set(&b.c)
			for n := range 25 {
				b.log.Fail(2)
				if err := b.once(); n < 24 && err == nil {
					t.Fatalf("process %d did not fail", n)
				}
			}
			b.log.Fail(0)
			b.expect(numbers(0, 25)...)
		})
	}
}

// TestTraps are servers whose pages would be read for ever, or not to their end, or that lead elsewhere.
func TestTraps(t *testing.T) {
	t.Parallel()
	other := newBench(t, func(w http.ResponseWriter, r *http.Request) { reply(w, map[string]any{"data": slice(0, 1)}) })
	for name, c := range map[string]struct {
		set   func(c *Config)
		serve http.HandlerFunc
		items int // that were emitted
		says  string
	}{
		"the last page for ever": {
			func(c *Config) { c.Paginate.PageNumber = &PageNumber{Param: "page"} },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": slice(10*min(1, number(r, "page", 1)-1), 10)})
			},
			20, "page 3 of SERVER/items: it has the same items as page 2",
		},
		"an offset that is not heard": {
			func(c *Config) { c.Paginate.Offset = &Offset{Param: "start"} },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": slice(number(r, "offset", 0), 10)})
			},
			10, "page 2 of SERVER/items: it has the same items as page 1",
		},
		"the same cursor": {
			func(c *Config) { c.Paginate.Cursor = &Cursor{Path: ".next", Param: "after"} },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": slice(number(r, "after", 0), 10), "next": 10})
			},
			10, "page 2 of SERVER/items: its cursor or link to the next page was given before",
		},
		"a ring of links": {
			func(c *Config) { c.Paginate.Link = &Link{Path: ".next"} },
			func(w http.ResponseWriter, r *http.Request) {
				n := number(r, "n", 0)
				reply(w, map[string]any{"data": []any{r.URL.RawQuery + strconv.Itoa(len(r.URL.RawQuery)), n}, "next": fmt.Sprintf("?n=%d", (n+1)%3)})
			},
			6, "was given before: the pages go round",
		},
		"pages without end": {
			func(c *Config) { c.Paginate.PageNumber, c.MaxPages = &PageNumber{Param: "page"}, 4 },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": []any{number(r, "page", 1)}})
			},
			3, "there are more than max_pages (4)",
		},
		"empty pages without end": {
			func(c *Config) { c.Paginate.Cursor, c.MaxPages = &Cursor{Path: ".next", Param: "after"}, 4 },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": []any{}, "next": number(r, "after", 0) + 1})
			},
			0, "there are more than max_pages (4)",
		},
		"a hole before the end": {
			func(c *Config) { c.Paginate.PageNumber, c.Paginate.Total = &PageNumber{Param: "page"}, ".total" },
			func(w http.ResponseWriter, r *http.Request) {
				page := number(r, "page", 1)
				data := slice(10*(page-1), 10)
				if page == 2 {
					data = []any{}
				}
				reply(w, map[string]any{"data": data, "total": 25})
			},
			10, "paginate.total says that there are 25 items and all pages together have 10",
		},
		"a cursor that is lost": {
			func(c *Config) {
				c.Paginate.Cursor, c.Paginate.Total = &Cursor{Path: ".next", Param: "after"}, ".total"
			},
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": slice(0, 10), "total": 25})
			},
			0, "paginate.total says that there are 25 items and all pages together have 10",
		},
		"more without a place": {
			func(c *Config) { c.Paginate.Cursor, c.Paginate.More = &Cursor{Path: ".next", Param: "after"}, ".more" },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": slice(0, 10), "more": true})
			},
			0, "paginate.more says that another page follows",
		},
		"a total that is no number": {
			func(c *Config) { c.Paginate.PageNumber, c.Paginate.Total = &PageNumber{Param: "page"}, ".total" },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": slice(0, 10), "total": "many"})
			},
			0, "paginate.total gives many",
		},
		"a link to another host": {
			func(c *Config) { c.Paginate.Link = &Link{Path: ".next"} },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": slice(0, 10), "next": other.server.URL + "/items"})
			},
			0, "is not the host of url and would get the credentials: name it in allow_hosts",
		},
		"a link to a file": {
			func(c *Config) { c.Paginate.LinkHeader = &LinkHeader{} },
			func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Link", `<file:///etc/passwd>; rel="next"`)
				reply(w, map[string]any{"data": slice(0, 10)})
			},
			0, "its link to the next page: it is no address",
		},
		"a link that is an object": {
			func(c *Config) { c.Paginate.Link = &Link{Path: ".next"} },
			func(w http.ResponseWriter, r *http.Request) {
				reply(w, map[string]any{"data": slice(0, 10), "next": map[string]any{"href": "/"}})
			},
			0, "paginate.link.path gives a object",
		},
		"a redirect to another host": {
			func(*Config) {},
			func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, other.server.URL+"/items?a=s3cret", http.StatusFound)
			},
			0, "would get the credentials: name it in allow_hosts",
		},
		"redirects without end": {
			func(*Config) {},
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/items", http.StatusFound) },
			0, "more than 5 redirects, the last to SERVER/items",
		},
		"records that are not there": {
			func(c *Config) { c.Records = ".items[]" },
			func(w http.ResponseWriter, r *http.Request) { reply(w, map[string]any{"data": slice(0, 10)}) },
			0, "records: .items[]: cannot iterate over: null",
		},
		"a page of HTML": {
			func(*Config) {},
			func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = w.Write([]byte("<!doctype html><form>Please sign in"))
			},
			0, `a page of HTML or XML, not json (is this the API's address, and is it one that asks for a log-in?): "<!doctype html>`,
		},
		"a page of HTML that says it is JSON": {
			func(*Config) {},
			func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("\n <html>Please sign in")) },
			0, "a page of HTML or XML",
		},
		"a long answer": {
			func(c *Config) { c.MaxBody = 1000 },
			func(w http.ResponseWriter, r *http.Request) { reply(w, strings.Repeat("x", 1000)) },
			0, "the answer is longer than max_body (1000)",
		},
		"404": {
			func(c *Config) { c.Params = map[string]setting.Secret{"key": "s3cret-key"} },
			func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, "no such "+r.RequestURI, http.StatusNotFound)
			},
			0, `GET SERVER/items: the server answers 404 Not Found: "no such /items?key=***`,
		},
		"401": {
			func(c *Config) { c.Auth.Bearer = &Bearer{"s3cret-token"} },
			func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, "not "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			},
			0, `the server answers 401 Unauthorized: "not Bearer ***`,
		},
		"an encoding nobody asked for": {
			func(*Config) {},
			func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", "br")
				reply(w, 1)
			},
			0, `the content encoding "br"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.serve)
			c.set(&b.c)
			err := b.once()
			want := strings.ReplaceAll(c.says, "SERVER", b.server.URL)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("the error is %v, want %q", err, want)
			}
			if retry.Classify(err) != retry.Permanent {
				t.Errorf("it is tried again: %v", err)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("a secret is in the error: %v", err)
			}
			if got := len(b.items()); got != c.items {
				t.Errorf("%d items were emitted, want %d", got, c.items)
			}
		})
	}
	t.Cleanup(func() {
		if asked := other.asked(); len(asked) > 0 {
			t.Errorf("the other host was asked: %q", asked)
		}
	})
}

// TestAllowedHost: a link and a redirect to a host that is named get the credentials.
func TestAllowedHost(t *testing.T) {
	t.Parallel()
	other := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "s3cret-key" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		reply(w, map[string]any{"data": slice(24, 10)})
	})
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, other.server.URL, http.StatusTemporaryRedirect)
			return
		}
		reply(w, map[string]any{"data": slice(0, 24), "next": "/moved"})
	})
	b.c.Paginate.Link = &Link{Path: ".next"}
	b.c.Auth.APIKey = &APIKey{Name: "X-Key", In: inHeader, Value: "s3cret-key"}
	b.c.AllowHosts = []string{strings.TrimPrefix(other.server.URL, "http://")}
	b.must()
	b.expect(numbers(0, 25)...)
}

// TestEmptyPages: a cursor goes on over pages that have nothing, and ends where nothing comes under the cursor that was asked for.
func TestEmptyPages(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		after := number(r, "after", 0)
		data := slice(after, 5)
		if after == 5 {
			data = []any{}
		}
		reply(w, map[string]any{"data": data, "next": min(25, after+5)})
	})
	b.c.Paginate.Cursor = &Cursor{Path: ".next", Param: "after"}
	b.must()
	b.expect(append(numbers(0, 5), numbers(10, 25)...)...)
}

// TestKeyInLinks: a server that repeats the key in its links does not get it into resumes.
func TestKeyInLinks(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("key") != "s3cret-key" {
			http.Error(w, "who?", http.StatusUnauthorized)
			return
		}
		page := map[string]any{"data": slice(number(r, "from", 0), 10)}
		if from := number(r, "from", 0); from < 20 {
			page["next"] = fmt.Sprintf("/items?key=s3cret-key&from=%d", from+10)
		}
		reply(w, page)
	})
	b.c.Paginate.Link = &Link{Path: ".next"}
	b.c.Auth.APIKey = &APIKey{Name: "key", In: inQuery, Value: "s3cret-key"}
	b.must()
	b.expect(numbers(0, 25)...)
	if strings.Contains(b.logged.String(), "s3cret") {
		t.Error(b.logged.String())
	}
}
