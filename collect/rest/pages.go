package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"

	"headwater/envelope"
	"headwater/internal/retry"
)

// spot is where a page is; the first page's is zero but for Page. It is part of resumes.
type spot struct {
	// Page counts from 1.
	Page int `json:"page"`
	// At is a page number or an offset.
	At int64 `json:"at,omitempty"`
	// Next is a cursor, as JSON, or a link.
	Next string `json:"next,omitempty"`
	// File is which of a job's files it is of, from 0.
	File int `json:"file,omitempty"`
}

// page is one, read.
type page struct {
	spot
	records []record
	sum     digest
	last    bool
	answer  *answer
}

// early is what was answered before its turn.
type early struct {
	*answer
	err error
}

// pager reads the pages of one pass over a resource, or of the files of a job.
//
// What would make a pass endless or cut it short is an error: a page, a cursor or a link that was there before, more pages than
// max_pages, fewer items than total. A page that is short is never taken for the last one.
type pager struct {
	s         *Source
	c         *client
	res       *resource
	fill      fill
	at        spot
	over      bool
	whole     bool // it began with the first page, so that total can be compared
	count     int64
	asked     map[string]bool
	sums      map[digest]int
	condition http.Header // for the first page
	early     chan early  // the answer of the page at p.at, if it was asked for before its turn

	jobs  *jobs      // nil if the resource itself has the pages
	span  string     // what the job is for, beside the configuration
	files []*url.URL // of the job; nil until it is done
}

// resource is what has pages, and its queries.
type resource struct {
	*Resource
	records, next, more, total query
	inBody                     query
}

func (r *Resource) compile() (*resource, error) {
	next, inBody := "", ""
	switch {
	case r.Paginate.Cursor != nil:
		next = r.Paginate.Cursor.Path
	case r.Paginate.Link != nil:
		next = r.Paginate.Link.Path
	}
	if path := r.Paginate.bodyPath(); path != "" {
		inBody = ".[1] as $page | .[0] | (" + path + "\n) = $page"
	}
	res := &resource{Resource: r}
	return res, compileAll([]compiled{
		{&res.records, r.Records},
		{&res.next, next},
		{&res.more, r.Paginate.More},
		{&res.total, r.Paginate.Total},
		{&res.inBody, inBody},
	})
}

// fill puts values into placeholders: as they are, in an address, inside of a JSON text.
type fill struct{ plain, address, json *strings.Replacer }

// filling makes one of placeholders and values that alternate.
func filling(values ...string) fill {
	var f [3][]string
	for i := 0; i < len(values); i += 2 {
		quoted := envelope.AppendString(nil, values[i+1])
		f[0] = append(f[0], values[i], values[i+1])
		f[1] = append(f[1], values[i], strings.ReplaceAll(url.QueryEscape(values[i+1]), "+", "%20")) // it may be in the path
		f[2] = append(f[2], values[i], string(quoted[1:len(quoted)-1]))
	}
	return fill{strings.NewReplacer(f[0]...), strings.NewReplacer(f[1]...), strings.NewReplacer(f[2]...)}
}

// window fills in that of incremental.
func window(start, end string) fill {
	return filling("{incremental.start}", start, "{incremental.end}", end)
}

func (s *Source) pages(c *client, res *resource, f fill) *pager {
	p := &pager{s: s, c: c, res: res, fill: f}
	if res == s.items {
		p.jobs = c.jobs
	}
	p.begin(spot{Page: 1})
	return p
}

// begin takes a spot for where pages begin that have nothing to do with those before.
func (p *pager) begin(at spot) {
	p.at, p.whole, p.count, p.asked, p.sums = at, true, 0, map[string]bool{}, map[digest]int{}
	if n := p.res.Paginate.PageNumber; n != nil {
		p.at.At = 1
		if n.Start != nil {
			p.at.At = *n.Start
		}
	}
}

// next reads the next page; nil after the last one.
func (p *pager) next(ctx context.Context) (*page, error) {
	if p.over {
		return nil, nil
	}
	pg, err := p.read(ctx)
	if err != nil {
		return nil, p.jobs.overdue(ctx, err)
	}
	return pg, nil
}

// read reads the page at p.at, and finds the one after it.
func (p *pager) read(ctx context.Context) (*page, error) {
	a, err := p.answer(ctx)
	if err != nil {
		return nil, err
	}
	pg := &page{spot: p.at, answer: a}
	if a.unchanged {
		if p.jobs != nil || p.at.Page > 1 || len(p.condition) == 0 {
			return nil, fmt.Errorf("page %d of %s: the server answers 304 to a request without a condition", pg.Page, place(a.url))
		}
		pg.last, p.over = true, true
		return pg, nil
	}
	records, document, err := p.s.parse(ctx, p.c, p.res, a)
	if err == nil {
		pg.records, pg.sum = records, sumOf(records)
		err = p.follow(ctx, pg, document)
	}
	if err != nil {
		return nil, fmt.Errorf("page %d of %s: %w", pg.Page, place(a.url), err)
	}
	pg.last = p.over
	return pg, nil
}

// answer is that of the page at p.at.
func (p *pager) answer(ctx context.Context) (*answer, error) {
	if p.early == nil {
		return p.ask(ctx)
	}
	e := <-p.early // ends with ctx, as all that is read ahead
	p.early = nil
	return e.answer, e.err
}

// ask fetches the page at p.at.
func (p *pager) ask(ctx context.Context) (*answer, error) {
	if p.jobs != nil {
		return p.file(ctx)
	}
	r, err := p.request()
	if err != nil {
		return nil, err
	}
	if p.at.Page == 1 {
		maps.Copy(r.header, p.condition)
	}
	if !p.linked() {
		q := r.url.Query()
		err = p.place(ctx, q, &r)
		r.url.RawQuery = q.Encode()
	}
	if err != nil {
		return nil, err
	}
	return p.c.fetch(ctx, r)
}

// linked says that the page has an address of its own, with its own parameters.
func (p *pager) linked() bool {
	return p.at.Next != "" && (p.res.Paginate.Link != nil || p.res.Paginate.LinkHeader != nil)
}

// request is one as all of the source's are.
func (s *Source) request(method string, u *url.URL, accept string, f fill) request {
	r := request{method: method, url: u, header: http.Header{"Accept": {accept}, "User-Agent": {"headwater"}}}
	for name, v := range s.c.Headers {
		r.header.Set(name, f.plain.Replace(v.Reveal()))
	}
	return r
}

// request is that for the resource, or for a page of it that is linked.
func (p *pager) request() (request, error) {
	c := p.res
	address := p.fill.address.Replace(c.URL)
	if strings.HasPrefix(c.URL, parentPrefix) {
		address = p.fill.plain.Replace(c.URL) // it is one
	}
	if p.linked() {
		address = p.at.Next
	}
	u, err := url.Parse(address)
	if err != nil {
		return request{}, retry.Stop(errors.New("rest.url is no address"))
	}
	if c == p.s.children {
		u = p.c.home.ResolveReference(u)
		if err := p.c.allowed(u); err != nil {
			return request{}, retry.Stop(fmt.Errorf("children.url gives %s: %w", place(u), err))
		}
	}
	r := p.s.request(c.Method, u, accepts[c.Format], p.fill)
	if c.Body != "" {
		r.header.Set("Content-Type", "application/json")
		r.body = []byte(p.fill.json.Replace(c.Body.Reveal()))
	}
	if !p.linked() {
		q := u.Query()
		for name, v := range c.Params {
			q.Set(name, p.fill.plain.Replace(v.Reveal()))
		}
		u.RawQuery = q.Encode()
	}
	return r, nil
}

var accepts = map[string]string{
	formatJSON: "application/json", formatNDJSON: "application/x-ndjson, application/jsonl, */*;q=0.1", formatCSV: "text/csv, */*;q=0.1",
	formatXML: "application/xml, text/xml, */*;q=0.1",
}

// place says in a request which page is asked for.
func (p *pager) place(ctx context.Context, q url.Values, r *request) error {
	at := strconv.FormatInt(p.at.At, 10)
	switch way := &p.res.Paginate; {
	case way.PageNumber != nil:
		return p.put(ctx, q, r, way.PageNumber.Param, at)
	case way.Offset != nil:
		if way.Offset.LimitParam != "" {
			q.Set(way.Offset.LimitParam, strconv.FormatInt(way.Offset.Limit, 10))
		}
		return p.put(ctx, q, r, way.Offset.Param, at)
	case p.at.Next == "":
	case way.Cursor != nil:
		return p.put(ctx, q, r, way.Cursor.Param, p.at.Next)
	case way.HeaderCursor != nil:
		return p.put(ctx, q, r, way.HeaderCursor.Param, p.at.Next)
	}
	return nil
}

// put puts a value, a JSON text, into the query as param, or into the body.
func (p *pager) put(ctx context.Context, q url.Values, r *request, param, text string) error {
	if param != "" {
		if s := ""; json.Unmarshal([]byte(text), &s) == nil {
			text = s
		}
		q.Set(param, text)
		return nil
	}
	value, err := decode([]byte(text))
	if err != nil {
		return err
	}
	var body any = map[string]any{}
	if len(r.body) > 0 {
		if body, err = decode(r.body); err != nil {
			return retry.Stop(errors.New("rest.body must be JSON, so that paginate can put something into it"))
		}
	}
	body, err = p.res.inBody.one(ctx, []any{body, value})
	if err != nil {
		return retry.Stop(fmt.Errorf("putting the page into rest.body: %w", err))
	}
	r.header.Set("Content-Type", "application/json")
	r.body, err = gojq.Marshal(body)
	return err
}

// follow finds where the page after pg is.
func (p *pager) follow(ctx context.Context, pg *page, document any) error {
	p.count += int64(len(pg.records))
	next, found, err := p.following(ctx, pg, document)
	if err != nil {
		return err
	}
	more, err := p.says(ctx, p.res.more, document)
	if err != nil {
		return err
	}
	if p.res.more.code != nil {
		if more && !found && len(pg.records) > 0 {
			return retry.Stop(errors.New("paginate.more says that another page follows, and nothing says where it is"))
		}
		found = found && more
	}
	total, err := p.total(ctx, document)
	if err != nil {
		return err
	}
	way := &p.res.Paginate
	if counted := way.PageNumber != nil || way.Offset != nil; counted && p.whole && total >= 0 && p.count >= total {
		found = false // without asking for a page that some servers refuse
	}
	if !found {
		if p.whole && p.count < total {
			return p.stop(fmt.Errorf("paginate.total says that there are %d items and all pages together have %d", total, p.count))
		}
		p.end(pg)
		return nil
	}
	return p.check(pg, next)
}

// end goes on after the last page of a resource or a file.
func (p *pager) end(pg *page) {
	if p.over = pg.File+1 >= len(p.files); !p.over {
		p.begin(spot{Page: pg.Page + 1, File: pg.File + 1})
	}
}

// check keeps a pass from going round.
func (p *pager) check(pg *page, next spot) error {
	if before, again := p.sums[pg.sum]; again && len(pg.records) > 0 {
		return p.stop(fmt.Errorf("it has the same items as page %d: the server does not go on, or repeats its last page; "+
			"check paginate, and name what tells the end as paginate.more or paginate.total", before))
	}
	p.sums[pg.sum] = pg.Page
	if next.Next != "" {
		if p.asked[next.Next] {
			if len(pg.records) == 0 {
				p.end(pg) // where nothing is left some servers give the cursor that they were asked with
				return nil
			}
			return retry.Stop(errors.New("its cursor or link to the next page was given before: the pages go round"))
		}
		p.asked[next.Next] = true
	}
	if pg.Page >= p.s.c.MaxPages {
		return retry.Stop(fmt.Errorf("there are more than max_pages (%d)", p.s.c.MaxPages))
	}
	next.Page, next.File = pg.Page+1, pg.File
	p.at = next
	return nil
}

// stop marks an error that only a person can cure. In a window it may also be that the pages have shifted by just as much, and each item
// is taken once however often the window is read.
func (p *pager) stop(err error) error {
	if p.s.value.code != nil {
		return err
	}
	return retry.Stop(err)
}

// following is where the page itself says that another one is, or may be.
func (p *pager) following(ctx context.Context, pg *page, document any) (next spot, found bool, err error) {
	switch way := &p.res.Paginate; {
	case way.PageNumber != nil:
		return spot{At: pg.At + 1}, len(pg.records) > 0, nil
	case way.Offset != nil:
		return spot{At: pg.At + int64(len(pg.records))}, len(pg.records) > 0, nil // the server may give fewer than the limit
	case way.Cursor != nil:
		v, err := p.res.next.one(ctx, document)
		if err != nil {
			return next, false, retry.Stop(fmt.Errorf("paginate.cursor.path: %w", err))
		}
		if v == nil || v == "" || v == false {
			return next, false, nil
		}
		text, err := gojq.Marshal(v)
		if _, whole := v.(map[string]any); whole && way.Cursor.Param != "" {
			return next, false, retry.Stop(errors.New("paginate.cursor.path gives an object, which is no query parameter"))
		}
		return spot{Next: string(text)}, true, err
	case way.HeaderCursor != nil:
		v := pg.answer.header.Get(way.HeaderCursor.Header)
		text, err := json.Marshal(v)
		return spot{Next: string(text)}, v != "" && v != "null", err // as Salesforce spells none
	case way.Link != nil:
		v, err := p.res.next.one(ctx, document)
		if err != nil {
			return next, false, retry.Stop(fmt.Errorf("paginate.link.path: %w", err))
		}
		link, isText := v.(string)
		if v != nil && v != false && !isText {
			return next, false, retry.Stop(fmt.Errorf("paginate.link.path gives a %s and not an address", gojq.TypeOf(v)))
		}
		return p.link(pg, link)
	case way.LinkHeader != nil:
		return p.link(pg, nextOf(pg.answer.header.Values("Link")))
	}
	return next, false, nil
}

// link is a link to another page, if it may be followed. It is kept without the key that requests get.
func (p *pager) link(pg *page, text string) (next spot, found bool, err error) {
	if text == "" {
		return next, false, nil
	}
	u, err := pg.answer.url.Parse(text)
	if err != nil {
		return next, false, retry.Stop(errors.New("its link to the next page is no address"))
	}
	if home := p.c.home; home.Scheme == "https" && u.Scheme == "http" && strings.EqualFold(u.Host, home.Host) {
		u.Scheme = "https" // as servers behind a proxy that ends TLS do not know
	}
	if err := p.c.allowed(u); err != nil {
		return next, false, retry.Stop(fmt.Errorf("its link to the next page: %w", err))
	}
	return spot{Next: p.s.c.keyless(u)}, true, nil
}

// keyless is an address without the key that requests get.
func (c *Config) keyless(u *url.URL) string {
	bare := *u
	bare.User, bare.Fragment = nil, ""
	if k := c.Auth.APIKey; k != nil && k.In == inQuery {
		q := bare.Query()
		q.Del(k.Name)
		bare.RawQuery = q.Encode()
	}
	return bare.String()
}

// nextOf finds the target with rel=next in Link headers.
func nextOf(headers []string) string {
	for _, h := range headers {
		for h != "" {
			from, to := strings.IndexByte(h, '<'), strings.IndexByte(h, '>')
			if from < 0 || to < from {
				break
			}
			target, params := h[from+1:to], h[to+1:]
			end := strings.IndexByte(params, '<') // of the next link; a comma may be inside quotes
			h = ""
			if end >= 0 {
				params, h = params[:end], params[end:]
			}
			for param := range strings.SplitSeq(params, ";") {
				name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
				value = strings.Trim(strings.TrimRight(strings.TrimSpace(value), ", "), `"`)
				if strings.EqualFold(strings.TrimSpace(name), "rel") && strings.Contains(" "+strings.ToLower(value)+" ", " next ") {
					return target
				}
			}
		}
	}
	return ""
}

// says is whether a jq says yes of the page.
func (p *pager) says(ctx context.Context, q query, document any) (bool, error) {
	if q.code == nil {
		return false, nil
	}
	v, err := q.one(ctx, document)
	if err != nil {
		return false, retry.Stop(fmt.Errorf("paginate.more: %w", err))
	}
	return v != nil && v != false, nil
}

// total is how many items the page says that there are, -1 if it does not.
func (p *pager) total(ctx context.Context, document any) (int64, error) {
	if p.res.total.code == nil {
		return -1, nil
	}
	v, err := p.res.total.one(ctx, document)
	if err != nil {
		return -1, retry.Stop(fmt.Errorf("paginate.total: %w", err))
	}
	if v == nil {
		return -1, nil
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(fmt.Sprint(v), ".0"), 10, 64)
	if err != nil {
		return -1, retry.Stop(fmt.Errorf("paginate.total gives %s, which is no number of items", bytes.ToValidUTF8(fmt.Append(nil, v), nil)))
	}
	return n, nil
}

// any says that there are pages.
func (p *Paginate) any() bool {
	return p.Cursor != nil || p.PageNumber != nil || p.Offset != nil || p.Link != nil || p.LinkHeader != nil || p.HeaderCursor != nil
}

// bodyPath is the jq path in the body that paginate writes to, empty if it does not.
func (p *Paginate) bodyPath() string {
	switch {
	case p.Cursor != nil:
		return p.Cursor.Body
	case p.PageNumber != nil:
		return p.PageNumber.Body
	case p.Offset != nil:
		return p.Offset.Body
	}
	return ""
}
