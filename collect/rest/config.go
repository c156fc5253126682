package rest

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"headwater/internal/setting"
)

// Resource is what is read page by page.
type Resource struct {
	// URL is http:// or https://.
	URL string `yaml:"url"`
	// Method is GET or POST.
	Method string `yaml:"method"`
	// Params are the query's, beside those that URL has.
	Params map[string]setting.Secret `yaml:"params"`
	// Body is sent as JSON.
	Body     setting.Secret `yaml:"body"`
	Paginate Paginate       `yaml:"paginate"`
	// Format is json, ndjson, csv or xml.
	Format string `yaml:"format"`
	// Records is the jq that gives the items of a page of JSON or XML; without, the whole page is one item.
	Records string `yaml:"records"`
}

// Config is a rest source's.
type Config struct {
	// Resource is that of the items. Its texts, and Headers, may contain {incremental.start} and {incremental.end}.
	Resource `yaml:",inline"`
	// Headers are sent with every request for items.
	Headers map[string]setting.Secret `yaml:"headers"`
	// Every is how long after the beginning of one poll the next one begins.
	Every       time.Duration `yaml:"every"`
	Auth        Auth          `yaml:"auth"`
	XML         XML           `yaml:"xml"`
	Job         Job           `yaml:"job"`
	Children    Children      `yaml:"children"`
	Incremental Incremental   `yaml:"incremental"`
	// RateLimit is how many requests a second may be made; 0 is any number.
	RateLimit float64 `yaml:"rate_limit"`
	// Concurrency is how many requests for children may be on their way at a time.
	Concurrency int `yaml:"concurrency"`
	// Timeout is how long a request may take, to the last byte of its answer.
	Timeout time.Duration `yaml:"timeout"`
	// MaxBody is the greatest length of an answer, decompressed. A source holds one, decoded, at a time, and with children one of these, too, and up to
	// Concurrency less one that are not decoded yet.
	MaxBody setting.Bytes `yaml:"max_body"`
	// MaxPages bounds the pages of a poll.
	MaxPages int `yaml:"max_pages"`
	// AllowHosts are the hosts, besides that of URL, that links and redirects may lead to and that then get the credentials.
	AllowHosts []string `yaml:"allow_hosts"`
	// CA is a file of PEM with the authorities to trust instead of the system's.
	CA string `yaml:"ca"`
}

// Auth has at most one of its fields.
type Auth struct {
	Bearer                  *Bearer            `yaml:"bearer"`
	Basic                   *Basic             `yaml:"basic"`
	APIKey                  *APIKey            `yaml:"api_key"`
	OAuth2ClientCredentials *ClientCredentials `yaml:"oauth2_client_credentials"`
	OAuth2Refresh           *Refresh           `yaml:"oauth2_refresh"`
	JWT                     *JWT               `yaml:"jwt"`
	Session                 *Session           `yaml:"session"`
	SigV4                   *SigV4             `yaml:"sigv4"`
	HMAC                    *HMAC              `yaml:"hmac"`
}

// Bearer is a token that does not change.
type Bearer struct {
	Token setting.Secret `yaml:"token"`
}

// Basic is HTTP's own.
type Basic struct {
	User     string         `yaml:"user"`
	Password setting.Secret `yaml:"password"`
}

// APIKey is a named value.
type APIKey struct {
	// Name is that of the header, parameter or cookie that has Value.
	Name string `yaml:"name"`
	// In is header, query or cookie.
	In    string         `yaml:"in"`
	Value setting.Secret `yaml:"value"`
}

// OAuth2 is where tokens come from.
type OAuth2 struct {
	// TokenURL gives a token to who shows ClientID and ClientSecret, for Scopes if they are given.
	TokenURL     string         `yaml:"token_url"`
	ClientID     string         `yaml:"client_id"`
	ClientSecret setting.Secret `yaml:"client_secret"`
	Scopes       []string       `yaml:"scopes"`
	// ClientAuth is where the client's id and secret go: header (Basic), if it is empty, or body.
	ClientAuth string `yaml:"client_auth"`
	// Params are further ones of the request for a token, as audience.
	Params map[string]setting.Secret `yaml:"params"`
}

// ClientCredentials are a program's own.
type ClientCredentials struct {
	OAuth2 `yaml:",inline"`
}

// Refresh are those of somebody who has logged in once.
type Refresh struct {
	OAuth2 `yaml:",inline"`
	// RefreshToken is the first one; the server may give others in its place.
	RefreshToken setting.Secret `yaml:"refresh_token"`
}

// Session is a request that logs in, and where its token goes.
type Session struct {
	// URL is where one logs in.
	URL string `yaml:"url"`
	// Body is posted, as JSON if it is, otherwise as a form.
	Body setting.Secret `yaml:"body"`
	// Token is the jq of the token in the answer; without, its cookies are sent.
	Token string `yaml:"token"`
	// Header is where the token goes after Prefix; Authorization, if it is empty.
	Header string `yaml:"header"`
	Prefix string `yaml:"prefix"`
}

// JWT is a token that is signed here.
type JWT struct {
	// Algorithm is RS256 or HS256.
	Algorithm string `yaml:"algorithm"`
	// Key is an RSA key in PEM, or the secret of HS256.
	Key setting.Secret `yaml:"key"`
	// KeyID, Issuer, Subject and Audience are its kid, iss, sub and aud, and Claims what else it says.
	KeyID    string            `yaml:"key_id"`
	Issuer   string            `yaml:"issuer"`
	Subject  string            `yaml:"subject"`
	Audience string            `yaml:"audience"`
	Claims   map[string]string `yaml:"claims"`
	// Lifetime is how long it is good for; ten minutes, if it is 0.
	Lifetime time.Duration `yaml:"lifetime"`
	// TokenURL, if not empty, gives a token for it (RFC 7523).
	TokenURL string `yaml:"token_url"`
}

// SigV4 is Amazon's signature.
type SigV4 struct {
	// AccessKeyID and SecretAccessKey sign, and SessionToken goes with those that are given for some hours; Region and Service are what is signed for, as eu-west-1 and execute-api.
	AccessKeyID     string         `yaml:"access_key_id"`
	SecretAccessKey setting.Secret `yaml:"secret_access_key"`
	SessionToken    setting.Secret `yaml:"session_token"`
	Region          string         `yaml:"region"`
	Service         string         `yaml:"service"`
}

// HMAC is a signature over what a request has.
type HMAC struct {
	// Secret is the key of the hash.
	Secret setting.Secret `yaml:"secret"`
	// Algorithm is sha256, if it is empty, sha512 or sha1; Encoding hex, if it is empty, or base64.
	Algorithm string `yaml:"algorithm"`
	Encoding  string `yaml:"encoding"`
	// Message is what is signed, with {method}, {path}, {query}, {body} and {timestamp}.
	Message string `yaml:"message"`
	// Header gets the signature after Prefix, or Param of the query, which {query} then is without.
	Header string `yaml:"header"`
	Prefix string `yaml:"prefix"`
	Param  string `yaml:"param"`
	// TimestampHeader or TimestampParam gets the timestamp: s, if TimestampFormat is empty, ms or iso.
	TimestampHeader string `yaml:"timestamp_header"`
	TimestampParam  string `yaml:"timestamp_param"`
	TimestampFormat string `yaml:"timestamp_format"`
}

// Paginate has at most one of the ways to find the next page, and what else the pages say of themselves.
type Paginate struct {
	Cursor       *Cursor       `yaml:"cursor"`
	PageNumber   *PageNumber   `yaml:"page_number"`
	Offset       *Offset       `yaml:"offset"`
	Link         *Link         `yaml:"link"`
	LinkHeader   *LinkHeader   `yaml:"link_header"`
	HeaderCursor *HeaderCursor `yaml:"header_cursor"`
	// More is a jq that is false or null on the last page.
	More string `yaml:"more"`
	// Total is a jq that gives how many items all pages have.
	Total string `yaml:"total"`
	// Reread has windows of several pages read until nothing new is found, because items that move between pages meanwhile are missed.
	Reread bool `yaml:"reread"`
}

// Cursor is a value on a page that asks for the next one; it ends where the value is null or empty.
type Cursor struct {
	// Path is the jq of the value.
	Path string `yaml:"path"`
	// Param is the query parameter that takes it.
	Param string `yaml:"param"`
	// Body is the jq path of its place in a body of JSON, instead of Param.
	Body string `yaml:"body"`
}

// PageNumber counts pages until one is empty.
type PageNumber struct {
	// Param is the query parameter that takes the number, or Body the jq path of its place in a body of JSON.
	Param string `yaml:"param"`
	Body  string `yaml:"body"`
	// Start is the number of the first page; 1 if it is nil.
	Start *int64 `yaml:"start"`
}

// Offset counts items until a page is empty.
type Offset struct {
	// Param is the query parameter that takes how many items to leave out, or Body the jq path of its place in a body of JSON.
	Param string `yaml:"param"`
	Body  string `yaml:"body"`
	// LimitParam, if not empty, is sent as Limit.
	LimitParam string `yaml:"limit_param"`
	Limit      int64  `yaml:"limit"`
}

// Link is the address of the next page, on the page.
type Link struct {
	// Path is the jq of the address.
	Path string `yaml:"path"`
}

// LinkHeader is that of RFC 8288, with rel=next.
type LinkHeader struct{}

// HeaderCursor is a Cursor in a header of the answer.
type HeaderCursor struct {
	// Header is the name of the answer's header, and Param that of the query parameter that takes its value.
	Header string `yaml:"header"`
	Param  string `yaml:"param"`
}

// Incremental has a source read what is new since the last poll; without Path every poll reads everything.
type Incremental struct {
	// Path is the jq that gives an item's time of change, or number.
	Path string `yaml:"path"`
	// Format is how these are spelled: iso, s, ms, date or integer.
	Format string `yaml:"format"`
	// Initial is where the first window begins.
	Initial string `yaml:"initial"`
	// Lag is how much later than others an item may become visible: windows overlap by it.
	Lag time.Duration `yaml:"lag"`
	// Step is the length of windows of the past; 0 is one window up to now.
	Step time.Duration `yaml:"step"`
	// Order is ascending if items come in the order of Path, or any.
	Order string `yaml:"order"`
	// Key is the jq that names an item, for items whose other bytes change although Path does not.
	Key string `yaml:"key"`
	// MaxSeen is how many items of a window, or of the overlap of two, are remembered.
	MaxSeen int `yaml:"max_seen"`
}

const (
	methodGet  = "GET"
	methodPost = "POST"

	formatJSON   = "json"
	formatNDJSON = "ndjson"
	formatCSV    = "csv"
	formatXML    = "xml"

	inHeader = "header"
	inQuery  = "query"
	inCookie = "cookie"
	inBody   = "body"

	spellISO     = "iso"
	spellSeconds = "s"
	spellMillis  = "ms"
	spellDate    = "date"
	spellInteger = "integer"

	orderAny       = "any"
	orderAscending = "ascending"
)

// DefaultConfig is what holds for a setting that is not given.
func DefaultConfig() Config {
	return Config{
		Resource: defaultResource(), Every: 5 * time.Minute, Timeout: time.Minute, MaxBody: 32 << 20, MaxPages: 100_000, Concurrency: 1,
		Job:         Job{Every: 10 * time.Second, Deadline: time.Hour},
		Children:    Children{Resource: defaultResource(), NotFound: notFoundMalformed},
		Incremental: Incremental{Format: spellISO, Lag: time.Minute, Order: orderAny, MaxSeen: 100_000},
	}
}

func defaultResource() Resource {
	return Resource{Method: methodGet, Format: formatJSON, Paginate: Paginate{Reread: true}}
}

// checker collects faults below a path.
type checker struct {
	faults *setting.Faults
	path   []string
}

func (k checker) at(names ...string) checker {
	return checker{k.faults, slices.Concat(k.path, names)}
}

func (k checker) fault(key, format string, args ...any) {
	k.faults.Add(slices.Concat(k.path, []string{key}), format, args...)
}

func (k checker) needed(key, value, as string) {
	if value == "" {
		k.fault(key, "is missing: write %s", as)
	}
}

func (k checker) oneOf(key, value string, choices ...string) {
	if !slices.Contains(choices, value) {
		k.fault(key, "must be one of %s, got %q", strings.Join(choices, ", "), value)
	}
}

// jq wants a query that compiles, or nothing.
func (k checker) jq(key, text string) {
	if text == "" {
		return
	}
	if _, err := compile(text); err != nil {
		k.fault(key, "is no jq: %v", err)
	}
}

// address wants a URL without what belongs elsewhere.
func (k checker) address(key, text string) {
	u, err := url.Parse(text)
	switch {
	case text == "":
		k.fault(key, "is missing: write an address as https://api.example/v2/orders")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Fragment != "":
		k.fault(key, "must be an address as https://api.example/v2/orders")
	case u.User != nil:
		k.fault(key, "must not have a user or a password: use auth.basic")
	}
}

// Validate returns every fault of the configuration.
func (c *Config) Validate() setting.Faults {
	var f setting.Faults
	k := checker{faults: &f}
	k.address("url", window("0", "0").plain.Replace(c.URL))
	c.Resource.check(k)
	c.XML.check(k.at("xml"), c)
	for name := range c.Headers {
		if name == "" || strings.ContainsAny(name, " :\r\n") {
			k.at("headers").fault(name, "must be the name of a header")
		}
	}
	if c.Every <= 0 {
		k.fault("every", "must be positive, got %v", c.Every)
	}
	if c.Timeout <= 0 {
		k.fault("timeout", "must be positive, got %v", c.Timeout)
	}
	if c.RateLimit < 0 {
		k.fault("rate_limit", "must be requests a second, or 0 for any number, got %v", c.RateLimit)
	}
	switch {
	case c.Concurrency < 1 || c.Concurrency > 64:
		k.fault("concurrency", "must be from 1 to 64, got %d", c.Concurrency)
	case c.Concurrency > 1 && c.Children.URL == "":
		k.fault("concurrency", "is of requests for children, and there are none: remove it")
	}
	if c.MaxBody < 1 || c.MaxBody > 1<<30 {
		k.fault("max_body", "must be from 1B to 1GiB, got %s", c.MaxBody)
	}
	if c.MaxPages < 1 {
		k.fault("max_pages", "must be positive, got %d", c.MaxPages)
	}
	c.Auth.check(k.at("auth"))
	c.checkIncremental(k.at("incremental"))
	c.Job.check(k.at("job"), c)
	c.Children.check(k.at("children"), c)
	return f
}

// check finds the faults of a resource but for those of its address.
func (r *Resource) check(k checker) {
	k.oneOf("method", r.Method, methodGet, methodPost)
	k.oneOf("format", r.Format, formatJSON, formatNDJSON, formatCSV, formatXML)
	k.jq("records", r.Records)
	if r.Body != "" && r.Method == methodGet {
		k.fault("body", "needs method: POST")
	}
	r.checkPaginate(k, k.at("paginate"))
}

// single wants at most one of the pointers to be set.
func (k checker) single(given map[string]bool) {
	var names []string
	for name, is := range given {
		if is {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > 1 {
		k.fault(names[1], "is a second way beside %s: keep one", names[0])
	}
}

func (a *Auth) check(k checker) {
	k.single(map[string]bool{
		"bearer": a.Bearer != nil, "basic": a.Basic != nil, "api_key": a.APIKey != nil,
		"oauth2_client_credentials": a.OAuth2ClientCredentials != nil, "oauth2_refresh": a.OAuth2Refresh != nil, "session": a.Session != nil,
		"jwt": a.JWT != nil, "sigv4": a.SigV4 != nil, "hmac": a.HMAC != nil,
	})
	if a.Bearer != nil {
		k.at("bearer").needed("token", a.Bearer.Token.Reveal(), "the token as ${NAME}")
	}
	if a.Basic != nil {
		k.at("basic").needed("user", a.Basic.User, "the user's name")
	}
	if a.APIKey != nil {
		k := k.at("api_key")
		k.needed("name", a.APIKey.Name, "what the API calls it, as X-Api-Key")
		k.needed("value", a.APIKey.Value.Reveal(), "the key as ${NAME}")
		k.oneOf("in", a.APIKey.In, inHeader, inQuery, inCookie)
	}
	a.checkTokens(k)
	a.checkSigned(k)
}

// checkTokens is about those that are fetched.
func (a *Auth) checkTokens(k checker) {
	oauth2 := func(k checker, o *OAuth2) {
		k.address("token_url", o.TokenURL)
		k.needed("client_id", o.ClientID, "what the API calls this program")
		k.oneOf("client_auth", cmp.Or(o.ClientAuth, inHeader), inHeader, inBody)
	}
	if a.OAuth2ClientCredentials != nil {
		k := k.at("oauth2_client_credentials")
		oauth2(k, &a.OAuth2ClientCredentials.OAuth2)
		k.needed("client_secret", a.OAuth2ClientCredentials.ClientSecret.Reveal(), "the secret as ${NAME}")
	}
	if a.OAuth2Refresh != nil {
		k := k.at("oauth2_refresh")
		oauth2(k, &a.OAuth2Refresh.OAuth2)
		k.needed("refresh_token", a.OAuth2Refresh.RefreshToken.Reveal(), "the token as ${NAME}")
	}
	if a.Session != nil {
		k := k.at("session")
		k.address("url", a.Session.URL)
		k.needed("body", a.Session.Body.Reveal(), `what logs in, as {"user":"me","password":"${NAME}"}`)
		k.jq("token", a.Session.Token)
		if a.Session.Token == "" && a.Session.Header+a.Session.Prefix != "" {
			k.fault("token", "is missing: write where the answer has what goes into the header, as .token")
		}
	}
}

// checkSigned is about what is made here of a key.
func (a *Auth) checkSigned(k checker) {
	if j := a.JWT; j != nil {
		k := k.at("jwt")
		k.oneOf("algorithm", j.Algorithm, algRS256, algHS256)
		k.needed("key", j.Key.Reveal(), "the key as ${file:/run/secrets/key.pem}")
		if j.Algorithm == algRS256 && j.Key != "" {
			if _, err := j.rsa(); err != nil {
				k.fault("key", "%v", err)
			}
		}
		if j.Lifetime < 0 {
			k.fault("lifetime", "must not be negative, got %v", j.Lifetime)
		}
		if j.TokenURL != "" {
			k.address("token_url", j.TokenURL)
		}
	}
	if v := a.SigV4; v != nil {
		k := k.at("sigv4")
		k.needed("access_key_id", v.AccessKeyID, "the key's id")
		k.needed("secret_access_key", v.SecretAccessKey.Reveal(), "the key as ${NAME}")
		k.needed("region", v.Region, "the region, as eu-west-1")
		k.needed("service", v.Service, "what Amazon calls the service, as execute-api")
	}
	if h := a.HMAC; h != nil {
		k := k.at("hmac")
		k.needed("secret", h.Secret.Reveal(), "the key as ${NAME}")
		k.needed("message", h.Message, "what is signed, as {timestamp}{method}{path}{body}")
		k.oneOf("algorithm", cmp.Or(h.Algorithm, "sha256"), "sha256", "sha512", "sha1")
		k.oneOf("encoding", cmp.Or(h.Encoding, "hex"), "hex", "base64")
		k.oneOf("timestamp_format", cmp.Or(h.TimestampFormat, spellSeconds), spellSeconds, spellMillis, spellISO)
		if (h.Header == "") == (h.Param == "") {
			k.fault("header", "or param is needed, and only one of them: write where the signature goes")
		}
	}
}

// documents says whether a page of the format is one that jq reads.
func documents(format string) bool { return format == formatJSON || format == formatXML }

func (x *XML) check(k checker, c *Config) {
	if len(x.Arrays) > 0 && c.Format != formatXML && c.Children.Format != formatXML {
		k.fault("arrays", "goes with format: xml")
	}
	for _, name := range x.Arrays {
		if name == "" || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.ContainsAny(name, "[]<> ") {
			k.fault("arrays", "must be names of elements, or ends of their paths as lines/line, or *, got %q", name)
		}
	}
}

func (r *Resource) checkPaginate(whole, k checker) {
	p := &r.Paginate
	k.single(map[string]bool{
		"cursor": p.Cursor != nil, "page_number": p.PageNumber != nil, "offset": p.Offset != nil,
		"link": p.Link != nil, "link_header": p.LinkHeader != nil, "header_cursor": p.HeaderCursor != nil,
	})
	place := func(k checker, param, body string) {
		switch {
		case param == "" && body == "":
			k.fault("param", "is missing: write the query parameter that takes it")
		case param != "" && body != "":
			k.fault("body", "is a second place beside param: keep one")
		case body != "" && r.Method != methodPost:
			k.fault("body", "needs method: POST")
		}
		if body != "" {
			k.jq("body", body)
		}
	}
	if p.Cursor != nil {
		k := k.at("cursor")
		k.needed("path", p.Cursor.Path, "where a page has it, as .meta.next")
		k.jq("path", p.Cursor.Path)
		place(k, p.Cursor.Param, p.Cursor.Body)
	}
	if p.PageNumber != nil {
		place(k.at("page_number"), p.PageNumber.Param, p.PageNumber.Body)
	}
	if p.Offset != nil {
		k := k.at("offset")
		place(k, p.Offset.Param, p.Offset.Body)
		if (p.Offset.LimitParam != "") != (p.Offset.Limit > 0) {
			k.fault("limit", "goes with limit_param: write both, or have it in params")
		}
	}
	if p.Link != nil {
		k := k.at("link")
		k.needed("path", p.Link.Path, "where a page has it, as .links.next")
		k.jq("path", p.Link.Path)
	}
	if p.HeaderCursor != nil {
		k := k.at("header_cursor")
		k.needed("header", p.HeaderCursor.Header, "the name of the header")
		k.needed("param", p.HeaderCursor.Param, "the query parameter that takes it")
	}
	k.jq("more", p.More)
	k.jq("total", p.Total)
	if !documents(r.Format) && (p.Cursor != nil || p.Link != nil || p.More != "" || p.Total != "" || r.Records != "") {
		whole.fault("format", "must be json or xml for paginate's paths and for records, got %q", r.Format)
	}
	if counted := p.PageNumber != nil || p.Offset != nil; counted && documents(r.Format) && r.Records == "" {
		whole.fault("records", "is missing: pages are counted until one has no records")
	}
}

func (c *Config) checkIncremental(k checker) {
	inc := &c.Incremental
	uses := func(name string) bool { return c.mentions("{incremental." + name + "}") }
	if inc.Path == "" {
		if uses("start") || uses("end") {
			k.fault("path", "is missing: write where an item has its time of change, as .updated_at")
		}
		return
	}
	k.jq("path", inc.Path)
	k.jq("key", inc.Key)
	k.oneOf("format", inc.Format, spellISO, spellSeconds, spellMillis, spellDate, spellInteger)
	k.oneOf("order", inc.Order, orderAny, orderAscending)
	if _, err := inc.parse(inc.Initial); err != nil {
		k.fault("initial", "must be where to begin, in the format %s, got %q", inc.Format, inc.Initial)
	}
	if inc.Lag < 0 {
		k.fault("lag", "must not be negative, got %v", inc.Lag)
	}
	if inc.MaxSeen < 1 || inc.MaxSeen > 10_000_000 {
		k.fault("max_seen", "must be from 1 to 10000000, got %d", inc.MaxSeen)
	}
	switch {
	case inc.Step == 0:
	case inc.Format == spellInteger:
		k.fault("step", "is a time: numbers have none")
	case inc.Step <= inc.Lag:
		k.fault("step", "must be more than lag (%v), got %v", inc.Lag, inc.Step)
	case !uses("end"):
		k.fault("step", "needs {incremental.end} in params, url, headers or body")
	case inc.Order == orderAscending:
		k.fault("step", "has no use with order: ascending")
	}
	if inc.Order == orderAscending && !uses("start") {
		k.fault("order", "ascending needs {incremental.start} in params, url, headers or body")
	}
}

// mentions says whether a request has the placeholder anywhere.
func (c *Config) mentions(placeholder string) bool {
	texts := c.texts()
	for _, v := range c.Headers {
		texts = append(texts, v.Reveal())
	}
	return slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, placeholder) })
}

// texts are those of a request that may have placeholders.
func (r *Resource) texts() []string {
	texts := []string{r.URL, r.Body.Reveal()}
	for _, v := range r.Params {
		texts = append(texts, v.Reveal())
	}
	return texts
}
