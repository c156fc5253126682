package ftp

import (
	"slices"
	"strings"
	"time"

	"headwater/collect/file"
	"headwater/internal/setting"
)

// Config is an ftp source's.
type Config struct {
	// URL is ftp://user@host:port/glob; the path begins at the root of the server and is a glob as that of a file source.
	URL string `yaml:"url"`
	// Password is the user's; anonymous needs none.
	Password setting.Secret `yaml:"password"`
	// TLS is explicit (asked for on the usual port), implicit (from the first byte, on a port of its own) or none.
	TLS string `yaml:"tls"`
	// CA is a file of PEM with the authorities, or the server's own certificate, to trust instead of the system's.
	CA string `yaml:"ca"`
	// Connections is how many the server allows at a time. Each file that is read needs one, a look at the folders too.
	Connections int `yaml:"connections"`
	// Timeout is how long the server may take to connect, and may be silent after that.
	Timeout      time.Duration `yaml:"timeout"`
	file.Reading `yaml:",inline"`
}

const (
	tlsNone     = "none"
	tlsExplicit = "explicit"
	tlsImplicit = "implicit"

	anonymous = "anonymous"
)

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	c := Config{TLS: tlsExplicit, Connections: 4, Timeout: 30 * time.Second, Reading: file.DefaultReading()}
	c.Every = 30 * time.Second
	return c
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	file.CheckAddress(&f, c.URL, "ftp")
	if a, err := file.ParseAddress(c.URL, "ftp", ""); err == nil && c.Password == "" && a.User != anonymous {
		f.Add([]string{"password"}, "is missing: only the user anonymous needs none")
	}
	if ways := []string{tlsNone, tlsExplicit, tlsImplicit}; !slices.Contains(ways, c.TLS) {
		f.Add([]string{"tls"}, "must be one of %s, got %q", strings.Join(ways, ", "), c.TLS)
	}
	if c.CA != "" && c.TLS == tlsNone {
		f.Add([]string{"ca"}, "is of no use with tls: none")
	}
	if c.Connections < 1 {
		f.Add([]string{"connections"}, "must be 1 or more, got %d", c.Connections)
	}
	if c.Timeout < time.Second {
		f.Add([]string{"timeout"}, "must be 1s or more, got %v", c.Timeout)
	}
	return append(f, c.Reading.Validate()...)
}
