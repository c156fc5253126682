package flow

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"

	"headwater/tests/binary"
)

// Every SECRET is one of its own. What answers at HTTP is a server that refuses, and says back all that it was told; what does not is nobody.
const secretSources = `
database: market
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0"}
serialize: {schedule: "", spark: {conf: {spark.hadoop.fs.s3a.secret.key: "SECRET"}}}
access:
  users: {ann: {password: "SECRET", groups: [ops]}, bob: {password: "SECRET"}}
  operate: [ops]
  tables: [bob]
sources:
  hooks: {push: {token: "SECRET"}}
  signed: {push: {hmac: {header: X-Signature, secret: "SECRET"}}}
  feed:
    websocket:
      url: WS
      headers: {Authorization: "Bearer SECRET"}
      send: ['{"key":"SECRET"}']
      sequence: {path: $.seq}
      catch_up: {url: "HTTP/feed", number: .seq, params: {from: "{from}", to: "{to}", key: "SECRET"}, headers: {X-Key: "SECRET"}}
  partner: {sftp: {url: "sftp://u@127.0.0.1:1/*.csv", private_key: "${PRIVATE_KEY}", passphrase: "${PASSPHRASE}", password: "SECRET", insecure_ignore_host_key: true, every: 1s}}
  supplier: {ftp: {url: "ftp://u@127.0.0.1:1/*.csv", tls: none, password: "SECRET", every: 1s}}
  queue: {amqp: {url: "amqp://u@127.0.0.1:1/", password: "SECRET", queue: orders}}
  plant: {mqtt: {url: "mqtt://u@127.0.0.1:1", password: "SECRET", topics: [a]}}
  events: {redis: {url: "redis://u@127.0.0.1:1/0", password: "SECRET", stream: events}}
  shipments: {nats: {url: "nats://u@127.0.0.1:1", password: "SECRET", stream: SHIPMENTS}}
  elsewhere: {kafka: {brokers: ["127.0.0.1:1"], topics: [a], sasl: {mechanism: PLAIN, username: u, password: "SECRET"}}}
  bearer:
    rest:
      url: HTTP/bearer
      every: 1s
      method: POST
      params: {key: "SECRET"}
      headers: {X-Key: "SECRET"}
      body: '{"key":"SECRET"}'
      auth: {bearer: {token: "SECRET"}}
      children: {url: "HTTP/{parent.id}", method: POST, params: {key: "SECRET"}, body: '{"key":"SECRET"}', records: ".[]"}
  basic: {rest: {url: HTTP/basic, every: 1s, auth: {basic: {user: u, password: "SECRET"}}}}
  key: {rest: {url: HTTP/key, every: 1s, auth: {api_key: {name: key, in: query, value: "SECRET"}}}}
  client: {rest: {url: HTTP/client, every: 1s, auth: {oauth2_client_credentials: {token_url: HTTP/token, client_id: c, client_secret: "SECRET", params: {more: "SECRET"}}}}}
  refresh: {rest: {url: HTTP/refresh, every: 1s, auth: {oauth2_refresh: {token_url: HTTP/token, client_id: c, client_secret: "SECRET", refresh_token: "SECRET", params: {more: "SECRET"}}}}}
  jwt: {rest: {url: HTTP/jwt, every: 1s, auth: {jwt: {algorithm: HS256, key: "SECRET", token_url: HTTP/token}}}}
  session: {rest: {url: HTTP/session, every: 1s, auth: {session: {url: HTTP/login, body: '{"password":"SECRET"}', token: ".token"}}}}
  sigv4: {rest: {url: HTTP/sigv4, every: 1s, auth: {sigv4: {access_key_id: a, secret_access_key: "SECRET", session_token: "SECRET", region: r, service: s}}}}
  hmac: {rest: {url: HTTP/hmac, every: 1s, auth: {hmac: {secret: "SECRET", message: "{path}", header: X-Signature}}}}
  job: {rest: {url: HTTP/job, every: 1s, method: POST, job: {id: ".id", poll: "HTTP/{job.id}", poll_body: '{"key":"SECRET"}', done: ".done", download: ".url"}}}
notify: [{url: "HTTP/SECRET", template: '{"text": {{json .Text}}, "key": "SECRET"}', headers: {Authorization: "Bearer SECRET"}}]
`

// secretPeers has the peers that a pipeline has instead of what is embedded.
const secretPeers = `
database: market
listen: {http: "127.0.0.1:0"}
state: "postgres://u:SECRET@127.0.0.1:1/d"
kafka: {brokers: ["127.0.0.1:1"], sasl: {mechanism: SCRAM-SHA-512, username: u, password: "SECRET"}}
hive: {uris: ["thrift://127.0.0.1:1"], sasl: {mechanism: PLAIN, username: u, password: "SECRET"}}
sources: {a: {push: {}}}
`

// TestSecrets sets every key that has a secret, and looks for them in all that a process says and keeps.
func TestSecrets(t *testing.T) {
	t.Parallel()
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, "refused: %s %v %s", r.URL, r.Header, body)
	}))
	t.Cleanup(echo.Close)
	s := &secrets{t: t, private: privateKey(t)}
	sources := s.fill(strings.NewReplacer("HTTP", echo.URL, "WS", strings.Replace(echo.URL, "http", "ws", 1)+"/feed").Replace(secretSources))
	peers := s.fill(secretPeers)
	p := binary.New(t, binary.Build(t), sources)
	for _, missing := range missingSecrets(t, secretSources, secretPeers) {
		t.Errorf("the key %s has a secret, and is not among those that this test looks for", missing)
	}
	s.look(p, peers)
	s.check("the other pipeline's check", p.Run(t, s.env, "check"))
	s.check("what does not start", p.Run(t, s.env, "run"))
	s.check("token", p.Run(t, s.env, "token ls"))
	s.files(p)
}

// runFile has the token of the process, which is nowhere else.
const runFile = "run.json"

type secrets struct {
	t       *testing.T
	env     []string
	values  map[string]string // by the variable
	private [2]string         // a key and its passphrase
}

// fill gives every SECRET of a text a value of its own.
func (s *secrets) fill(text string) string {
	if s.values == nil {
		s.values = map[string]string{"PRIVATE_KEY": strings.Split(s.private[0], "\n")[2], "PASSPHRASE": s.private[1]}
		s.env = []string{"PRIVATE_KEY=" + s.private[0], "PASSPHRASE=" + s.private[1]}
	}
	return regexp.MustCompile("SECRET").ReplaceAllStringFunc(text, func(string) string {
		name := fmt.Sprintf("SECRET_%d", len(s.values))
		s.values[name] = fmt.Sprintf("hw5ecret%dz", len(s.values))
		s.env = append(s.env, name+"="+s.values[name])
		return "${" + name + "}"
	})
}

func privateKey(t *testing.T) [2]string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("hw5ecretpassphrase"))
	if err != nil {
		t.Fatal(err)
	}
	return [2]string{string(pem.EncodeToMemory(block)), "hw5ecretpassphrase"}
}

// look runs the pipeline until every source has failed, and asks it for all that it says. Then its file is another one.
func (s *secrets) look(p binary.Pipeline, other string) {
	s.t.Helper()
	s.check("check", binary.Result{Stdout: p.Run(s.t, s.env, "check").Must(s.t)})
	s.check("check --json", p.Run(s.t, s.env, "check", "--json"))
	s.check("check --live", p.Run(s.t, s.env, "check", "--live", "--wait", "5s"))
	s.check("preview", p.Run(s.t, s.env, "preview", "bearer", "--wait", "2s"))
	proc := p.Start(s.t, s.env, "run")
	var status binary.Result
	failing := func() bool {
		status = p.Run(s.t, s.env, "status", "--json")
		var got struct {
			Sources []struct {
				Name string
				Last string `json:"last_error"`
			}
		}
		if json.Unmarshal([]byte(status.Stdout), &got) != nil || len(got.Sources) == 0 {
			return false
		}
		return !slices.ContainsFunc(got.Sources, func(x struct {
			Name string
			Last string `json:"last_error"`
		},
		) bool {
			return x.Last == "" && x.Name != "hooks" && x.Name != "signed"
		})
	}
	binary.EventuallyOr(s.t, "every source to fail", failing, func() string { return status.Stdout + status.Stderr + proc.Stderr() })
	var own struct{ Token string }
	if data, err := os.ReadFile(filepath.Join(p.Dir, "headwater-data", runFile)); err != nil || json.Unmarshal(data, &own) != nil || own.Token == "" {
		s.t.Fatalf("%s: %v", data, err)
	}
	s.values[runFile] = own.Token
	s.check("status --json", status)
	s.check("status", p.Run(s.t, s.env, "status"))
	var at struct{ Listen struct{ HTTP string } }
	if err := json.Unmarshal([]byte(status.Stdout), &at); err != nil {
		s.t.Fatal(err)
	}
	for _, ask := range []struct{ auth, path, want string }{
		{"Bearer " + s.valueOf(`token: "SECRET"`), "/ingest/hooks", "200"},
		{"Bearer guess", "/ingest/hooks", "401"},
		{"", "/ingest/signed", "401"},
		{"", "/metrics", "200"},
		{"", "/readyz", ""},
		{"", "/api/v1/status", "401"},
		{"Bearer " + s.values["SECRET_3"], "/api/v1/status", "401"},
	} {
		method, body := http.MethodPost, `{"n":1}`
		if !strings.HasPrefix(ask.path, "/ingest") {
			method, body = http.MethodGet, ""
		}
		req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+at.Listen.HTTP+ask.path, strings.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("Authorization", ask.auth)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.HasPrefix(resp.Status, ask.want) {
			s.t.Errorf("%s: %s, %v", ask.path, resp.Status, err)
		}
		s.check(ask.path, binary.Result{Stdout: string(answer)})
	}
	p.Write(s.t, "pipeline.yaml", []byte(other))                                         // which the process looks at, and does not take
	s.check("the log, and what a crash dumps", binary.Result{Stderr: proc.Goroutines()}) // by SIGQUIT, of which the process ends
	s.files(p)
}

// valueOf is the secret that stands in the place of the first such text of secretSources.
func (s *secrets) valueOf(text string) string {
	before := strings.Count(secretSources[:strings.Index(secretSources, text)], "SECRET")
	return s.values[fmt.Sprintf("SECRET_%d", 2+before)]
}

// check looks for secrets in what something has said.
func (s *secrets) check(what string, said binary.Result) {
	s.t.Helper()
	if said.Stdout+said.Stderr == "" {
		s.t.Errorf("%s says nothing", what)
	}
	s.in(what, said.Stdout+said.Stderr)
}

func (s *secrets) in(what, text string) {
	s.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		if name == filepath.Base(what) {
			continue // it is there that the process's token belongs
		}
		if i := strings.Index(text, s.values[name]); i >= 0 {
			s.t.Errorf("%s has the secret %s (%s): ...%s", what, name, s.values[name], text[max(0, i-300):min(len(text), i+100)])
		}
	}
}

// files looks for secrets in what the process keeps.
func (s *secrets) files(p binary.Pipeline) {
	s.t.Helper()
	n := 0
	err := filepath.WalkDir(filepath.Join(p.Dir, "headwater-data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		n++
		s.in(path, string(data))
		return err
	})
	if err != nil || n < 5 {
		s.t.Errorf("%d files, %v", n, err)
	}
}

// missingSecrets are the keys of which the schema says that they have secrets, and for which no text has one.
func missingSecrets(t *testing.T, texts ...string) (missing []string) {
	t.Helper()
	schema, _ := shell(t, "", binary.Build(t), "schema-json")
	var whole map[string]any
	if err := json.Unmarshal([]byte(schema), &whole); err != nil {
		t.Fatal(err)
	}
	var set []any
	for _, text := range texts {
		var one any
		if err := yaml.NewDecoder(bytes.NewReader([]byte(text))).Decode(&one); err != nil {
			t.Fatal(err)
		}
		set = append(set, one)
	}
	found := 0
	var walk func(schema map[string]any, path []string)
	walk = func(schema map[string]any, path []string) {
		if schema["writeOnly"] == true {
			found++
			if !slices.ContainsFunc(set, func(one any) bool { return has(one, path) }) {
				missing = append(missing, strings.Join(path, "."))
			}
		}
		for _, under := range []string{"properties", "patternProperties"} {
			all, _ := schema[under].(map[string]any)
			for key, of := range all {
				if under == "patternProperties" {
					key = "*"
				}
				walk(of.(map[string]any), append(slices.Clone(path), key))
			}
		}
		for _, under := range []string{"additionalProperties", "items"} {
			if of, is := schema[under].(map[string]any); is {
				walk(of, append(slices.Clone(path), "*"))
			}
		}
	}
	walk(whole, nil)
	if found < 30 {
		t.Errorf("the schema has only %d secrets", found)
	}
	slices.Sort(missing)
	return missing
}

// has says whether a secret stands at a path of a document, in which * is any key.
func has(in any, path []string) bool {
	if len(path) == 0 {
		text, is := in.(string)
		return is && (strings.Contains(text, "SECRET") || strings.HasPrefix(text, "${P"))
	}
	switch in := in.(type) {
	case map[string]any:
		for key, of := range in {
			if (path[0] == "*" || path[0] == key) && has(of, path[1:]) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(in, func(of any) bool { return path[0] == "*" && has(of, path[1:]) })
	}
	return false
}
