package sqs

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"

	"headwater/collect/lease"
	"headwater/collect/message"
	"headwater/internal/setting"
)

// Config is an sqs source's. Credentials are not in it: the SDK finds them in the environment, the profile or the machine's role.
type Config struct {
	// QueueURL is the address of the queue that is read, as SQS tells it.
	QueueURL string `yaml:"queue_url"`
	// Region signs the requests. Empty means that of QueueURL, or else what the SDK finds.
	Region string `yaml:"region"`
	// Endpoint is where the requests go. Empty means the server of QueueURL.
	Endpoint string `yaml:"endpoint"`
	// Profile is one of the shared configuration files of Amazon's tools. Empty means what they take.
	Profile string `yaml:"profile"`
	// Receivers is how many ask the queue at the same time, and how many delete.
	Receivers int `yaml:"receivers"`
	// Prefetch is how many messages may be received and not deleted. They are in memory.
	Prefetch int `yaml:"prefetch"`
	// Visibility is how long a message that was received is hidden from others, again and again while we have it: how long what a killed
	// process had takes to come again.
	Visibility time.Duration `yaml:"visibility"`
	// Format is auto, json, text or bytes; see package message.
	Format string         `yaml:"format"`
	Dedupe message.Dedupe `yaml:"dedupe"`
	// Timeout is how long an answer may take, beside the time that the queue waits for messages.
	Timeout time.Duration `yaml:"timeout"`

	look bool
}

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{
		Receivers: 4, Prefetch: 500, Visibility: time.Minute, Format: message.Auto,
		Dedupe: message.Dedupe{Key: lease.MessageID, Window: 10_000}, Timeout: 15 * time.Second,
	}
}

// Only makes the source one that only looks: it does not wait for what others have received.
func (c *Config) Only(look bool) { c.look = look }

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	switch {
	case c.QueueURL == "":
		f.Add([]string{"queue_url"}, "is missing: write the queue's address as https://sqs.eu-west-1.amazonaws.com/123456789012/orders")
	case !isAddress(c.QueueURL) || c.queue() == "" || c.queue() == "." || c.queue() == "/":
		f.Add([]string{"queue_url"}, "must be an address as https://sqs.eu-west-1.amazonaws.com/123456789012/orders, without a user or a query")
	}
	if c.Endpoint != "" && !isAddress(c.Endpoint) {
		f.Add([]string{"endpoint"}, "must be an address as https://sqs.example:9324, without a user or a query")
	}
	if c.Receivers < 1 || c.Receivers > 64 {
		f.Add([]string{"receivers"}, "must be from 1 to 64, got %d", c.Receivers)
	}
	if c.Prefetch < batch || c.Prefetch > 20_000 {
		f.Add([]string{"prefetch"}, "must be from %d to 20000, got %d", batch, c.Prefetch)
	}
	if c.Visibility < time.Second || c.Visibility > 12*time.Hour || c.Visibility%time.Second != 0 {
		f.Add([]string{"visibility"}, "must be from 1s to 12h, in whole seconds, got %v", c.Visibility)
	}
	message.ValidateFormat(&f, c.Format)
	c.Dedupe.Validate(&f, c.Prefetch, "prefetch")
	if c.Timeout < time.Second {
		f.Add([]string{"timeout"}, "must be at least 1s, got %v", c.Timeout)
	}
	return f
}

func isAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// queue is the name of the queue.
func (c *Config) queue() string {
	u, err := url.Parse(c.QueueURL)
	if err != nil {
		return ""
	}
	return path.Base(u.Path)
}

// fifo says that the queue has an order.
func (c *Config) fifo() bool { return strings.HasSuffix(c.queue(), ".fifo") }

// regional are the hosts that say their region.
var regional = regexp.MustCompile(`^(?:sqs(?:-fips)?\.([a-z0-9-]+)|([a-z0-9-]+)\.queue)\.amazonaws\.com(?:\.cn)?$`)

// at is where the requests go, and the region that they are signed for, empty if nothing says it.
func (c *Config) at() (endpoint, region string) {
	u, err := url.Parse(c.QueueURL)
	if err != nil {
		return c.Endpoint, c.Region // Validate refuses it
	}
	endpoint, region = c.Endpoint, c.Region
	if endpoint == "" {
		endpoint = u.Scheme + "://" + u.Host
	}
	if m := regional.FindStringSubmatch(u.Hostname()); m != nil && region == "" {
		region = m[1] + m[2]
	}
	return endpoint, region
}
