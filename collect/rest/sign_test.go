package rest

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

// TestSigV4Vector is the example of Amazon's documentation of the signature.
func TestSigV4Vector(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)))
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", nil)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		v := SigV4{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Region: "us-east-1", Service: "iam"}
		if err := v.sign(r, nil); err != nil {
			t.Fatal(err)
		}
		const want = "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
		if got := r.Header.Get("Authorization"); !strings.HasSuffix(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// TestSigV4Server: a real server that checks the signature lets a right one through, to an answer of XML.
func TestSigV4Server(t *testing.T) {
	t.Parallel()
	server := fixture.NewS3(t)
	server.Bucket(t, "some")
	b := newBench(t, nil)
	b.c.URL = server.Endpoint + "/some"
	b.c.Params = map[string]setting.Secret{"list-type": "2", "prefix": "a b/ü+"}
	b.c.Auth.SigV4 = &SigV4{AccessKeyID: "root", SecretAccessKey: "rootsecret123", Region: "us-east-1", Service: "s3"}
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "HTML or XML") || !strings.Contains(err.Error(), "ListBucketResult") {
		t.Errorf("with the right key: %v", err)
	}
	b.c.Auth.SigV4.SecretAccessKey = "rootsecret124"
	if err := b.once(); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "rootsecret") {
		t.Errorf("with a wrong key: %v", err)
	}
}

// TestHMAC: an API that signs as some exchanges of coins do, over the header's time, and one that wants all in the query.
func TestHMAC(t *testing.T) {
	t.Parallel()
	sign := func(message string) []byte {
		mac := hmac.New(sha256.New, []byte("s3cret-key"))
		mac.Write([]byte(message))
		return mac.Sum(nil)
	}
	recent := func(text string, unit time.Duration) bool {
		n, err := strconv.ParseInt(text, 10, 64)
		return err == nil && time.Since(time.Unix(0, n*int64(unit))).Abs() < time.Minute
	}
	for name, c := range map[string]struct {
		h     HMAC
		check func(r *http.Request, body string) bool
	}{
		"header": {
			HMAC{Message: "{timestamp}{method}{path}?{query}{body}", Encoding: "base64", Header: "X-Sign", Prefix: "v1=", TimestampHeader: "X-Time"},
			func(r *http.Request, body string) bool {
				at := r.Header.Get("X-Time")
				want := base64.StdEncoding.EncodeToString(sign(at + r.Method + r.RequestURI + body))
				return recent(at, time.Second) && r.Header.Get("X-Sign") == "v1="+want && body == `{"a":1}`
			},
		},
		"query": {
			HMAC{Message: "{query}", Param: "signature", TimestampParam: "timestamp", TimestampFormat: spellMillis},
			func(r *http.Request, _ string) bool {
				query, signature, _ := strings.Cut(r.URL.RawQuery, "&signature=")
				return recent(r.FormValue("timestamp"), time.Millisecond) && signature == hex.EncodeToString(sign(query)) && r.FormValue("z") == "1"
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if !c.check(r, string(body)) {
					http.Error(w, "wrong", http.StatusForbidden)
					return
				}
				reply(w, map[string]any{"data": slice(10*(number(r, "page", 1)-1), 10)})
			})
			b.c.Method, b.c.Body = methodPost, `{"a":1}`
			b.c.Params = map[string]setting.Secret{"z": "1"}
			b.c.Paginate.PageNumber = &PageNumber{Param: "page"}
			c.h.Secret = "s3cret-key"
			b.c.Auth.HMAC = &c.h
			b.must()
			b.expect(numbers(0, 25)...)
		})
	}
}

// TestJWT: what is signed is what the key's other half reads, and it is exchanged for a token where there is an address for that.
func TestJWT(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	read := func(text string) (claims map[string]any, err error) {
		parts := strings.Split(text, ".")
		if len(parts) != 3 {
			return nil, fmt.Errorf("%d parts", len(parts))
		}
		sum, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			return nil, err
		}
		head, err := base64.RawURLEncoding.DecodeString(parts[0])
		if err != nil {
			return nil, err
		}
		if strings.Contains(string(head), `"RS256"`) && strings.Contains(string(head), `"kid":"k1"`) {
			digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
			if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], sum); err != nil {
				return nil, err
			}
		} else {
			mac := hmac.New(sha256.New, []byte("s3cret-key"))
			mac.Write([]byte(parts[0] + "." + parts[1]))
			if !hmac.Equal(mac.Sum(nil), sum) || !strings.Contains(string(head), `"HS256"`) {
				return nil, fmt.Errorf("a wrong signature of %s", head)
			}
		}
		text2, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			return nil, err
		}
		return claims, json.Unmarshal(text2, &claims)
	}
	for name, j := range map[string]JWT{
		"pkcs1": {Algorithm: algRS256, KeyID: "k1", Key: setting.Secret(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))},
		"pkcs8": {Algorithm: algRS256, KeyID: "k1", Key: setting.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})), TokenURL: "/login"},
		"HS256": {Algorithm: algHS256, Key: "s3cret-key", Lifetime: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := func(text string) bool {
				claims, err := read(text)
				if err != nil || claims["iss"] != "me" || claims["aud"] != "them" || claims["scope"] != "all" || claims["sub"] != nil {
					t.Errorf("%v: %v", claims, err)
					return false
				}
				return claims["exp"].(float64)-claims["iat"].(float64) == max(600, j.Lifetime.Seconds())
			}
			b := newBench(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/login" {
					if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || !good(r.FormValue("assertion")) {
						w.WriteHeader(http.StatusBadRequest)
					}
					reply(w, map[string]any{"access_token": "s3cret-token"})
					return
				}
				text := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				if j.TokenURL != "" && text != "s3cret-token" || j.TokenURL == "" && !good(text) {
					w.WriteHeader(http.StatusForbidden)
				}
				reply(w, map[string]any{"data": slice(0, 3)})
			})
			if j.TokenURL != "" {
				j.TokenURL = b.server.URL + j.TokenURL
			}
			j.Issuer, j.Audience, j.Claims = "me", "them", map[string]string{"scope": "all"}
			b.c.Auth.JWT = &j
			b.must()
			b.expect(numbers(0, 3)...)
		})
	}
}
