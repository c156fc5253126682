package flow

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// accessed is a pipeline with users: ann is of the ingestion team, carl reads the raw layer, bob some tables, dora all of them, otto operates.
const accessed = `
database: market
listen: {http: "127.0.0.1:0", kafka: "127.0.0.1:0", hive: "127.0.0.1:0", tls: {cert: cert.pem, key: key.pem}}
serialize: {schedule: "", every: 200ms}
land: {rotate.interval.ms: 300, rotate.schedule.interval.ms: 300}
query: {rows: 10}
sources:
  orders: {push: {}}
  salaries: {push: {}}
access:
  users:
    ann: {password: "${file:ann.secret}", groups: [ingestion]}
    bob: {password: "${file:bob.secret}", groups: [analysts]}
    carl: {password: carl-marker}
    dora: {password: dora-marker, groups: [board]}
    otto: {password: otto-marker}
  raw: [ingestion, carl]
  tables: [ingestion, analysts, board]
  only: {analysts: ["market.orders*"]}
  operate: [ingestion, otto]
`

// door is a running pipeline, asked by programs that know nothing of it.
type door struct {
	binary.Pipeline
	t           *testing.T
	http, kafka string
	token       string
}

// shell runs a program, for three minutes at most, and gives all that it says.
func shell(t *testing.T, stdin, program string, args ...string) (said string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited || ctx.Err() != nil {
		t.Fatalf("%s %q: %v, %v\n%s", program, args, err, context.Cause(ctx), out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// curl asks the HTTP door and gives the status, the headers and the body; auth is NAME:PASSWORD, a token, or empty.
func (d door) curl(auth, path string, args ...string) (code int, answer string) {
	d.t.Helper()
	args = append([]string{"--silent", "--show-error", "--include", "--cacert", filepath.Join(d.Dir, "cert.pem"), "https://" + d.http + path}, args...)
	if strings.Contains(auth, ":") {
		args = append(args, "--user", auth)
	} else if auth != "" {
		args = append(args, "--header", "Authorization: Bearer "+auth)
	}
	said, failed := shell(d.t, "", "curl", args...)
	status := regexp.MustCompile(`^HTTP/1.1 (\d+)`).FindStringSubmatch(said)
	if failed != 0 || status == nil {
		d.t.Fatalf("curl %q: %s", args, said)
	}
	_, _ = fmt.Sscan(status[1], &code)
	return code, said
}

// kcat asks the Kafka door; auth is NAME:PASSWORD, or empty.
func (d door) kcat(auth, mechanism, stdin string, args ...string) (said string, code int) {
	d.t.Helper()
	name, password, named := strings.Cut(auth, ":")
	protocol := "ssl"
	if named {
		protocol = "sasl_ssl"
		args = append([]string{"-X", "sasl.mechanism=" + mechanism, "-X", "sasl.username=" + name, "-X", "sasl.password=" + password}, args...)
	}
	args = append([]string{"-b", d.kafka, "-X", "security.protocol=" + protocol, "-X", "ssl.ca.location=" + filepath.Join(d.Dir, "cert.pem"), "-m", "120"}, args...)
	return shell(d.t, stdin, fixture.Kcat(d.t), args...)
}

// certify writes a certificate for this machine, and its key.
func certify(t *testing.T, p binary.Pipeline) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "headwater"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p.Write(t, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	p.Write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// TestAccess asks both doors as everybody, by curl and kcat: who may is answered, who may not is refused by the protocol's own code, and the log says so.
func TestAccess(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), accessed)
	certify(t, p)
	p.Write(t, "ann.secret", []byte("ann-marker\n"))
	p.Write(t, "bob.secret", []byte("bob-marker\n"))
	token := strings.TrimSpace(p.Run(t, nil, "token create", "grafana", "--scope", "tables", "--only", "market.salaries", "--expires", "1d").Must(t))
	proc := p.Start(t, nil, "run")
	d := door{Pipeline: p, t: t, token: token}
	binary.Eventually(t, "the doors to be open", func() bool {
		s := statusOf(t, p)
		d.http, d.kafka = s.Listen.HTTP, s.Listen.Kafka
		return d.http != ""
	})
	for _, source := range []string{"orders", "salaries"} {
		if code, answer := d.curl("", "/ingest/"+source, "--data", `{"n":1}`); code != 200 {
			t.Fatal(answer)
		}
	}
	d.testHTTP()
	d.testKafka()
	d.testSQL(proc)

	for _, command := range [][]string{{"status"}, {"cursor", "orders"}, {"audit"}, {"token ls"}} { // by run.json, of the certificate that it has
		p.Run(t, nil, command[0], command[1:]...).Must(t)
	}
	var listed struct{ ID string }
	if err := json.Unmarshal([]byte(p.Run(t, nil, "token ls", "--json").Must(t)), &listed); err != nil {
		t.Fatal(err)
	}
	p.Run(t, nil, "token revoke", listed.ID).Must(t)
	if code, _ := d.curl(token, "/api/v1/status"); code != 401 {
		t.Errorf("a revoked token gets %d", code)
	}
	_, metrics := d.curl("", "/metrics")
	for _, series := range []string{`{door="http",reason="forbidden"}`, `{door="http",reason="unnamed"}`, `{door="http",reason="unproved"}`, `{door="kafka",reason="forbidden"}`, `{door="kafka",reason="unnamed"}`, `{door="kafka",reason="unproved"}`} {
		if strings.Contains(metrics, "headwater_access_refused_total"+series+" 0\n") || !strings.Contains(metrics, "headwater_access_refused_total"+series) {
			t.Errorf("nobody is counted under %s", series)
		}
	}
	log := proc.Stderr()
	for _, line := range []string{
		`door=http reason=forbidden who=bob what="POST /api/v1/runs" from=127.0.0.1:`, `door=http reason=unproved who=mallory what="GET /api/v1/status" from=127.0.0.1:`,
		`door=http reason=unnamed who="" what=`, `door=kafka reason=forbidden who=bob what=Metadata from=127.0.0.1:`, `door=kafka reason=forbidden who=carl what=Produce from=127.0.0.1:`,
		`door=kafka reason=unproved who=ann what=SASLAuthenticate from=127.0.0.1:`, `door=kafka reason=unnamed who="" what=Metadata from=127.0.0.1:`,
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the log lacks %s", line)
		}
	}
	if leak := regexp.MustCompile(`.*(marker|wrong-one|` + token[15:] + `).*`).FindString(log + metrics); leak != "" {
		t.Errorf("a secret is told: %s", leak)
	}
}

func (d door) testHTTP() {
	d.t.Helper()
	operating := []string{"/api/v1/runs", "--data", `{"do":"ls"}`}
	for _, c := range []struct {
		auth                    string
		hello, status, day, run int
	}{
		{"", 401, 401, 401, 401},
		{"mallory:wrong-one", 401, 401, 401, 401},
		{"ann:wrong-one", 401, 401, 401, 401},
		{"hwt_wrong-one", 401, 401, 401, 401},
		{"carl:carl-marker", 200, 403, 403, 403},
		{"bob:bob-marker", 200, 200, 200, 403},
		{"dora:dora-marker", 200, 200, 200, 403},
		{d.token, 200, 200, 200, 403},
		{"otto:otto-marker", 200, 200, 200, 200},
		{"ann:ann-marker", 200, 200, 200, 200},
	} {
		for _, ask := range []struct {
			want int
			args []string
		}{{c.hello, []string{"/api/v1/hello"}}, {c.status, []string{"/api/v1/status"}}, {c.day, []string{"/api/v1/day?source=orders&date=yesterday"}}, {c.run, operating}} {
			code, answer := d.curl(c.auth, ask.args[0], ask.args[1:]...)
			if code != ask.want || (code == 401) != strings.Contains(answer, "Www-Authenticate: Basic") {
				d.t.Errorf("%s as %q: want %d, got %s", ask.args[0], c.auth, ask.want, answer)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if code, answer := d.curl("", path); code != 200 {
			d.t.Errorf("%s, of nobody: %s", path, answer)
		}
	}
}

// sql asks for an answer to SQL.
func (d door) sql(auth, sql string, args ...string) (int, string) {
	d.t.Helper()
	body, err := json.Marshal(map[string]string{"sql": sql, "format": "csv"})
	if err != nil {
		d.t.Fatal(err)
	}
	return d.curl(auth, "/api/v1/query", append(args, "--data", string(body))...)
}

func (d door) testSQL(proc *binary.Process) {
	d.t.Helper()
	const orders, salaries, both = "select n from market.orders where n = 1", "select n from market.salaries", "select count(*) from market.orders, market.salaries"
	binary.EventuallyOr(d.t, "the tables to be there", func() bool {
		one, _ := d.sql("ann:ann-marker", orders)
		other, _ := d.sql("ann:ann-marker", salaries)
		return one == 200 && other == 200
	}, func() string { _, said := d.sql("ann:ann-marker", both); return said })
	for auth, codes := range map[string][3]int{
		"":                 {401, 401, 401},
		"bob:wrong-one":    {401, 401, 401},
		"carl:carl-marker": {403, 403, 403},
		"otto:otto-marker": {403, 403, 403},
		"bob:bob-marker":   {200, 403, 403},
		d.token:            {403, 200, 403},
		"dora:dora-marker": {200, 200, 200},
		"ann:ann-marker":   {200, 200, 200},
	} {
		for i, sql := range []string{orders, salaries, both} {
			code, answer := d.sql(auth, sql)
			if code != codes[i] || code == 200 && i < 2 && !strings.HasSuffix(answer, "\r\n\r\nn\n1\n") {
				d.t.Errorf("%q: %s: want %d, got %s", auth, sql, codes[i], answer)
			}
		}
	}
	if code, answer := d.sql("bob:bob-marker", "select table_name from information_schema.tables order by 1"); code != 200 || !strings.HasSuffix(answer, "table_name\norders\norders_raw\n") {
		d.t.Errorf("bob sees the tables %s", answer)
	}
	for _, sql := range []string{
		"from read_csv('/etc/passwd')", "from read_text('" + d.File + "')", "from glob('" + d.Dir + "/**')", "from read_parquet('" + d.Dir + "/headwater-data/tables/market/salaries/**/*.parquet')",
		"copy (select 1) to '" + d.Dir + "/out.csv'", "attach '" + d.Dir + "/headwater-data/state.db'", "install httpfs", "load httpfs", "set enable_external_access = true",
		"set memory_limit = '100GB'", "select getenv('HOME')", "create table x as select 1", "select 1; select 2", "nonsense",
	} {
		if code, answer := d.sql("ann:ann-marker", sql); code != 422 || !strings.Contains(answer, `"code":2`) {
			d.t.Errorf("%s: got %s", sql, answer)
		}
	}
	if code, answer := d.sql("ann:ann-marker", "from range(11)"); code != 422 || !strings.Contains(answer, "more than 10 rows") {
		d.t.Errorf("too many rows: %s", answer)
	}
	d.testGone(proc)
}

// testGone has a client go away from an answer that would take days.
func (d door) testGone(proc *binary.Process) {
	d.t.Helper()
	workers := func() int {
		said, _ := shell(d.t, "", "ps", "--ppid", fmt.Sprint(proc.Cmd.Process.Pid), "-o", "args=")
		return strings.Count(said, "query-worker")
	}
	ctx, leave := context.WithCancel(d.t.Context())
	client := exec.CommandContext(ctx, "curl", "--silent", "--cacert", filepath.Join(d.Dir, "cert.pem"), "--user", "ann:ann-marker", "https://"+d.http+"/api/v1/query",
		"--data", `{"sql":"select count(*) from range(1000000000) a, range(1000000000) b where a.range + b.range = 7"}`)
	if err := client.Start(); err != nil {
		d.t.Fatal(err)
	}
	binary.Eventually(d.t, "a worker", func() bool { return workers() == 1 })
	leave()
	_ = client.Wait()
	binary.Eventually(d.t, "the worker's end", func() bool { return workers() == 0 })
}

func (d door) testKafka() {
	d.t.Helper()
	read := []string{"-C", "-t", "orders_raw", "-o", "beginning", "-c", "1", "-q"}
	write := []string{"-P", "-t", "orders_raw"}
	group := []string{"-X", "auto.offset.reset=earliest", "-G", "of-carl", "-c", "1", "orders_raw"}
	land := []string{"-X", "auto.offset.reset=earliest", "-G", "headwater-land", "-c", "1", "orders_raw"}
	for _, c := range []struct {
		what, auth, mechanism, want string
		code                        int
		args                        []string
	}{
		{"the raw layer's reader reads", "carl:carl-marker", "SCRAM-SHA-256", `"raw_data":{"n":`, 0, read},
		{"and in a group", "carl:carl-marker", "SCRAM-SHA-512", `"raw_data":{"n":`, 0, group},
		{"the ingestion team reads", "ann:ann-marker", "PLAIN", `"raw_data":{"n":`, 0, read},
		{"and writes", "ann:ann-marker", "SCRAM-SHA-512", "", 0, write},
		{"who operates writes", "otto:otto-marker", "SCRAM-SHA-512", "", 0, write},
		{"but reads not", "otto:otto-marker", "SCRAM-SHA-512", "Broker: Topic authorization failed", 1, read},
		{"the reader writes not", "carl:carl-marker", "SCRAM-SHA-512", "Broker: Topic authorization failed", 1, write},
		{"nor takes records from landing", "carl:carl-marker", "SCRAM-SHA-512", "Broker: Group authorization failed", 1, land},
		{"who reads tables reads no topic", "bob:bob-marker", "SCRAM-SHA-512", "Broker: Topic authorization failed", 1, read},
		{"a wrong password", "ann:wrong-one", "SCRAM-SHA-512", "SASL authentication error", 1, write},
		{"a wrong password, sent", "ann:wrong-one", "PLAIN", "SASL authentication error", 1, write},
		{"nobody of that name", "mallory:wrong-one", "SCRAM-SHA-256", "SASL authentication error", 1, write},
		{"nobody", "", "", "Local: All broker connections are down", 1, write},
	} {
		said, code := d.kcat(c.auth, c.mechanism, `{"raw_data":{"n":2},"metadata":{},"ingestion_timestamp":1}`+"\n", c.args...)
		if code != c.code || !strings.Contains(said, c.want) {
			d.t.Errorf("%s: kcat %q ends with %d, and says %s", c.what, c.args, code, said)
		}
	}
}

// TestDoorsAreLocal: a door that asks nobody who they are is not opened to other machines.
func TestDoorsAreLocal(t *testing.T) {
	t.Parallel()
	for _, door := range []string{"http", "kafka", "hive"} {
		p := binary.New(t, binary.Build(t), fmt.Sprintf("database: db\nsources: {}\nlisten: {%s: \"0.0.0.0:0\"}\n", door))
		for _, command := range []string{"check", "run"} {
			r := p.Run(t, nil, command)
			if said := r.Stdout + r.Stderr; r.Code != 2 || !strings.Contains(said, "listen."+door+": is reached from other machines, and") {
				t.Errorf("%s %s ends with %d and says %s", command, door, r.Code, said)
			}
		}
		if _, err := os.Stat(filepath.Join(p.Dir, "headwater-data")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was opened: %v", door, err)
		}
	}
	p := binary.New(t, binary.Build(t), "database: db\nsources: {a: {push: {}}}\nlisten: {http: \"0.0.0.0:0\", kafka: \"127.0.0.1:0\", hive: \"127.0.0.1:0\"}\naccess: {}\n")
	p.Start(t, nil, "run")
	binary.Eventually(t, "to be ready", func() bool { code, _ := get(t, p, "/readyz"); return code == 200 })
	for path, want := range map[string]int{"/healthz": 200, "/metrics": 200, "/api/v1/status": 401, "/api/v1/hello": 401} {
		if code, text := get(t, p, path); code != want {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	p.Run(t, nil, "status").Must(t)
}
