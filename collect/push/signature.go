package push

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/internal/setting"
)

// HMAC is how requests are signed: a header holds the prefix and the hash of the body as it was sent, and of the time if there is one.
type HMAC struct {
	// Preset is github, shopify, slack or stripe, which sets all other keys but Secret and Tolerance; empty is none.
	Preset string `yaml:"preset"`
	// Header is the name of the header with the signature.
	Header string         `yaml:"header"`
	Secret setting.Secret `yaml:"secret"`
	// Algorithm is sha256, sha512 or sha1.
	Algorithm string `yaml:"algorithm"`
	// Prefix is what comes before the hash, as sha256=.
	Prefix string `yaml:"prefix"`
	// Encoding is hex or base64.
	Encoding string `yaml:"encoding"`
	// TimestampHeader, if not empty, is the header with the time of the signature, in seconds since 1970. If it is Header itself, that is
	// a list of t= and the time, and of signatures: t=1492774577,v1=5257a8…
	TimestampHeader string `yaml:"timestamp_header"`
	// Signed is what is signed, with {body} in it and, where there is one, {timestamp}.
	Signed string `yaml:"signed"`
	// Tolerance is how far from now the time may be.
	Tolerance time.Duration `yaml:"tolerance"`
}

// preset is what a sender of webhooks does.
type preset struct {
	hmac HMAC
	// delivery is the header that names a request when it comes again, too; empty if it has none.
	delivery string
	// headers say what the body is.
	headers []string
}

var presets = map[string]preset{
	"github":  {HMAC{Header: "X-Hub-Signature-256", Prefix: "sha256="}, "X-GitHub-Delivery", []string{"X-GitHub-Event", "X-GitHub-Delivery"}},
	"shopify": {HMAC{Header: "X-Shopify-Hmac-Sha256", Encoding: "base64"}, "X-Shopify-Webhook-Id", []string{"X-Shopify-Topic", "X-Shopify-Shop-Domain", "X-Shopify-Webhook-Id"}},
	"slack":   {HMAC{Header: "X-Slack-Signature", Prefix: "v0=", TimestampHeader: "X-Slack-Request-Timestamp", Signed: "v0:{timestamp}:{body}"}, "", nil},
	"stripe":  {HMAC{Header: "Stripe-Signature", Prefix: "v1=", TimestampHeader: "Stripe-Signature", Signed: "{timestamp}.{body}"}, "", nil},
}

// settled is the configuration with what the preset and the defaults of hmac say.
func (c Config) settled() Config {
	if c.HMAC == nil {
		return c
	}
	h := *c.HMAC
	if p, is := presets[h.Preset]; is {
		h = p.hmac
		h.Preset, h.Secret, h.Tolerance = c.HMAC.Preset, c.HMAC.Secret, c.HMAC.Tolerance
		if p.delivery != "" && c.IdempotencyHeader == DefaultConfig().IdempotencyHeader {
			c.IdempotencyHeader = p.delivery
		}
		if c.Headers == nil {
			c.Headers = p.headers
		}
	}
	h.Algorithm, h.Encoding, h.Tolerance = cmp.Or(h.Algorithm, "sha256"), cmp.Or(h.Encoding, "hex"), cmp.Or(h.Tolerance, 5*time.Minute)
	if h.Signed == "" && h.TimestampHeader != "" {
		h.Signed = "{timestamp}.{body}"
	}
	h.Signed = cmp.Or(h.Signed, "{body}")
	c.HMAC = &h
	return c
}

func (c *Config) validateHMAC(f *setting.Faults, oneOf func(got string, key []string, choices ...string)) {
	beside := *c.HMAC
	beside.Preset, beside.Secret, beside.Tolerance = "", "", 0
	switch _, is := presets[c.HMAC.Preset]; {
	case c.HMAC.Preset != "" && !is:
		oneOf(c.HMAC.Preset, []string{"hmac", "preset"}, slices.Sorted(maps.Keys(presets))...)
	case is && beside != (HMAC{}):
		f.Add([]string{"hmac", "preset"}, "says how %s signs: leave out all but secret and tolerance, or the preset", c.HMAC.Preset)
	}
	h := c.settled().HMAC
	oneOf(h.Algorithm, []string{"hmac", "algorithm"}, "sha256", "sha512", "sha1")
	oneOf(h.Encoding, []string{"hmac", "encoding"}, "hex", "base64")
	if h.Header == "" {
		f.Add([]string{"hmac", "header"}, "is missing: name the header that has the signature, as X-Hub-Signature-256, or a preset")
	}
	if h.Secret.Reveal() == "" {
		f.Add([]string{"hmac", "secret"}, "must not be empty: write it as \"${NAME}\" or \"${file:/path}\"")
	}
	if strings.Count(h.Signed, "{body}") != 1 || strings.Contains(h.Signed, "{timestamp}") != (h.TimestampHeader != "") {
		f.Add([]string{"hmac", "signed"}, "must have {body} once and, with timestamp_header alone, {timestamp}, got %q", h.Signed)
	}
	if h.Tolerance < 0 {
		f.Add([]string{"hmac", "tolerance"}, "must be positive, got %v", h.Tolerance)
	}
}

// challenge is what Slack wants to have back from an address that it is given, before it sends anything there; empty if the body is something
// else.
func (h *HMAC) challenge(body []byte) string {
	var b struct{ Type, Challenge string }
	if h.Preset != "slack" || json.Unmarshal(body, &b) != nil || b.Type != "url_verification" {
		return ""
	}
	return b.Challenge
}

// check says what is wrong with the signature of a request, whose body was sent as it is here.
func (h *HMAC) check(header http.Header, body []byte, now time.Time) error {
	signatures, timestamp := []string{header.Get(h.Header)}, ""
	switch h.TimestampHeader {
	case "":
	case h.Header:
		signatures = strings.Split(signatures[0], ",")
		for _, part := range signatures {
			if at, is := strings.CutPrefix(part, "t="); is {
				timestamp = at
			}
		}
	default:
		timestamp = header.Get(h.TimestampHeader)
	}
	before, after, _ := strings.Cut(strings.ReplaceAll(h.Signed, "{timestamp}", timestamp), "{body}")
	mac := hmac.New(map[string]func() hash.Hash{"sha256": sha256.New, "sha512": sha512.New, "sha1": sha1.New}[h.Algorithm], []byte(h.Secret.Reveal()))
	for _, part := range [][]byte{[]byte(before), body, []byte(after)} {
		_, _ = mac.Write(part) // hashes never fail
	}
	want, fits := mac.Sum(nil), false
	for _, s := range signatures {
		got, err := h.decode(s)
		fits = err == nil && hmac.Equal(got, want) || fits
	}
	if !fits {
		return fmt.Errorf("the signature in %s is not that of the body", h.Header)
	}
	if h.TimestampHeader == "" {
		return nil
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return fmt.Errorf("the time in %s is no number of seconds", h.TimestampHeader)
	}
	if age := now.Sub(time.Unix(seconds, 0)).Abs(); age > h.Tolerance {
		return fmt.Errorf("the signature is %s away from now, more than hmac.tolerance (%s): it may be a copy, or a clock is wrong", age.Round(time.Second), h.Tolerance)
	}
	return nil
}

// decode is the hash in a signature.
func (h *HMAC) decode(signature string) ([]byte, error) {
	text, found := strings.CutPrefix(signature, h.Prefix)
	switch {
	case !found:
		return nil, errors.New("it has another prefix")
	case h.Encoding == "base64":
		return base64.StdEncoding.DecodeString(text)
	}
	return hex.DecodeString(text)
}
