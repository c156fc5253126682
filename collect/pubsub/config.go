package pubsub

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"headwater/collect/lease"
	"headwater/collect/message"
	"headwater/internal/setting"
)

// Config is a pubsub source's.
type Config struct {
	// Project and Subscription name what is read.
	Project      string `yaml:"project"`
	Subscription string `yaml:"subscription"`
	// Endpoint is a server as https://europe-west1-pubsub.googleapis.com or, of an emulator, which asks for no credentials, http://127.0.0.1:8085.
	// Empty means Google's.
	Endpoint string `yaml:"endpoint"`
	// Credentials is the path of a key file of a service account. Empty means where Google's tools find theirs.
	Credentials string `yaml:"credentials"`
	// Receivers is how many ask the server at the same time, and how many acknowledge.
	Receivers int `yaml:"receivers"`
	// Prefetch is how many messages may be received and not acknowledged. They are in memory.
	Prefetch int `yaml:"prefetch"`
	// Lease is how long a message that was received is ours, again and again while we have it: how long what a killed process had takes to
	// come again.
	Lease time.Duration `yaml:"lease"`
	// Format is auto, json, text or bytes; see package message.
	Format string         `yaml:"format"`
	Dedupe message.Dedupe `yaml:"dedupe"`
	// Timeout is how long an answer may take, beside the time that the server waits for messages.
	Timeout time.Duration `yaml:"timeout"`

	look bool
}

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{
		Receivers: 4, Prefetch: 1000, Lease: 15 * time.Second, Format: message.Auto,
		Dedupe: message.Dedupe{Key: lease.MessageID, Window: 10_000}, Timeout: 15 * time.Second,
	}
}

// Only makes the source one that only looks: it does not wait for what others have received.
func (c *Config) Only(look bool) { c.look = look }

// names are what Google takes for projects and subscriptions.
var names = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._~+%:-]{2,254}$`)

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	if !names.MatchString(c.Project) {
		f.Add([]string{"project"}, "must be the id of the project, got %q", c.Project)
	}
	if !names.MatchString(c.Subscription) {
		f.Add([]string{"subscription"}, "must be the id of the subscription, without its project, got %q", c.Subscription)
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			f.Add([]string{"endpoint"}, "must be an address as https://europe-west1-pubsub.googleapis.com or, of an emulator, http://127.0.0.1:8085")
		}
		if c.emulator() && c.Credentials != "" {
			f.Add([]string{"credentials"}, "are not sent to an endpoint that begins with http://: leave one of them out")
		}
	}
	if c.Receivers < 1 || c.Receivers > 64 {
		f.Add([]string{"receivers"}, "must be from 1 to 64, got %d", c.Receivers)
	}
	if c.Prefetch < c.Receivers || c.Prefetch > 50_000 {
		f.Add([]string{"prefetch"}, "must be from %d (receivers) to 50000, got %d", c.Receivers, c.Prefetch)
	}
	if c.Lease < 10*time.Second || c.Lease > 10*time.Minute || c.Lease%time.Second != 0 {
		f.Add([]string{"lease"}, "must be from 10s to 10m, in whole seconds, got %v", c.Lease)
	}
	message.ValidateFormat(&f, c.Format)
	c.Dedupe.Validate(&f, c.Prefetch, "prefetch")
	if c.Timeout < time.Second {
		f.Add([]string{"timeout"}, "must be at least 1s, got %v", c.Timeout)
	}
	return f
}

func (c *Config) emulator() bool { return strings.HasPrefix(c.Endpoint, "http://") }

// address is host:port of the endpoint.
func (c *Config) address() string {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return "" // Validate refuses it
	}
	if u.Port() == "" {
		return u.Hostname() + ":443"
	}
	return u.Host
}
