package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"headwater/internal/retry"
)

const (
	// timeout bounds a try, from the connection to the end of the answer.
	timeout = 10 * time.Second
	// patience bounds what a process that ends does for a message.
	patience = 5 * time.Second
	// poll is how often it is looked for messages.
	poll = 2 * time.Second
	// mostAnswer is how much of an answer is read.
	mostAnswer = 4 << 10
)

// NewClient makes a client for Post: it goes through the proxy that the usual variables name, and follows no redirects, which would take headers
// and messages elsewhere.
func NewClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Answer is what a webhook has said.
type Answer struct {
	// Status is as 200 OK.
	Status string
	// Body is the beginning of what came with it, in one line.
	Body string
}

// rejection is an answer that is none of 2xx.
type rejection struct {
	status string
	final  bool
	after  time.Duration // what Retry-After has asked for
}

func (r rejection) Error() string {
	if r.final {
		return fmt.Sprintf("it answers %s: another try would be answered alike", r.status)
	}
	return "it answers " + r.status
}

// errUnmade does not say what the template's own error says, which may have pieces of the template in it.
var errUnmade = errors.New("its template cannot make this message: headwater check says what a template needs")

// Post sends a message. Errors have neither the URL nor anything that is sent in them; those that another try cannot cure are marked as
// permanent for package retry.
func (w Webhook) Post(ctx context.Context, client *http.Client, m Message) (Answer, error) {
	b, err := w.parse()
	var text []byte
	if err == nil {
		text, err = b.body(m)
	}
	if err != nil {
		return Answer{}, retry.Stop(errUnmade)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("there was no answer within %s", timeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL.Reveal(), bytes.NewReader(text))
	if err != nil {
		return Answer{}, retry.Stop(errors.New("its URL is none"))
	}
	r.Header.Set("Content-Type", w.contentType())
	r.Header.Set("User-Agent", "headwater")
	for name, value := range w.Headers {
		r.Header.Set(name, value.Reveal())
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	resp, err := client.Do(r)
	if err != nil {
		return Answer{}, errors.New(w.redact(reason(ctx, err)))
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	a := Answer{Status: strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)}
	a.Body = shortened(w.redact(strings.Join(strings.Fields(strings.ToValidUTF8(string(said), "?")), " ")), 200)
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return a, nil
	}
	rejected := rejection{status: a.Status, after: retryAfter(resp.Header.Get("Retry-After"))}
	rejected.final = resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusRequestTimeout && resp.StatusCode != http.StatusTooManyRequests
	if rejected.final {
		return a, retry.Stop(rejected)
	}
	return a, rejected
}

// reason is what an error says besides where it happened.
func reason(ctx context.Context, err error) string {
	if cause := context.Cause(ctx); cause != nil {
		return cause.Error()
	}
	if u, is := errors.AsType[*url.Error](err); is {
		err = u.Err
	}
	if d, is := errors.AsType[*net.DNSError](err); is {
		return "its host cannot be found: " + d.Err
	}
	if o, is := errors.AsType[*net.OpError](err); is && o.Err != nil {
		return o.Op + ": " + o.Err.Error()
	}
	return err.Error()
}

// redact takes out of a text what the webhook's configuration has: its URL, pieces of it, what looks like a key in its template, and headers (invariant 4).
func (w Webhook) redact(text string) string {
	secrets := []string{w.URL.Reveal()}
	if u, err := url.Parse(w.URL.Reveal()); err == nil {
		secrets = append(secrets, u.RequestURI(), u.Path, u.EscapedPath(), u.RawQuery, u.Host, u.Hostname())
		for _, piece := range strings.FieldsFunc(u.Path+"&"+u.RawQuery, func(r rune) bool { return strings.ContainsRune("/&=?", r) }) {
			if len(piece) >= 6 { // a token, and no word
				secrets = append(secrets, piece)
			}
		}
		if u.User != nil {
			password, _ := u.User.Password()
			secrets = append(secrets, u.User.String(), u.User.Username(), password)
		}
	}
	for _, piece := range strings.FieldsFunc(w.Template.Reveal(), func(r rune) bool { return strings.ContainsRune("\"'{}:, \n", r) }) {
		if len(piece) >= 16 { // a key, which a webhook may say again
			secrets = append(secrets, piece)
		}
	}
	for _, value := range w.Headers {
		secrets = append(secrets, value.Reveal())
		if _, token, two := strings.Cut(value.Reveal(), " "); two { // Bearer is no secret, and what follows is
			secrets = append(secrets, token)
		}
	}
	for _, s := range secrets {
		if len(s) > 1 {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

// retryAfter reads the header, which has seconds or a date; 0 if it has neither.
func retryAfter(text string) time.Duration {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > 0 {
		return time.Duration(min(n, int64(mostWait/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// Sender takes messages from the outbox to the webhooks.
type Sender struct {
	Store  *Store
	Client *http.Client
}

// Run sends until ctx ends.
func (s Sender) Run(ctx context.Context) error {
	var g sync.WaitGroup
	for i := range s.Store.webhooks {
		g.Go(func() {
			wait := retry.Backoff{Min: poll, Max: time.Minute}
			for pause := time.Duration(0); retry.Wait(ctx, pause) == nil; {
				sent, err := s.next(ctx, i)
				switch {
				case err != nil && ctx.Err() == nil:
					pause = wait.Next()
					s.Store.log.Error("the outbox of a webhook cannot be used", "webhook", i+1, "error", err, "next_try", pause.Round(time.Second))
				case sent:
					wait.Reset()
					pause = 0
				default:
					wait.Reset()
					pause = poll
				}
			}
		})
	}
	g.Wait()
	<-ctx.Done()
	return context.Cause(ctx)
}

// Once tries what waits for each webhook, until one of its messages is not taken.
func (s Sender) Once(ctx context.Context) error {
	errs := make([]error, len(s.Store.webhooks))
	var g sync.WaitGroup
	for i := range s.Store.webhooks {
		g.Go(func() {
			for sent := true; sent && errs[i] == nil; {
				sent, errs[i] = s.next(ctx, i)
			}
		})
	}
	g.Wait()
	return errors.Join(errs...)
}

// next sends the next message of a webhook. It reports whether there may be another one to send at once; errors are the database's.
func (s Sender) next(ctx context.Context, i int) (more bool, err error) {
	w := s.Store.webhooks[i]
	l, err := s.Store.claim(ctx, i)
	if err != nil || l == nil {
		return false, err
	}
	log := s.Store.log.With("webhook", i+1, "event", l.message.Event, "source", l.message.Source)
	err = l.fault
	if err == nil {
		_, err = w.Post(ctx, s.Client, l.message)
	} else {
		err = retry.Stop(fmt.Errorf("it cannot be read from the outbox: %w", err))
	}
	// What is known of a message is written down also if the process ends: it would come twice.
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	switch {
	case err == nil:
		if err := s.Store.settled(keep, w.name(), l.id); err != nil {
			return false, err
		}
		if l.failing {
			log.Info("a webhook takes notifications again")
		}
		return true, nil
	case ctx.Err() != nil:
		return false, nil // nobody knows whether it came; the next process sends it
	case retry.Classify(err) == retry.Permanent:
		return true, s.Store.refused(keep, i, l.id, err.Error())
	}
	var asked time.Duration
	if r, is := errors.AsType[rejection](err); is {
		asked = r.after
	}
	wait, failed := s.Store.failed(keep, w.name(), l.tries, asked, err.Error())
	log.Warn("a notification is tried again", "error", err, "next_try", wait.Round(time.Second))
	return false, failed
}
