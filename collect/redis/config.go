package redis

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/collect/message"
	"headwater/internal/setting"
)

// Config is a redis source's.
type Config struct {
	// URL is redis:// or rediss://user@host:port/database. It may have a password, which goes into no record, log or status.
	URL string `yaml:"url"`
	// Password is that of the URL's user, or of nobody, if the URL has none.
	Password setting.Secret `yaml:"password"`
	TLS      message.TLS    `yaml:"tls"`
	// Stream is the key of the stream that is read, List that of the list: one of them is given.
	Stream string `yaml:"stream"`
	List   string `yaml:"list"`
	// Pop is the end of the list that items are taken from: left (where it is empty, too) or right.
	Pop string `yaml:"pop"`
	// Group is the consumer group, which is made if it is not there. Empty means headwater-<source>.
	Group string `yaml:"group"`
	// Consumer is our name in the group. Empty means headwater.
	Consumer string `yaml:"consumer"`
	// Count is how many entries or items are asked for at a time; twice as many may be on their way to Kafka.
	Count int `yaml:"count"`
	// ClaimAfter is how long an entry must be with a consumer of the group that does not acknowledge it, before it is taken from there; 0 is
	// never.
	ClaimAfter time.Duration `yaml:"claim_after"`
	// Field, if not empty, names the field whose value is the item; the others are headers. Otherwise an entry's fields are the item.
	Field string `yaml:"field"`
	// Format of the field's value, or of a list's items, is auto, json, text or bytes; see package message.
	Format string `yaml:"format"`
	// Timeout is how long a connection may take to be open, and the server to answer.
	Timeout time.Duration `yaml:"timeout"`

	look bool
}

// Ends of a list.
const (
	popLeft  = "left"
	popRight = "right"
)

// Only makes the source of a list one that only looks: it leaves the items where they are.
func (c *Config) Only(look bool) { c.look = look }

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{Count: 500, ClaimAfter: 5 * time.Minute, Format: message.Auto, Timeout: 15 * time.Second}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		f.Add([]string{"url"}, "is missing: write the server's address as rediss://user@redis.example/0")
	case err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || database(u) < 0:
		f.Add([]string{"url"}, "must be an address as rediss://user@redis.example/0, without a query")
	default:
		message.ValidateAddress(&f, u, &c.TLS, c.Password, "rediss")
	}
	switch {
	case c.Stream == "" && c.List == "":
		f.Add([]string{"stream"}, "is missing: write the key of the stream, or list: and that of the list, to read")
	case c.Stream != "" && c.List != "":
		f.Add([]string{"list"}, "is another source than stream: leave one of them out")
	case c.List != "":
		for _, key := range []struct{ name, value string }{{"group", c.Group}, {"consumer", c.Consumer}, {"field", c.Field}} {
			if key.value != "" {
				f.Add([]string{key.name}, "is of streams, and not used with list: leave it out")
			}
		}
	}
	if ends := []string{"", popLeft, popRight}; !slices.Contains(ends, c.Pop) {
		f.Add([]string{"pop"}, "must be left or right, got %q", c.Pop)
	} else if c.Pop != "" && c.List == "" {
		f.Add([]string{"pop"}, "is of lists, and not used with stream: leave it out")
	}
	if c.Count < 1 || c.Count > 10_000 {
		f.Add([]string{"count"}, "must be from 1 to 10000, got %d", c.Count)
	}
	if c.ClaimAfter != 0 && c.ClaimAfter < time.Second {
		f.Add([]string{"claim_after"}, "must be at least 1s, or 0 for never, got %v", c.ClaimAfter)
	}
	message.ValidateFormat(&f, c.Format)
	if c.Timeout < time.Second {
		f.Add([]string{"timeout"}, "must be at least 1s, got %v", c.Timeout)
	}
	return f
}

// database is the number of a URL's, -1 if it is none.
func database(u *url.URL) int {
	text := strings.Trim(u.Path, "/")
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

func (c *Config) address() message.Address {
	return message.ParseAddress(c.URL, c.Password, "rediss", "6379", "6379")
}
