package amqp

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"headwater/collect/message"
	"headwater/internal/setting"
)

// Config is an amqp source's.
type Config struct {
	// URL is amqp:// or amqps://user@host:port/vhost. It may have a password, which goes into no record, log or status.
	URL string `yaml:"url"`
	// Password is that of the URL's user, if the URL has none.
	Password setting.Secret `yaml:"password"`
	TLS      message.TLS    `yaml:"tls"`
	// Queue is the name of the queue that is read.
	Queue string `yaml:"queue"`
	// Declare is none (the queue must be there), or what kind of durable queue to make if it is not: classic or quorum.
	Declare string `yaml:"declare"`
	// Prefetch is how many messages may be on their way to Kafka. They are in memory.
	Prefetch int `yaml:"prefetch"`
	// Format is auto, json, text or bytes; see package message.
	Format string         `yaml:"format"`
	Dedupe message.Dedupe `yaml:"dedupe"`
	// Heartbeat is how often both sides say that they are there; a connection on which nothing comes for one and a half times as long is dead.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// Timeout is how long a connection may take to be open, and anything that is sent to be taken.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	declareNone    = "none"
	declareClassic = "classic"
	declareQuorum  = "quorum"
)

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{
		Declare: declareNone, Prefetch: 500, Format: message.Auto, Dedupe: message.Dedupe{Window: 10_000},
		Heartbeat: 10 * time.Second, Timeout: 15 * time.Second,
	}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		f.Add([]string{"url"}, "is missing: write the broker's address as amqps://user@rabbit.example/vhost")
	case err != nil || u.Scheme != "amqp" && u.Scheme != "amqps" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		f.Add([]string{"url"}, "must be an address as amqps://user@rabbit.example/vhost, without a query")
	default:
		message.ValidateAddress(&f, u, &c.TLS, c.Password, "amqps")
	}
	if c.Queue == "" || len(c.Queue) > 255 {
		f.Add([]string{"queue"}, "must be the name of the queue to read, of 1 to 255 bytes")
	}
	if kinds := []string{declareNone, declareClassic, declareQuorum}; !slices.Contains(kinds, c.Declare) {
		f.Add([]string{"declare"}, "must be one of %s, got %q", strings.Join(kinds, ", "), c.Declare)
	}
	if c.Prefetch < 1 || c.Prefetch > 65_535 {
		f.Add([]string{"prefetch"}, "must be from 1 to 65535, got %d", c.Prefetch)
	}
	message.ValidateFormat(&f, c.Format)
	c.Dedupe.Validate(&f, c.Prefetch, "prefetch")
	if c.Heartbeat < time.Second || c.Heartbeat > time.Hour {
		f.Add([]string{"heartbeat"}, "must be from 1s to 1h, got %v", c.Heartbeat)
	}
	if c.Timeout <= 0 {
		f.Add([]string{"timeout"}, "must be positive, got %v", c.Timeout)
	}
	return f
}

// address is what a valid URL says.
type address struct {
	message.Address
	vhost string
}

func (c *Config) address() address {
	a := address{message.ParseAddress(c.URL, c.Password, "amqps", "5672", "5671"), "/"}
	if vhost := strings.TrimPrefix(a.URL.Path, "/"); vhost != "" {
		a.vhost = vhost
	}
	if a.URL.User == nil {
		a.User, a.Password = "guest", cmp.Or(a.Password, "guest")
	}
	return a
}
