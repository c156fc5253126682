package rest

import (
	"cmp"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"headwater/internal/retry"
)

const (
	algRS256 = "RS256"
	algHS256 = "HS256"
)

// signed are credentials that sign each request.
type signed struct {
	sign   func(r *http.Request, body []byte) error
	secret []string
}

func (s signed) ready(context.Context, *client) (pass, error) { return s, nil }
func (s signed) apply(r *http.Request, body []byte) error     { return s.sign(r, body) }
func (s signed) renew() bool                                  { return false }
func (s signed) secrets() []string                            { return append([]string(nil), s.secret...) }

func (v *SigV4) sign(r *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	payload := hex.EncodeToString(sum[:])
	if v.Service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", payload) // S3 alone wants it
	}
	key := aws.Credentials{AccessKeyID: v.AccessKeyID, SecretAccessKey: v.SecretAccessKey.Reveal(), SessionToken: v.SessionToken.Reveal()}
	return v4.NewSigner().SignHTTP(r.Context(), key, r, payload, v.Service, v.Region, time.Now())
}

func (h *HMAC) sign(r *http.Request, body []byte) error {
	now := time.Now().UTC()
	stamp := strconv.FormatInt(now.Unix(), 10)
	switch h.TimestampFormat {
	case spellMillis:
		stamp = strconv.FormatInt(now.UnixMilli(), 10)
	case spellISO:
		stamp = now.Format("2006-01-02T15:04:05.000Z")
	}
	if h.TimestampHeader != "" {
		r.Header.Set(h.TimestampHeader, stamp)
	}
	if h.TimestampParam != "" {
		q := r.URL.Query()
		q.Set(h.TimestampParam, stamp)
		r.URL.RawQuery = q.Encode()
	}
	message := strings.NewReplacer(
		"{method}", r.Method, "{path}", r.URL.EscapedPath(), "{query}", r.URL.RawQuery, "{body}", string(body), "{timestamp}", stamp,
	).Replace(h.Message)
	mac := hmac.New(map[string]func() hash.Hash{"sha512": sha512.New, "sha1": sha1.New, "sha256": sha256.New}[cmp.Or(h.Algorithm, "sha256")], []byte(h.Secret.Reveal()))
	mac.Write([]byte(message))
	sum := hex.EncodeToString(mac.Sum(nil))
	if h.Encoding == "base64" {
		sum = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	if h.Header != "" {
		r.Header.Set(h.Header, h.Prefix+sum)
		return nil
	}
	if r.URL.RawQuery != "" {
		r.URL.RawQuery += "&"
	}
	r.URL.RawQuery += url.QueryEscape(h.Param) + "=" + url.QueryEscape(h.Prefix+sum) // last, as who signs queries has it
	return nil
}

func (j *JWT) token() *token {
	return &token{add: asBearer, own: []string{j.Key.Reveal()}, fetch: func(ctx context.Context, c *client) (issued, error) {
		lifetime := cmp.Or(j.Lifetime, 10*time.Minute)
		text, err := j.sign(time.Now(), lifetime)
		if err != nil {
			return issued{}, retry.Stop(err)
		}
		if j.TokenURL == "" {
			return issued{token: text, until: time.Now().Add(lifetime - min(30*time.Second, lifetime/2))}, nil
		}
		i, _, err := c.grant(ctx, j.TokenURL, nil, url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {text}})
		return i, err
	}}
}

func (j *JWT) sign(now time.Time, lifetime time.Duration) (string, error) {
	header := map[string]any{"alg": j.Algorithm, "typ": "JWT"}
	if j.KeyID != "" {
		header["kid"] = j.KeyID
	}
	claims := map[string]any{"iat": now.Unix(), "exp": now.Add(lifetime).Unix()}
	for name, v := range j.Claims {
		claims[name] = v
	}
	for name, v := range map[string]string{"iss": j.Issuer, "sub": j.Subject, "aud": j.Audience} {
		if v != "" {
			claims[name] = v
		}
	}
	var parts []string
	for _, part := range []any{header, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	message := strings.Join(parts, ".")
	var sum []byte
	if j.Algorithm == algHS256 {
		mac := hmac.New(sha256.New, []byte(j.Key.Reveal()))
		mac.Write([]byte(message))
		sum = mac.Sum(nil)
	} else {
		key, err := j.rsa()
		if err != nil {
			return "", err
		}
		digest := sha256.Sum256([]byte(message))
		if sum, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:]); err != nil {
			return "", fmt.Errorf("signing the JWT: %w", err)
		}
	}
	return message + "." + base64.RawURLEncoding.EncodeToString(sum), nil
}

var errNoKey = errors.New("must be an RSA key in PEM (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY)")

func (j *JWT) rsa() (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(j.Key.Reveal()))
	if block == nil {
		return nil, errNoKey
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if rsaKey, is := key.(*rsa.PrivateKey); err == nil && is {
		return rsaKey, nil
	}
	return nil, errNoKey
}
