package rest

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"headwater/collect"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

// Job is what URL starts, where an API does not answer with items: a job that is asked for until it is done, and has files with them.
// Poll and Download are an address, with {job.id}, or the jq of one in an answer.
type Job struct {
	// ID is the jq of the job's id in the answer to the submit, the request of URL.
	ID string `yaml:"id"`
	// Poll is where the job is asked for, by jq of the answer to the submit; without, that answer's header Location.
	Poll string `yaml:"poll"`
	// PollBody, if not empty, is posted there, as JSON; it may have {job.id}.
	PollBody setting.Secret `yaml:"poll_body"`
	// Done is a jq of the answer to a poll that is neither false nor null when the files are there; Failed when they never will be: a text is why.
	Done   string `yaml:"done"`
	Failed string `yaml:"failed"`
	// Every is the longest wait between two polls, and the shortest between two submits.
	Every time.Duration `yaml:"every"`
	// Deadline is how long after its submit a job is waited for.
	Deadline time.Duration `yaml:"deadline"`
	// Download is where the files are, none, one or several by jq of the answer to the last poll.
	Download string `yaml:"download"`
	// Link, if not empty, is the jq of the file's address in what Download gives.
	Link string `yaml:"link"`
}

const jobID = "{job.id}"

// isAddress tells an address from a jq.
func isAddress(text string) bool {
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}

func (j *Job) used() bool {
	return j.ID+j.Poll+j.PollBody.Reveal()+j.Done+j.Failed+j.Download+j.Link != ""
}

func (j *Job) check(k checker, c *Config) {
	if !j.used() {
		return
	}
	k.jq("id", j.ID)
	k.needed("done", j.Done, `what an answer says when the job is done, as .state == "done"`)
	k.needed("download", j.Download, "the address of the file as https://api.example/v2/jobs/{job.id}/result, or where an answer has it, as .files[].url")
	for key, text := range map[string]string{"done": j.Done, "failed": j.Failed, "link": j.Link} {
		k.jq(key, text)
	}
	for key, text := range map[string]string{"poll": j.Poll, "download": j.Download} {
		if isAddress(text) {
			k.address(key, strings.ReplaceAll(text, jobID, "0"))
		} else {
			k.jq(key, text)
		}
	}
	for key, text := range map[string]string{"poll": j.Poll, "poll_body": j.PollBody.Reveal(), "download": j.Download} {
		if strings.Contains(text, "{incremental.") {
			k.fault(key, "cannot have {incremental.…}: have it in what submits the job")
		}
	}
	if j.ID == "" && strings.Contains(j.Poll+j.PollBody.Reveal()+j.Download, jobID) {
		k.fault("id", "is missing: write where the answer has the job's id, as .id")
	}
	for _, v := range c.Headers {
		if strings.Contains(v.Reveal(), "{incremental.") {
			k.fault("poll", "cannot go with {incremental.…} in headers, which are sent there too: have it in params")
		}
	}
	if j.Every <= 0 {
		k.fault("every", "must be positive, got %v", j.Every)
	}
	if j.Deadline <= 0 {
		k.fault("deadline", "must be positive, got %v", j.Deadline)
	}
	if c.Paginate.bodyPath() != "" {
		k.fault("download", "has no body where paginate could put something: use param")
	}
	switch inc := &c.Incremental; {
	case inc.Path == "":
	case inc.Order == orderAscending:
		k.fault("done", "cannot go with incremental.order: ascending, which asks anew from each page's last item on: a job's files have no order, so set it to any")
	case inc.Format == spellInteger:
		k.fault("done", "cannot go with incremental.format: integer: what changes while a job reads is behind its greatest number, which does not say when the job began; "+
			"use a time, or read without incremental")
	}
}

// jobQueries are those of Job.
type jobQueries struct{ id, poll, done, failed, download, link query }

func (j *Job) compile() (q jobQueries, err error) {
	all := []compiled{{&q.id, j.ID}, {&q.done, j.Done}, {&q.failed, j.Failed}, {&q.link, j.Link}}
	if !isAddress(j.Poll) {
		all = append(all, compiled{&q.poll, j.Poll})
	}
	if !isAddress(j.Download) {
		all = append(all, compiled{&q.download, j.Download})
	}
	return q, compileAll(all)
}

// jobStream keeps which job is under way, so that the next process asks for it and not for another one. It has no records.
const jobStream = "job"

// jobResume is the resume of jobStream.
type jobResume struct {
	// Begun is when the last job was submitted, in milliseconds since 1970; Tries how many were since one was read to its end.
	Begun int64 `json:"begun"`
	Tries int   `json:"tries,omitempty"`
	// For names what is asked for, the request and its window; empty if no job is under way.
	For string `json:"for,omitempty"`
	ID  string `json:"id,omitempty"`
	// Poll is where it is asked for, if the server said.
	Poll string `json:"poll,omitempty"`
}

// jobs are those of a source, one at a time.
type jobs struct {
	s   *Source
	c   *client
	out collect.Out
	jobResume
	fresh bool // it was submitted since another was finished
}

// jobs are nil if the source has none.
func (s *Source) jobs(c *client, out collect.Out) (*jobs, error) {
	if !s.c.Job.used() {
		return nil, nil
	}
	j := &jobs{s: s, c: c, out: out}
	if isAddress(s.c.Job.Poll) {
		if err := c.allowed(j.where()); err != nil {
			return nil, retry.Stop(fmt.Errorf("job.poll: %w", err))
		}
	}
	if _, err := recall(out.Streams(), jobStream, &j.jobResume); err != nil {
		return nil, err
	}
	if s.job.Begun > j.Begun {
		j.jobResume = jobResume{Begun: s.job.Begun, Tries: s.job.Tries} // for no more than the wait: which jobs there are, the cursor says
	}
	return j, nil
}

// keep marks what is known.
func (j *jobs) keep(ctx context.Context) error {
	j.s.job = j.jobResume
	return mark(ctx, j.out, jobStream, j.jobResume)
}

// asOf bounds now by when the last job was submitted: what was changed while it read may not be in it. Invariant 6.
func (j *jobs) asOf(now int64) int64 {
	if j == nil {
		return now
	}
	return min(now, time.UnixMilli(j.Begun).UnixMicro())
}

// finish forgets a job that is read to its end.
func (j *jobs) finish(ctx context.Context) error {
	if j == nil || j.For == "" {
		return nil
	}
	j.jobResume, j.fresh = jobResume{Begun: j.Begun}, false
	return j.keep(ctx)
}

// stale says that the job is an earlier process's, so that what is new since its submit is not in it.
func (j *jobs) stale() bool { return j != nil && !j.fresh }

// lose forgets a job that is of no use; err is why.
func (j *jobs) lose(ctx context.Context, err error) error {
	err = fmt.Errorf("job %s: %w", cmp.Or(j.ID, place(j.where())), err)
	j.For, j.ID, j.Poll = "", "", ""
	return errors.Join(err, j.keep(ctx))
}

// end is how long the job is waited for.
func (j *jobs) end() time.Time { return time.UnixMilli(j.Begun).Add(j.s.c.Job.Deadline) }

// overdue forgets a job that cannot be read and has no more time, so that it does not stand in the way of others for ever.
func (j *jobs) overdue(ctx context.Context, err error) error {
	if j == nil || j.For == "" || ctx.Err() != nil || time.Now().Before(j.end()) {
		return err
	}
	return j.lose(ctx, err)
}

// files are the addresses of those of a job for what p reads: that which is under way, or a new one.
func (j *jobs) files(ctx context.Context, p *pager) ([]*url.URL, error) {
	var pause time.Duration
	if asked := j.name(p); j.For != asked {
		a, err := j.submit(ctx, p, asked)
		if err != nil {
			return nil, err
		}
		pause = pauseOf(a)
	}
	return j.wait(ctx, pause)
}

// pauseOf is what an answer asks to wait for, 0 if it does not.
func pauseOf(a *answer) time.Duration {
	return min(retryAfter(a.header.Get("Retry-After"), time.Now()), longestWait)
}

// name is what tells a job for one request and window from those for others.
func (j *jobs) name(p *pager) string {
	c := &j.s.c
	parts := [][]byte{[]byte(c.Method), []byte(c.URL), []byte(c.Body.Reveal()), []byte(p.span)}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		parts = append(parts, []byte(name), []byte(c.Params[name].Reveal()))
	}
	sum := digestOf(parts...)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// pause is how long after the last submit the next one is due: longer with each job that came to nothing, until that is as often as polls are made anyway.
func (j *jobs) pause() time.Duration {
	most := max(j.s.c.Every, j.s.c.Job.Every)
	wait := j.s.c.Job.Every
	for range j.Tries {
		if wait = 2 * wait; wait >= most {
			return most
		}
	}
	return wait
}

// submit gives the answer to it.
func (j *jobs) submit(ctx context.Context, p *pager, asked string) (*answer, error) {
	if pause := j.pause(); j.Begun > 0 {
		if err := retry.Wait(ctx, min(pause, time.Until(time.UnixMilli(j.Begun).Add(pause)))); err != nil {
			return nil, err
		}
	}
	// Invariant 6: counted before, because the job may be there although its answer never comes.
	j.jobResume = jobResume{Begun: time.Now().UnixMilli(), Tries: j.Tries + 1}
	if err := j.keep(ctx); err != nil {
		return nil, err
	}
	r, err := j.s.pages(j.c, j.s.items, p.fill).request()
	if err != nil {
		return nil, err
	}
	r.header.Set("Accept", accepts[formatJSON])
	r.single = true
	a, err := j.c.fetch(ctx, r)
	if err == nil {
		err = j.know(ctx, a)
	}
	if err != nil {
		return nil, fmt.Errorf("submitting a job: %w", err)
	}
	j.For = asked
	j.fresh, j.s.job = true, j.jobResume
	j.s.log.Info("a job is submitted", "id", j.ID, "poll", place(j.where()))
	return a, markKept(ctx, j.out, jobStream, j.jobResume, time.Second) // a kill that comes sooner has another one submitted
}

// know reads from the answer to a submit how to ask for the job.
func (j *jobs) know(ctx context.Context, a *answer) (err error) {
	c, q := &j.s.c.Job, &j.s.queries
	var document any
	if c.ID != "" || c.Poll != "" && !isAddress(c.Poll) {
		if document, err = j.document(a); err != nil {
			return err
		}
	}
	if c.ID != "" {
		if j.ID, err = j.text(ctx, a, "job.id", q.id, document); err != nil {
			return err
		}
	}
	switch {
	case isAddress(c.Poll):
		return nil
	case c.Poll != "":
		j.Poll, err = j.text(ctx, a, "job.poll", q.poll, document)
	case a.header.Get("Location") == "":
		err = retry.Stop(errors.New("the answer has no header Location: write as job.poll where the job is asked for"))
	default:
		j.Poll = a.header.Get("Location")
	}
	if err != nil {
		return err
	}
	u, err := a.url.Parse(j.Poll)
	if err == nil {
		err = j.c.allowed(u)
	}
	if err != nil {
		return retry.Stop(fmt.Errorf("where the job is asked for: %w", err))
	}
	j.Poll = j.s.c.keyless(u)
	return nil
}

// document is the JSON of an answer.
func (j *jobs) document(a *answer) (any, error) {
	v, err := decode(a.body)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s is not JSON: %w: %q", place(a.url), err, j.c.beginning(a.body))
	}
	return v, nil
}

// text is what a query gives of an answer, which must be a text or a number. It is tried again without it, because some
// APIs answer 200 and say in the body that they are busy.
func (j *jobs) text(ctx context.Context, a *answer, key string, q query, document any) (string, error) {
	v, err := q.one(ctx, document)
	if err != nil {
		return "", retry.Stop(fmt.Errorf("%s: %w, on %q", key, err, j.c.beginning(a.body)))
	}
	switch v := v.(type) {
	case nil, bool, map[string]any, []any:
	case string:
		if v != "" {
			return v, nil
		}
	default:
		text, err := gojq.Marshal(v)
		return string(text), err
	}
	return "", fmt.Errorf("%s gives no text on %q", key, j.c.beginning(a.body))
}

// where is the address of polls.
func (j *jobs) where() *url.URL {
	u, err := url.Parse(cmp.Or(j.Poll, filling(jobID, j.ID).address.Replace(j.s.c.Job.Poll)))
	if err != nil {
		return &url.URL{} // which no request can be made of
	}
	return u
}

// wait asks for the job until it is done, for the first time after a pause, and gives the addresses of its files.
func (j *jobs) wait(ctx context.Context, pause time.Duration) ([]*url.URL, error) {
	c := &j.s.c.Job
	for step := time.Second; ; step = min(2*step, c.Every) { // a job that is done soon is soon read
		left := time.Until(j.end())
		if err := retry.Wait(ctx, min(pause, max(0, left))); err != nil {
			return nil, fmt.Errorf("waiting for job %s, which is not done yet: %w", cmp.Or(j.ID, place(j.where())), err)
		}
		pause = min(step, c.Every)
		a, err := j.c.fetch(ctx, j.poll())
		if no := denied(err); no.code == http.StatusNotFound || no.code == http.StatusGone {
			if no.code == http.StatusNotFound && time.Since(time.UnixMilli(j.Begun)) < c.Every {
				continue // not all of an API knows at once what one part of it has taken
			}
			return nil, j.lose(ctx, fmt.Errorf("the server does not know it any more: %v", err)) // not wrapped: another job may be better
		}
		if err != nil {
			return nil, fmt.Errorf("asking for a job: %w", err)
		}
		document, err := j.document(a)
		if err != nil {
			return nil, err
		}
		if err := j.failure(ctx, a, document); err != nil {
			return nil, err
		}
		done, err := j.s.queries.done.one(ctx, document)
		switch {
		case err != nil:
			return nil, retry.Stop(fmt.Errorf("job.done: %w, on %q", err, j.c.beginning(a.body)))
		case done != nil && done != false:
			return j.addresses(ctx, a, document)
		case left <= 0:
			return nil, j.lose(ctx, fmt.Errorf("it is not done within job.deadline (%s): raise it, or ask for less, as with incremental.step: %q", c.Deadline, j.c.beginning(a.body)))
		}
		pause = cmp.Or(pauseOf(a), pause)
	}
}

// poll is the request for the job's state.
func (j *jobs) poll() request {
	r := j.s.request(methodGet, j.where(), accepts[formatJSON], window("", ""))
	if body := j.s.c.Job.PollBody.Reveal(); body != "" {
		r.method = methodPost
		r.header.Set("Content-Type", "application/json")
		r.body = []byte(filling(jobID, j.ID).json.Replace(body))
	}
	return r
}

// failure is why the job has failed, nil if it has not.
func (j *jobs) failure(ctx context.Context, a *answer, document any) error {
	if j.s.c.Job.Failed == "" {
		return nil
	}
	v, err := j.s.queries.failed.one(ctx, document)
	if err != nil {
		return retry.Stop(fmt.Errorf("job.failed: %w, on %q", err, j.c.beginning(a.body)))
	}
	why := a.body
	switch v {
	case nil, false, "":
		return nil
	case true:
	default:
		if why, err = gojq.Marshal(v); err != nil {
			return err
		}
	}
	return j.lose(ctx, fmt.Errorf("the server says that it has failed: %s", j.c.beginning(why)))
}

// addresses are those of the files of a job that is done.
func (j *jobs) addresses(ctx context.Context, a *answer, document any) ([]*url.URL, error) {
	c := &j.s.c.Job
	values := []any{c.Download}
	if !isAddress(c.Download) {
		var err error
		if values, err = j.s.queries.download.all(ctx, document); err != nil {
			return nil, retry.Stop(fmt.Errorf("job.download: %w, on %q", err, j.c.beginning(a.body)))
		}
	}
	files := []*url.URL{}
	for _, v := range values {
		if v == nil {
			continue // as where there is nothing in it
		}
		text, _ := v.(string)
		if text == "" {
			return nil, retry.Stop(fmt.Errorf("job.download gives a %s and not an address, on %q", gojq.TypeOf(v), j.c.beginning(a.body)))
		}
		if isAddress(c.Download) {
			text = filling(jobID, j.ID).address.Replace(text)
		}
		u, err := a.url.Parse(text)
		if err != nil {
			return nil, retry.Stop(errors.New("job.download gives something that is no address"))
		}
		files = append(files, u)
	}
	return files, nil
}

// fileRequest is that for a page of the file that p is at.
func (p *pager) fileRequest(ctx context.Context) (request, error) {
	c := &p.s.c
	if p.linked() {
		next, err := url.Parse(p.at.Next)
		return p.s.request(methodGet, next, accepts[c.Format], p.fill), err
	}
	at := *p.files[p.at.File]
	r := p.s.request(methodGet, &at, accepts[c.Format], p.fill)
	r.abroad = true
	if c.Job.Link != "" {
		document := r
		document.header = r.header.Clone()
		document.header.Set("Accept", accepts[formatJSON])
		a, err := p.c.fetch(ctx, document)
		if err != nil {
			return r, err
		}
		v, err := p.jobs.document(a)
		if err != nil {
			return r, err
		}
		text, err := p.jobs.text(ctx, a, "job.link", p.s.queries.link, v)
		if err != nil {
			return r, err
		}
		if r.url, err = a.url.Parse(text); err != nil {
			return r, retry.Stop(errors.New("job.link gives something that is no address"))
		}
	}
	if !c.Paginate.any() {
		return r, nil // a signature may be of the query as it is spelled
	}
	q := r.url.Query()
	err := p.place(ctx, q, &r)
	r.url.RawQuery = q.Encode()
	return r, err
}

// file reads a page of the file that p is at. The address of a file may be good for some minutes only: where it is refused the job is asked once for another.
func (p *pager) file(ctx context.Context) (*answer, error) {
	for again := false; ; again = true {
		if p.files == nil || again {
			if err := p.list(ctx); err != nil {
				return nil, err
			}
		}
		switch {
		case len(p.files) == 0 && p.at.File == 0:
			return &answer{url: p.c.home, header: http.Header{}}, nil // a page without items
		case p.at.File >= len(p.files):
			return nil, retry.Stop(fmt.Errorf("the job has %d files, and file %d is asked for", len(p.files), p.at.File+1))
		}
		var a *answer
		r, err := p.fileRequest(ctx)
		if err == nil {
			a, err = p.c.fetch(ctx, r)
		}
		no := denied(err)
		expired := slices.Contains([]int{http.StatusForbidden, http.StatusNotFound, http.StatusGone}, no.code)
		switch {
		case err == nil:
			return a, nil
		case !expired:
			return nil, fmt.Errorf("downloading file %d of a job: %w", p.at.File+1, err)
		case again:
			return nil, p.jobs.lose(ctx, fmt.Errorf("downloading file %d, from a new address too: %v", p.at.File+1, err)) // not wrapped: another job may be better
		}
	}
}

// list asks for the addresses of the job's files, again if it has some.
func (p *pager) list(ctx context.Context) error {
	before := p.files
	files, err := p.jobs.files(ctx, p)
	switch {
	case err != nil:
		return err
	case before == nil:
		p.files = files
		return nil
	case len(files) != len(before):
		return fmt.Errorf("the job has %d files now, and had %d before", len(files), len(before))
	}
	p.files = files
	now := map[string]*url.URL{}
	for _, u := range files {
		now[place(u)] = u
	}
	if len(now) < len(files) {
		return nil // they differ by what is signed, and their order is all there is
	}
	aligned := make([]*url.URL, len(before))
	for i, u := range before {
		if aligned[i] = now[place(u)]; aligned[i] == nil {
			return nil // likewise
		}
	}
	p.files = aligned
	return nil
}
