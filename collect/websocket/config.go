package websocket

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"headwater/internal/setting"
)

// Config is a websocket source's.
type Config struct {
	// URL is ws:// or wss://. What its query holds goes into no record, log or status.
	URL string `yaml:"url"`
	// Headers are sent with the handshake.
	Headers map[string]setting.Secret `yaml:"headers"`
	// Subprotocols are offered to the server, the preferred first.
	Subprotocols []string `yaml:"subprotocols"`
	// CA is a file of PEM with the authorities to trust instead of the system's.
	CA string `yaml:"ca"`
	// Send are the messages, as text, that are sent when a connection is open: subscriptions, mostly. {symbols} in one are the connection's, as an
	// array of JSON; one with {symbol} is sent for each of them.
	Send []setting.Secret `yaml:"send"`
	// Symbols are what is subscribed to, divided among connections, in their order.
	Symbols []string `yaml:"symbols"`
	// PerConnection is how many of Symbols one connection takes; 0 is all.
	PerConnection int `yaml:"per_connection"`
	// ConnectEvery is how long after an attempt to connect the next one may be made, on whatever connection.
	ConnectEvery time.Duration `yaml:"connect_every"`
	// Format is auto (a message that is JSON is JSON, other text a string, the rest base64), json, lines (a string) or bytes.
	Format string `yaml:"format"`
	// Array says what a message that is a JSON array is: items, one for each element, or document, one item.
	Array string `yaml:"array"`
	// Sequence tells of items that the feed leaves out while the connection holds.
	Sequence Sequence `yaml:"sequence"`
	// CatchUp is where these, and what was sent while nobody listened, can be had.
	CatchUp CatchUp `yaml:"catch_up"`
	// PingEvery is how often the server is asked whether it is there. A connection on which nothing comes, no answer either, for three times
	// as long is taken for dead.
	PingEvery time.Duration `yaml:"ping_every"`
	// IdleTimeout is how long a feed may bring no message before the connection is made anew; 0 is for ever.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// HandshakeTimeout is how long a connection may take to be open.
	HandshakeTimeout time.Duration `yaml:"handshake_timeout"`
	// MaxMessage is the greatest length of a message; a longer one comes in malformed parts of that length.
	MaxMessage setting.Bytes `yaml:"max_message"`

	each bool
}

// Only says whether the source is only looked at: then each of its connections is tried before anything is read.
func (c *Config) Only(look bool) { c.each = look }

const (
	formatAuto  = "auto"
	formatJSON  = "json"
	formatLines = "lines"
	formatBytes = "bytes"

	arrayItems    = "items"
	arrayDocument = "document"
)

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{Format: formatAuto, Array: arrayItems, ConnectEvery: 100 * time.Millisecond, PingEvery: 15 * time.Second, HandshakeTimeout: 15 * time.Second, MaxMessage: 16 << 20, CatchUp: CatchUp{Timeout: 30 * time.Second, GiveUp: time.Hour}}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	u, err := url.Parse(inAddress(c.URL, "0"))
	switch {
	case c.URL == "":
		f.Add([]string{"url"}, "is missing: write the feed's address as wss://feed.example/ws")
	case err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" || u.Fragment != "":
		f.Add([]string{"url"}, "must be an address as wss://feed.example/ws")
	}
	if formats := []string{formatAuto, formatJSON, formatLines, formatBytes}; !slices.Contains(formats, c.Format) {
		f.Add([]string{"format"}, "must be one of %s, got %q", strings.Join(formats, ", "), c.Format)
	}
	if c.Array != arrayItems && c.Array != arrayDocument {
		f.Add([]string{"array"}, "must be items or document, got %q", c.Array)
	}
	for name := range c.Headers {
		if name == "" || strings.ContainsAny(name, " :\r\n") {
			f.Add([]string{"headers", name}, "must be the name of a header")
		}
	}
	for key, d := range map[string]time.Duration{"ping_every": c.PingEvery, "handshake_timeout": c.HandshakeTimeout} {
		if d <= 0 {
			f.Add([]string{key}, "must be positive, got %v", d)
		}
	}
	if c.IdleTimeout < 0 {
		f.Add([]string{"idle_timeout"}, "must not be negative, got %v", c.IdleTimeout)
	}
	if c.ConnectEvery < 0 {
		f.Add([]string{"connect_every"}, "must not be negative, got %v", c.ConnectEvery)
	}
	c.validateSymbols(&f)
	c.Sequence.validate(&f)
	c.CatchUp.validate(&f, c.Sequence.Path != "")
	if c.MaxMessage < 1 || c.MaxMessage > 1<<30 {
		f.Add([]string{"max_message"}, "must be from 1B to 1GiB, got %s", c.MaxMessage)
	}
	return f
}
