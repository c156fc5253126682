package nats

import (
	"net/url"
	"strings"
	"time"

	"headwater/collect/message"
	"headwater/internal/setting"
)

// Config is a nats source's.
type Config struct {
	// URL is nats:// or tls://user@host:port. It may have a password, which goes into no record, log or status.
	URL string `yaml:"url"`
	// Password is that of the URL's user, if the URL has none; without a user it is a token.
	Password setting.Secret `yaml:"password"`
	TLS      message.TLS    `yaml:"tls"`
	// Creds is a file with a user's JWT and key, as nsc writes it.
	Creds string `yaml:"creds"`
	// Stream is the JetStream stream that is read, Subject which of its messages are; empty means all.
	Stream  string `yaml:"stream"`
	Subject string `yaml:"subject"`
	// Durable is the name of our consumer, which is made anew whenever we connect. Empty means headwater-<source>.
	Durable string `yaml:"durable"`
	// Prefetch is how many messages may be on their way to Kafka. They are in memory.
	Prefetch int `yaml:"prefetch"`
	// Format is auto, json, text or bytes; see package message.
	Format string `yaml:"format"`
	// Heartbeat is how often the server says that it is there; a connection on which nothing comes for twice as long is dead.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// Timeout is how long a connection may take to be open, and the server to answer.
	Timeout time.Duration `yaml:"timeout"`
}

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{Prefetch: 500, Format: message.Auto, Heartbeat: 5 * time.Second, Timeout: 15 * time.Second}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		f.Add([]string{"url"}, "is missing: write the server's address as tls://user@nats.example")
	case err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		f.Add([]string{"url"}, "must be an address as tls://user@nats.example, without a path")
	default:
		message.ValidateAddress(&f, u, &c.TLS, c.Password, "tls")
	}
	if c.Stream == "" || strings.ContainsAny(c.Stream, " .*>/\\") {
		f.Add([]string{"stream"}, "must be the name of the stream to read, got %q", c.Stream)
	}
	if strings.ContainsAny(c.Subject, " \t\r\n") || strings.HasPrefix(c.Subject, ".") || strings.HasSuffix(c.Subject, ".") || strings.Contains(c.Subject, "..") {
		f.Add([]string{"subject"}, "must be a subject as orders.> or empty for all, got %q", c.Subject)
	}
	if strings.ContainsAny(c.Durable, " .*>/\\") {
		f.Add([]string{"durable"}, "must be a name without dots, got %q", c.Durable)
	}
	if c.Prefetch < 1 || c.Prefetch > 65_535 {
		f.Add([]string{"prefetch"}, "must be from 1 to 65535, got %d", c.Prefetch)
	}
	message.ValidateFormat(&f, c.Format)
	if c.Heartbeat < 500*time.Millisecond || c.Heartbeat > 30*time.Second {
		f.Add([]string{"heartbeat"}, "must be from 500ms to 30s, got %v", c.Heartbeat)
	}
	if c.Timeout <= 0 {
		f.Add([]string{"timeout"}, "must be positive, got %v", c.Timeout)
	}
	return f
}

func (c *Config) address() message.Address {
	return message.ParseAddress(c.URL, c.Password, "tls", "4222", "4222")
}
