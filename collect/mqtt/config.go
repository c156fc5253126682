package mqtt

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"headwater/collect/message"
	"headwater/internal/setting"
)

// Config is an mqtt source's.
type Config struct {
	// URL is mqtt:// or mqtts://user@host:port. It may have a password, which goes into no record, log or status.
	URL string `yaml:"url"`
	// Password is that of the URL's user, if the URL has none.
	Password setting.Secret `yaml:"password"`
	TLS      message.TLS    `yaml:"tls"`
	// Topics are the filters that are subscribed to.
	Topics []string `yaml:"topics"`
	// QoS is the greatest that messages come with: 0, 1 or 2.
	QoS int `yaml:"qos"`
	// ClientID names the session, in which the broker keeps messages for us. Empty means headwater-<source>.
	ClientID string `yaml:"client_id"`
	// Version is that of MQTT: 5 or 3.1.1.
	Version string `yaml:"version"`
	// Group, if not empty, shares the topics' messages with the other clients of the group.
	Group string `yaml:"group"`
	// SessionExpiry is how long the broker keeps the session while nobody is connected. In 3.1.1 the broker alone decides.
	SessionExpiry time.Duration `yaml:"session_expiry"`
	// Prefetch is how many messages may be on their way to Kafka. In 3.1.1 the broker has its own number.
	Prefetch int `yaml:"prefetch"`
	// Format is auto, json, text or bytes; see package message.
	Format string         `yaml:"format"`
	Dedupe message.Dedupe `yaml:"dedupe"`
	// KeepAlive is how often each side says that it is there; a connection on which nothing comes for one and a half times as long is dead.
	KeepAlive time.Duration `yaml:"keep_alive"`
	// Timeout is how long a connection may take to be open, and anything that is sent to be taken.
	Timeout time.Duration `yaml:"timeout"`
}

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{
		QoS: 1, Version: "5", SessionExpiry: 7 * 24 * time.Hour, Prefetch: 500, Format: message.Auto, Dedupe: message.Dedupe{Window: 10_000},
		KeepAlive: 30 * time.Second, Timeout: 15 * time.Second,
	}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		f.Add([]string{"url"}, "is missing: write the broker's address as mqtts://user@broker.example")
	case err != nil || u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		f.Add([]string{"url"}, "must be an address as mqtts://user@broker.example, without a path")
	default:
		message.ValidateAddress(&f, u, &c.TLS, c.Password, "mqtts")
		if at := c.address(); at.User == "" && at.Password != "" {
			f.Add([]string{"password"}, "needs a user: write it in url as mqtts://user@broker.example")
		}
	}
	c.validateTopics(&f)
	if c.QoS < 0 || c.QoS > 2 {
		f.Add([]string{"qos"}, "must be 0, 1 or 2, got %d", c.QoS)
	}
	if c.Version != "5" && c.Version != "3.1.1" {
		f.Add([]string{"version"}, "must be 5 or 3.1.1, got %q", c.Version)
	}
	if c.SessionExpiry < time.Minute {
		f.Add([]string{"session_expiry"}, "must be at least 1m, so that a restart finds its session, got %v", c.SessionExpiry)
	}
	if c.Prefetch < 1 || c.Prefetch > 65_535 {
		f.Add([]string{"prefetch"}, "must be from 1 to 65535, got %d", c.Prefetch)
	}
	message.ValidateFormat(&f, c.Format)
	c.Dedupe.Validate(&f, c.Prefetch, "prefetch")
	if c.KeepAlive < time.Second || c.KeepAlive > 18*time.Hour {
		f.Add([]string{"keep_alive"}, "must be from 1s to 18h, got %v", c.KeepAlive)
	}
	if c.Timeout <= 0 {
		f.Add([]string{"timeout"}, "must be positive, got %v", c.Timeout)
	}
	return f
}

func (c *Config) validateTopics(f *setting.Faults) {
	if len(c.Topics) == 0 {
		f.Add([]string{"topics"}, "is missing: write the topics to subscribe to, as [\"plant/+/sensor\"]")
	}
	for i, topic := range c.Topics {
		levels := strings.Split(topic, "/")
		for n, level := range levels {
			wild := strings.ContainsAny(level, "+#")
			if topic == "" || len(topic) > 60_000 || wild && len(level) > 1 || level == "#" && n < len(levels)-1 {
				f.Add([]string{"topics", strconv.Itoa(i)}, "must be a topic, in which + stands for one level and # at the end for all, got %q", topic)
				break
			}
		}
		if strings.HasPrefix(topic, "$share/") {
			f.Add([]string{"topics", strconv.Itoa(i)}, "must not begin with $share/: write group: beside topics")
		}
	}
	if strings.ContainsAny(c.Group, "/+#") {
		f.Add([]string{"group"}, "must not have /, + or #, got %q", c.Group)
	}
}

// filters are the topics as the broker is told them.
func (c *Config) filters() (all []string) {
	for _, topic := range c.Topics {
		if c.Group != "" {
			topic = "$share/" + c.Group + "/" + topic
		}
		all = append(all, topic)
	}
	return all
}

func (c *Config) address() message.Address {
	return message.ParseAddress(c.URL, c.Password, "mqtts", "1883", "8883")
}
