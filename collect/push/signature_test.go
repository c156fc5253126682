package push

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"headwater/internal/setting"
)

// TestPresets has requests as the senders' own documentation shows them, and as nobody should send them.
func TestPresets(t *testing.T) {
	t.Parallel()
	const slackBody = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
	at := time.Unix(1531420618, 0)
	mac := func(secret, text string) []byte {
		m := hmac.New(sha256.New, []byte(secret))
		_, _ = m.Write([]byte(text))
		return m.Sum(nil)
	}
	stripe := func(secret string) string { return hex.EncodeToString(mac(secret, "1531420618.{}")) }
	shopify := base64.StdEncoding.EncodeToString(mac("s", "{}"))
	const githubSigned = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	const slackSecret, slackSigned = "8f742231b10e8888abcd99yyyzzz85a5", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
	for _, c := range []struct {
		name           string
		hmac           HMAC
		body           string
		headers        []string
		away           time.Duration
		want           string // part of the error; empty for none
		key, headerToo string
	}{
		{"github", HMAC{Preset: "github", Secret: "It's a Secret to Everybody"}, "Hello, World!", []string{"X-Hub-Signature-256", githubSigned}, 0, "", "X-GitHub-Delivery", "X-GitHub-Event"},
		{"github, another secret", HMAC{Preset: "github", Secret: "another"}, "Hello, World!", []string{"X-Hub-Signature-256", githubSigned}, 0, "X-Hub-Signature-256 is not", "X-GitHub-Delivery", "X-GitHub-Event"},
		{"github, sha1", HMAC{Preset: "github", Secret: "s"}, "{}", []string{"X-Hub-Signature", "sha1=ab"}, 0, "X-Hub-Signature-256 is not", "X-GitHub-Delivery", "X-GitHub-Event"},
		{"slack", HMAC{Preset: "slack", Secret: slackSecret}, slackBody, []string{"X-Slack-Signature", slackSigned, "X-Slack-Request-Timestamp", "1531420618"}, 299 * time.Second, "", "Idempotency-Key", ""},
		{"slack, old", HMAC{Preset: "slack", Secret: slackSecret}, slackBody, []string{"X-Slack-Signature", slackSigned, "X-Slack-Request-Timestamp", "1531420618"}, 301 * time.Second, "5m1s away from now", "Idempotency-Key", ""},
		{"slack, ahead", HMAC{Preset: "slack", Secret: slackSecret, Tolerance: time.Minute}, slackBody, []string{"X-Slack-Signature", slackSigned, "X-Slack-Request-Timestamp", "1531420618"}, -61 * time.Second, "1m1s away", "Idempotency-Key", ""},
		{"slack, a time of its own", HMAC{Preset: "slack", Secret: slackSecret}, slackBody, []string{"X-Slack-Signature", slackSigned, "X-Slack-Request-Timestamp", "1531420619"}, 0, "X-Slack-Signature is not", "Idempotency-Key", ""},
		{"stripe", HMAC{Preset: "stripe", Secret: "s"}, "{}", []string{"Stripe-Signature", "t=1531420618,v1=" + stripe("s")}, 0, "", "Idempotency-Key", ""},
		{"stripe, two secrets", HMAC{Preset: "stripe", Secret: "s"}, "{}", []string{"Stripe-Signature", "t=1531420618,v1=" + stripe("old") + ",v1=" + stripe("s") + ",v0=ab"}, 0, "", "Idempotency-Key", ""},
		{"stripe, another scheme", HMAC{Preset: "stripe", Secret: "s"}, "{}", []string{"Stripe-Signature", "t=1531420618,v0=" + stripe("s")}, 0, "is not that of the body", "Idempotency-Key", ""},
		{"stripe, no time", HMAC{Preset: "stripe", Secret: "s"}, "{}", []string{"Stripe-Signature", "v1=" + hex.EncodeToString(mac("s", ".{}"))}, 0, "is no number of seconds", "Idempotency-Key", ""},
		{"stripe, old", HMAC{Preset: "stripe", Secret: "s"}, "{}", []string{"Stripe-Signature", "t=1531420618,v1=" + stripe("s")}, time.Hour, "away from now", "Idempotency-Key", ""},
		{"stripe, nothing", HMAC{Preset: "stripe", Secret: "s"}, "{}", nil, 0, "is not that of the body", "Idempotency-Key", ""},
		{"shopify", HMAC{Preset: "shopify", Secret: "s"}, "{}", []string{"X-Shopify-Hmac-Sha256", shopify}, 0, "", "X-Shopify-Webhook-Id", "X-Shopify-Topic"},
		{"shopify, in hex", HMAC{Preset: "shopify", Secret: "s"}, "{}", []string{"X-Shopify-Hmac-Sha256", hex.EncodeToString(mac("s", "{}"))}, 0, "is not that of the body", "X-Shopify-Webhook-Id", "X-Shopify-Topic"},
		{"a time beside it", HMAC{Header: "S", TimestampHeader: "T", Secret: "s"}, "{}", []string{"S", stripe("s"), "T", "1531420618"}, 0, "", "Idempotency-Key", ""},
		{"a body that names the place of one", HMAC{Header: "S", Secret: "s"}, "{timestamp}{body}", []string{"S", hex.EncodeToString(mac("s", "{timestamp}{body}"))}, 0, "", "Idempotency-Key", ""},
	} {
		config := DefaultConfig()
		config.HMAC = &c.hmac
		for range 2 { // which changes nothing
			if faults := config.Validate(); len(faults) > 0 {
				t.Errorf("%s: %v", c.name, faults)
			}
		}
		s := New(config, nil)
		header := http.Header{}
		for i := 0; i < len(c.headers); i += 2 {
			header.Set(c.headers[i], c.headers[i+1])
		}
		err := s.c.HMAC.check(header, []byte(c.body), at.Add(c.away))
		if got := fmt.Sprint(err); (err == nil) != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if s.c.IdempotencyHeader != c.key || c.headerToo != "" && !slices.Contains(s.c.Headers, c.headerToo) {
			t.Errorf("%s: requests are named by %s, and their headers are %q", c.name, s.c.IdempotencyHeader, s.c.Headers)
		}
	}
	own := DefaultConfig()
	own.HMAC, own.IdempotencyHeader, own.Headers = &HMAC{Preset: "github", Secret: "s"}, "Mine", []string{}
	if s := New(own, nil); s.c.IdempotencyHeader != "Mine" || len(s.c.Headers) > 0 {
		t.Errorf("a preset replaces what is written: %s, %q", s.c.IdempotencyHeader, s.c.Headers)
	}
}

func TestValidateHMAC(t *testing.T) {
	t.Parallel()
	for key, h := range map[string]HMAC{
		"hmac.preset":    {Preset: "gitlab", Header: "H", Secret: "s"},
		"hmac.preset ":   {Preset: "github", Header: "H", Secret: "s"},
		"hmac.signed":    {Header: "H", Secret: "s", Signed: "{timestamp}.{body}"},
		"hmac.signed ":   {Header: "H", Secret: "s", TimestampHeader: "T", Signed: "{body}"},
		"hmac.signed  ":  {Header: "H", Secret: "s", Signed: "{body}{body}"},
		"hmac.tolerance": {Header: "H", Secret: "s", Tolerance: -1},
	} {
		c := DefaultConfig()
		c.HMAC = &h
		faults := c.Validate()
		if len(faults) != 1 || strings.Join(faults[0].Path, ".") != strings.TrimSpace(key) {
			t.Errorf("%+v has the faults %v, want one of %s", h, faults, key)
		}
	}
}

// TestChallenge: Slack gets back what it asks an address for, if it is Slack, and nothing of that is an item.
func TestChallenge(t *testing.T) {
	t.Parallel()
	const body = `{"type":"url_verification","token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}`
	b := newBench(t, func(c *Config) { c.HMAC = &HMAC{Preset: "slack", Secret: setting.Secret("s")} })
	now := fmt.Sprint(time.Now().Unix())
	m := hmac.New(sha256.New, []byte("s"))
	_, _ = m.Write([]byte("v0:" + now + ":" + body))
	sent := []string{"X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0=" + hex.EncodeToString(m.Sum(nil))}
	if code, got := b.post(body, sent...); code != http.StatusOK || got.Challenge != "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P" || got.Records != 0 {
		t.Errorf("%d %+v", code, got)
	}
	if code, got := b.post(body, "X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0=00"); code != http.StatusUnauthorized || got.Challenge != "" {
		t.Errorf("%d %+v", code, got)
	}
	b.expect()
}
