package rest

import (
	"strings"
	"testing"
	"time"

	"headwater/internal/setting"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  func(c *Config)
		want []string // key: part of the text
	}{
		"nothing":  {func(c *Config) { *c = Config{} }, []string{"url: is missing", "method: must be", "format: must be", "every: must be", "timeout: must be", "concurrency: must be", "max_body: must be", "max_pages: must be"}},
		"a user":   {func(c *Config) { c.URL = "https://me:s3cret@api.example/" }, []string{"url: must not have a user"}},
		"a scheme": {func(c *Config) { c.URL = "ftp://api.example/" }, []string{"url: must be an address"}},
		"a window in the address": {func(c *Config) {
			c.URL = "https://api.example/{incremental.start}"
		}, []string{"incremental.path: is missing"}},
		"odd": {func(c *Config) {
			c.Records, c.Headers, c.Body, c.RateLimit = ".data[", map[string]setting.Secret{"a b": ""}, "{}", -1
		}, []string{"records: is no jq", "headers.a b: must be", "body: needs method: POST", "rate_limit: must be"}},
		"two logins": {func(c *Config) { c.Auth = Auth{Bearer: &Bearer{}, Basic: &Basic{}} }, []string{
			"auth.bearer: is a second way beside basic", "auth.bearer.token: is missing", "auth.basic.user: is missing",
		}},
		"a key": {func(c *Config) { c.Auth.APIKey = &APIKey{In: "body"} }, []string{"auth.api_key.name: is", "auth.api_key.value: is", "auth.api_key.in: must be one of header, query, cookie"}},
		"tokens": {func(c *Config) {
			c.Auth.OAuth2ClientCredentials = &ClientCredentials{OAuth2{ClientAuth: "query"}}
		}, []string{
			"auth.oauth2_client_credentials.token_url: is missing", "auth.oauth2_client_credentials.client_id: is", "auth.oauth2_client_credentials.client_secret: is",
			"auth.oauth2_client_credentials.client_auth: must be one of header, body",
		}},
		"a refresh token": {func(c *Config) {
			c.Auth.OAuth2Refresh = &Refresh{OAuth2: OAuth2{TokenURL: "https://a.example/", ClientID: "me"}}
		}, []string{"auth.oauth2_refresh.refresh_token: is missing"}},
		"a session": {func(c *Config) { c.Auth.Session = &Session{Prefix: "Bearer "} }, []string{
			"auth.session.url: is missing", "auth.session.body: is missing", "auth.session.token: is missing",
		}},
		"signatures": {func(c *Config) {
			c.Auth = Auth{SigV4: &SigV4{}}
		}, []string{"auth.sigv4.access_key_id: is", "auth.sigv4.secret_access_key: is", "auth.sigv4.region: is", "auth.sigv4.service: is"}},
		"hashes": {func(c *Config) {
			c.Auth = Auth{HMAC: &HMAC{Algorithm: "md5", Encoding: "hex64", TimestampFormat: "us"}}
		}, []string{
			"auth.hmac.secret: is", "auth.hmac.message: is", "auth.hmac.algorithm: must be", "auth.hmac.encoding: must be", "auth.hmac.timestamp_format: must be", "auth.hmac.header: or param",
		}},
		"a JWT": {func(c *Config) {
			c.Auth = Auth{JWT: &JWT{Algorithm: algRS256, Key: "s3cret", Lifetime: -1, TokenURL: "x"}}
		}, []string{"auth.jwt.key: must be an RSA key", "auth.jwt.lifetime: must not", "auth.jwt.token_url: must be"}},
		"two ways": {func(c *Config) {
			c.Records, c.Paginate.Cursor, c.Paginate.Link = ".[]", &Cursor{Path: "]", Param: "a", Body: ".b"}, &Link{}
		}, []string{
			"paginate.link: is a second way beside cursor", "paginate.cursor.path: is no jq", "paginate.cursor.body: is a second place", "paginate.link.path: is missing",
		}},
		"pages without records": {func(c *Config) { c.Paginate.PageNumber = &PageNumber{} }, []string{"paginate.page_number.param: is missing", "records: is missing"}},
		"offset": {func(c *Config) {
			c.Records, c.Paginate.Offset = ".[]", &Offset{Body: ".a", Limit: 5}
		}, []string{"paginate.offset.body: needs method: POST", "paginate.offset.limit: goes with limit_param"}},
		"cursors": {func(c *Config) {
			c.Paginate = Paginate{HeaderCursor: &HeaderCursor{}, More: "(", Total: "("}
		}, []string{"paginate.header_cursor.header: is", "paginate.header_cursor.param: is", "paginate.more: is no jq", "paginate.total: is no jq"}},
		"csv":    {func(c *Config) { c.Format, c.Records = formatCSV, ".[]" }, []string{"format: must be json or xml"}},
		"arrays": {func(c *Config) { c.XML.Arrays = []string{"/a", "*", "b/c"} }, []string{"xml.arrays: goes with", "xml.arrays: must be names"}},
		"a job": {func(c *Config) {
			c.Job = Job{ID: "(", Poll: "ftp://a", PollBody: "{incremental.start}", Failed: "(", Link: "(", Every: -1}
			c.Paginate.Cursor, c.Records, c.Method = &Cursor{Path: ".a", Body: ".a"}, ".[]", methodPost
			c.Headers = map[string]setting.Secret{"A": "{incremental.start}"}
			c.Incremental.Path, c.Incremental.Initial, c.Incremental.Format = ".a", "0", spellInteger
		}, []string{
			"job.id: is no jq", "job.poll: is no jq", "job.poll_body: cannot have {incremental", "job.done: is missing", "job.failed: is no jq", "job.link: is no jq", "job.download: is missing",
			"job.poll: cannot go with {incremental", "job.every: must be", "job.deadline: must be", "job.download: has no body", "job.done: cannot go with incremental.format: integer",
		}},
		"a job in order": {func(c *Config) {
			c.Job.Poll, c.Job.Done, c.Job.Download = "http://me@api.example/{job.id}", ".a", "https:///{job.id}"
			c.URL = "https://api.example/{incremental.start}"
			c.Incremental.Path, c.Incremental.Initial, c.Incremental.Order = ".a", "2026-01-01", orderAscending
		}, []string{
			"job.poll: must not have a user", "job.download: must be an address", "job.id: is missing", "job.done: cannot go with incremental.order: ascending",
		}},
		"children": {func(c *Config) {
			c.Children.URL, c.Children.NotFound, c.Children.Format, c.Children.Body = "https://api.example/lines", "skip", "yaml", "{incremental.start}"
			c.Children.Include, c.Children.Key = map[string]string{"a": "("}, ")"
		}, []string{
			"children.url: has nothing of the item", "children.not_found: must be one of", "children.format: must be one of", "children.body: needs method", "children.include.a: is no jq",
			"children.key: is no jq", "children.url: and what else",
		}},
		"children of nobody": {func(c *Config) { c.Children.Records = ".[]" }, []string{"children.url: is missing"}},
		"at once":            {func(c *Config) { c.Concurrency, c.Children.URL = 65, "https://api.example/{parent.id}" }, []string{"concurrency: must be from 1 to 64, got 65"}},
		"one at once":        {func(c *Config) { c.Concurrency = 2 }, []string{"concurrency: is of requests for children"}},
		"a child's address":  {func(c *Config) { c.Children.URL = "/lines/{parent.id}" }, []string{"children.url: must be an address"}},
		"a child's jq": {func(c *Config) {
			c.Children.URL = "{parent..[}"
			c.Headers = map[string]setting.Secret{"A": "{incremental.start}"}
			c.Incremental.Path, c.Incremental.Initial = ".a", "2026-01-01"
		}, []string{"children.url: is no jq", "children.url: cannot go with"}},
		"incremental": {func(c *Config) {
			c.Incremental = Incremental{Path: ".a", Format: "rfc", Initial: "yesterday", Lag: -1, Order: "down", Step: time.Second}
		}, []string{
			"incremental.format: must be", "incremental.initial: must be where to begin", "incremental.lag: must not", "incremental.order: must be",
			"incremental.max_seen: must be", "incremental.step: needs {incremental.end}",
		}},
		"a short step": {func(c *Config) {
			c.Params = map[string]setting.Secret{"to": "{incremental.end}"}
			c.Incremental.Path, c.Incremental.Initial, c.Incremental.Step = ".a", "2026-01-01", time.Minute
		}, []string{"incremental.step: must be more than lag"}},
		"steps of numbers": {func(c *Config) {
			c.Incremental.Path, c.Incremental.Initial, c.Incremental.Format, c.Incremental.Step = ".a", "0", spellInteger, time.Hour
		}, []string{"incremental.step: is a time"}},
		"an order that is of no use": {func(c *Config) {
			c.Incremental.Path, c.Incremental.Initial, c.Incremental.Order = ".a", "2026-01-01", orderAscending
		}, []string{"incremental.order: ascending needs {incremental.start}"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := DefaultConfig()
			config.URL = "https://api.example/"
			c.set(&config)
			var got []string
			for _, f := range config.Validate() {
				got = append(got, f.String())
			}
			for _, want := range c.want {
				found := 0
				for _, g := range got {
					if strings.HasPrefix(g, want) {
						found++
					}
				}
				if found != 1 {
					t.Errorf("%q is there %d times", want, found)
				}
			}
			if len(got) != len(c.want) {
				t.Errorf("the faults are %q", got)
			}
			if strings.Contains(strings.Join(got, ""), "s3cret") {
				t.Errorf("a secret is in %q", got)
			}
		})
	}
}
