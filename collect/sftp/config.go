package sftp

import (
	"time"

	"headwater/collect/file"
	"headwater/internal/setting"
)

// Config is an sftp source's.
type Config struct {
	// URL is sftp://user@host:port/glob; the path begins at the root of the server and is a glob as that of a file source.
	URL string `yaml:"url"`
	// Password, or PrivateKey, or both are what the server asks for.
	Password setting.Secret `yaml:"password"`
	// PrivateKey is an OpenSSH or PEM key, or a file with one; Passphrase is that of the key.
	PrivateKey setting.Secret `yaml:"private_key"`
	Passphrase setting.Secret `yaml:"passphrase"`
	// KnownHosts is a file as OpenSSH's known_hosts, or lines of one. Without it, no server is trusted.
	KnownHosts string `yaml:"known_hosts"`
	// InsecureIgnoreHostKey trusts any server that answers.
	InsecureIgnoreHostKey bool `yaml:"insecure_ignore_host_key"`
	// Timeout is how long the server may take to connect, and may be silent after that.
	Timeout      time.Duration `yaml:"timeout"`
	file.Reading `yaml:",inline"`
}

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	c := Config{Timeout: 30 * time.Second, Reading: file.DefaultReading()}
	c.Every = 30 * time.Second
	return c
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	file.CheckAddress(&f, c.URL, "sftp")
	if c.Password == "" && c.PrivateKey == "" {
		f.Add([]string{"password"}, "is missing, and so is private_key: give one of them")
	}
	if c.Passphrase != "" && c.PrivateKey == "" {
		f.Add([]string{"passphrase"}, "is of no use without private_key")
	}
	if c.InsecureIgnoreHostKey && c.KnownHosts != "" {
		f.Add([]string{"insecure_ignore_host_key"}, "must be false where known_hosts says which keys to trust")
	}
	if c.Timeout < time.Second {
		f.Add([]string{"timeout"}, "must be 1s or more, got %v", c.Timeout)
	}
	return append(f, c.Reading.Validate()...)
}
