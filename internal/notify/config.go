package notify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"headwater/internal/setting"
)

// Webhook is where messages are sent to.
type Webhook struct {
	// URL takes POST requests. It often is a secret.
	URL setting.Secret `yaml:"url"`
	// Events are those that it is told of: failure, recovery, breach; all without any.
	Events []string `yaml:"events"`
	// Template makes the body of a Message, by text/template with json as a function more. It may have secrets in it.
	Template setting.Secret `yaml:"template"`
	// Headers are sent with it; Content-Type is application/json unless it is among them.
	Headers map[string]setting.Secret `yaml:"headers"`
}

// Webhooks are those of a pipeline.
type Webhooks []Webhook

// defaultTemplate is what Slack and all that are made like it take.
const defaultTemplate = `{"text": {{json .Text}}}`

// mostBody bounds what a template may write.
const mostBody = 256 << 10

// Validate reports everything that is wrong: templates are executed on examples.
func (w Webhooks) Validate() setting.Faults {
	var faults setting.Faults
	seen := map[setting.Secret]int{}
	for i, one := range w {
		faults.Under(one.validate(), strconv.Itoa(i))
		if other, twice := seen[one.URL]; twice {
			faults.Add([]string{strconv.Itoa(i), "url"}, "is that of webhook %d: give one of them all events", other+1)
		}
		seen[one.URL] = i
	}
	return faults
}

func (w *Webhook) validate() setting.Faults {
	var faults setting.Faults
	switch u, err := url.Parse(w.URL.Reveal()); {
	case w.URL == "":
		faults.Add([]string{"url"}, "is missing: write where messages are posted to")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		faults.Add([]string{"url"}, "must be a URL as https://hooks.example/T00/B00") // whatever it is, it may be a secret
	}
	for i, e := range w.Events {
		if !slices.Contains([]string{EventFailure, EventRecovery, EventBreach}, e) {
			faults.Add([]string{"events", strconv.Itoa(i)}, "must be failure, recovery or breach, got %q", e)
		}
	}
	for name, value := range w.Headers {
		if strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || name == "" {
			faults.Add([]string{"headers", name}, "must have the name of an HTTP header, as Authorization")
		}
		if strings.ContainsAny(value.Reveal(), "\r\n\x00") {
			faults.Add([]string{"headers", name}, "must be one line")
		}
	}
	if len(faults) > 0 {
		return faults
	}
	t, err := w.parse()
	for _, m := range examples() {
		if err == nil {
			_, err = t.body(m)
		}
	}
	if err != nil {
		faults.Add([]string{"template"}, "%v", err)
	}
	return faults
}

// name is what the outbox knows the webhook by, which does not tell its URL.
func (w *Webhook) name() string {
	sum := sha256.Sum256([]byte(w.URL.Reveal()))
	return hex.EncodeToString(sum[:8])
}

// wants says whether the webhook is told of an event.
func (w *Webhook) wants(event string) bool {
	return len(w.Events) == 0 || slices.Contains(w.Events, event)
}

// contentType is that of the body.
func (w *Webhook) contentType() string {
	for name, value := range w.Headers {
		if http.CanonicalHeaderKey(name) == "Content-Type" {
			return value.Reveal()
		}
	}
	return "application/json"
}

// body makes the bodies of a webhook's messages.
type body struct {
	template *template.Template
	json     bool // it must be
}

func (w *Webhook) parse() (body, error) {
	kind, _, _ := mime.ParseMediaType(w.contentType())
	b := body{json: kind == "application/json" || strings.HasSuffix(kind, "+json")}
	text := w.Template.Reveal()
	if text == "" {
		text = defaultTemplate
	}
	t, err := template.New("template").Option("missingkey=error").Funcs(template.FuncMap{"json": toJSON}).Parse(text)
	if err != nil {
		return b, fmt.Errorf("is no template as Go's text/template has them: %w", err)
	}
	if len(t.Templates()) > 1 || !bounded(t.Root) {
		return b, errors.New("may have values, if and with, and no range, no variables and no other templates")
	}
	b.template = t
	return b, nil
}

// bounded says whether what the nodes do is no more than they are long.
func bounded(n parse.Node) bool {
	branch := func(b *parse.BranchNode) bool {
		return len(b.Pipe.Decl) == 0 && bounded(b.List) && bounded(b.ElseList)
	}
	switch n := n.(type) {
	case *parse.ListNode:
		return n == nil || !slices.ContainsFunc(n.Nodes, func(one parse.Node) bool { return !bounded(one) })
	case *parse.TextNode, *parse.CommentNode:
		return true
	case *parse.ActionNode:
		return len(n.Pipe.Decl) == 0
	case *parse.IfNode:
		return branch(&n.BranchNode)
	case *parse.WithNode:
		return branch(&n.BranchNode)
	}
	return false
}

// toJSON is the function json of templates.
func toJSON(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// limited is a buffer that has an end.
type limited struct{ bytes.Buffer }

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > mostBody {
		return 0, fmt.Errorf("it writes more than %s", setting.Bytes(mostBody))
	}
	return l.Buffer.Write(p)
}

// body is that of a message.
func (b body) body(m Message) ([]byte, error) {
	var out limited
	if err := b.template.Execute(&out, m); err != nil {
		return nil, fmt.Errorf("cannot be executed: %w", err)
	}
	if b.json && !json.Valid(out.Bytes()) {
		return nil, fmt.Errorf("of a message with event %s does not give JSON, which its Content-Type says it is: write texts as {{json .Text}}, without quotes", m.Event)
	}
	return out.Bytes(), nil
}
