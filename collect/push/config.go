package push

import (
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/internal/setting"
)

// Config is a push source's.
type Config struct {
	// Path is where the process's HTTP listener takes the source's items; empty means /ingest/<source>.
	Path string `yaml:"path"`
	// Format is auto, json, ndjson, lines or bytes; see docs/sources/push.md.
	Format string `yaml:"format"`
	// Array says what a JSON array is: items, one for each element, or document, one item.
	Array string `yaml:"array"`
	// Token, if not empty, must come as a bearer token.
	Token setting.Secret `yaml:"token"`
	// HMAC, if not nil, is the signature that every body must have.
	HMAC *HMAC `yaml:"hmac"`
	// IdempotencyHeader is the header whose value names a request: a request that comes again under its name adds nothing.
	IdempotencyHeader string `yaml:"idempotency_header"`
	// KeyWindow and MaxKeys are for how long, and how many, names of requests are known; the oldest are forgotten first.
	KeyWindow time.Duration `yaml:"key_window"`
	MaxKeys   int           `yaml:"max_keys"`
	// Headers are the request's headers that go into the envelope of each of its items.
	Headers []string `yaml:"headers"`
	// MaxBody bounds a request's body, also after decompression.
	MaxBody setting.Bytes `yaml:"max_body"`
	// MaxRequests and MaxBuffered bound the requests that are being taken and the memory of their bodies; a request beyond is told to
	// come again.
	MaxRequests int           `yaml:"max_requests"`
	MaxBuffered setting.Bytes `yaml:"max_buffered"`
	// ReadTimeout is how long a sender has for a body.
	ReadTimeout time.Duration `yaml:"read_timeout"`
}

const (
	formatAuto   = "auto"
	formatJSON   = "json"
	formatNDJSON = "ndjson"
	formatLines  = "lines"
	formatBytes  = "bytes"

	arrayItems    = "items"
	arrayDocument = "document"
)

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{
		Format: formatAuto, Array: arrayItems, IdempotencyHeader: "Idempotency-Key", KeyWindow: 24 * time.Hour, MaxKeys: 100_000,
		MaxBody: 16 << 20, MaxRequests: 256, MaxBuffered: 64 << 20, ReadTimeout: 30 * time.Second,
	}
}

// secretHeaders never go into an envelope, which many may read.
var secretHeaders = []string{"Authorization", "Cookie", "Proxy-Authorization"}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	oneOf := func(got string, key []string, choices ...string) {
		if !slices.Contains(choices, got) {
			f.Add(key, "must be one of %s, got %q", strings.Join(choices, ", "), got)
		}
	}
	oneOf(c.Format, []string{"format"}, formatAuto, formatJSON, formatNDJSON, formatLines, formatBytes)
	oneOf(c.Array, []string{"array"}, arrayItems, arrayDocument)
	if c.Path != "" {
		c.validatePath(&f)
	}
	c.validateHeaders(&f)
	if c.HMAC != nil {
		c.validateHMAC(&f, oneOf)
	}
	c.validateLimits(&f)
	return f
}

// ours are the first parts of paths that the process itself answers at.
var ours = []string{"api", "healthz", "readyz", "metrics", "debug"}

func (c *Config) validatePath(f *setting.Faults) {
	first, _, _ := strings.Cut(strings.TrimPrefix(c.Path, "/"), "/")
	switch {
	case !strings.HasPrefix(c.Path, "/") || c.Path == "/" || path.Clean(c.Path) != c.Path || strings.ContainsAny(c.Path, "?#{}% "):
		f.Add([]string{"path"}, "must be a path as /hooks/orders, got %q", c.Path)
	case slices.Contains(ours, first):
		f.Add([]string{"path"}, "must not be below /%s, where the process itself answers, got %q", first, c.Path)
	}
}

func (c *Config) validateHeaders(f *setting.Faults) {
	for i, name := range c.Headers {
		switch canonical := http.CanonicalHeaderKey(name); {
		case canonical == "" || strings.ContainsAny(name, " :\r\n"):
			f.Add([]string{"headers", strconv.Itoa(i)}, "must be the name of a header, got %q", name)
		case slices.Contains(secretHeaders, canonical):
			f.Add([]string{"headers", strconv.Itoa(i)}, "must not be %s: who may read the records could then send as this sender", canonical)
		}
	}
	if strings.ContainsAny(c.IdempotencyHeader, " :\r\n") {
		f.Add([]string{"idempotency_header"}, "must be the name of a header, or empty for none, got %q", c.IdempotencyHeader)
	}
}

func (c *Config) validateLimits(f *setting.Faults) {
	if c.KeyWindow <= 0 {
		f.Add([]string{"key_window"}, "must be positive, got %v", c.KeyWindow)
	}
	if c.MaxKeys < 1 || c.MaxKeys > 1_000_000 {
		f.Add([]string{"max_keys"}, "must be from 1 to 1000000, got %d", c.MaxKeys)
	}
	if c.MaxBody < 1 || c.MaxBody > 1<<30 {
		f.Add([]string{"max_body"}, "must be from 1B to 1GiB, got %s", c.MaxBody)
	}
	if c.MaxRequests < 1 {
		f.Add([]string{"max_requests"}, "must be positive, got %d", c.MaxRequests)
	}
	if c.MaxBuffered < c.MaxBody {
		f.Add([]string{"max_buffered"}, "must be at least max_body (%s), got %s", c.MaxBody, c.MaxBuffered)
	}
	if c.ReadTimeout <= 0 {
		f.Add([]string{"read_timeout"}, "must be positive, got %v", c.ReadTimeout)
	}
}

// HTTPPath is where the items of the source of that name are taken.
func (c *Config) HTTPPath(source string) string {
	if c.Path == "" {
		return "/ingest/" + source
	}
	return c.Path
}
