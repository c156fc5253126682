package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/collect"
	"headwater/internal/setting"
	"headwater/internal/slo"
	"headwater/kafka"
	"headwater/serialize"
	"headwater/table"
)

var update = flag.Bool("update", false, "rewrite the expected texts in testdata, and the tables of keys in docs/sources")

// stub is a source's configuration with every type that a configuration may hold.
type stub struct {
	Path     string         `yaml:"path"`
	Format   string         `yaml:"format"`
	Every    time.Duration  `yaml:"every"`
	Limit    int            `yaml:"limit"`
	Level    int8           `yaml:"level"`
	Ratio    float64        `yaml:"ratio"`
	Size     setting.Bytes  `yaml:"size"`
	Password setting.Secret `yaml:"password"`
	Tags     []string       `yaml:"tags"`
	Follow   *bool          `yaml:"follow"`
	stubTLS  `yaml:",inline"`
}

type stubTLS struct {
	CA string `yaml:"ca"`
}

func (s *stub) Validate() setting.Faults {
	var f setting.Faults
	if s.Path == "" {
		f.Add([]string{"path"}, "is missing: write a path")
	}
	if s.Every <= 0 {
		f.Add([]string{"every"}, "must be more than 0, got %s", s.Every)
	}
	for i, tag := range s.Tags {
		if tag == "" {
			f.Add([]string{"tags", strconv.Itoa(i)}, "must not be empty")
		}
	}
	return f
}

type stubSource struct {
	collect.Source
	config stub
	env    Env
}

func stubs() *Registry {
	var r Registry
	for _, name := range []string{"file", "push"} {
		Add(&r, name, func() stub { return stub{Every: time.Second, Format: "auto"} }, func(c stub, env Env) (collect.Source, error) {
			return stubSource{config: c, env: env}, nil
		})
	}
	return &r
}

// write makes a pipeline file in a folder of its own.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipeline.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string) *Pipeline {
	t.Helper()
	p, err := Load(write(t, text), stubs())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFaults(t *testing.T) {
	t.Setenv("HEADWATER_TEST_SECRET", "sesame-from-env")
	t.Setenv("HEADWATER_TEST_QUOTES", `sesame "quoted"`)
	t.Setenv("HEADWATER_TEST_SPACES", "  sesame spaced\n")
	files, err := filepath.Glob("testdata/*.bad.yml")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, err := Load(path, stubs())
			faults, ok := errors.AsType[Faults](err)
			if !ok || len(faults) == 0 {
				t.Fatalf("Load gave %v, want faults", err)
			}
			got := faults.Error() + "\n"
			if strings.Contains(got, "sesame") {
				t.Errorf("a secret is printed:\n%s", got)
			}
			golden := strings.TrimSuffix(path, ".yml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("faults differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestThirtyFaultsAtOnce(t *testing.T) {
	_, err := Load("testdata/thirty.bad.yml", stubs())
	faults, _ := errors.AsType[Faults](err)
	if len(faults) != 30 {
		t.Errorf("found %d faults, want 30:\n%v", len(faults), err)
	}
	for i := 1; i < len(faults); i++ {
		if faults[i-1].Line > faults[i].Line {
			t.Errorf("line %d comes before line %d", faults[i-1].Line, faults[i].Line)
		}
	}
}

func TestDefaults(t *testing.T) {
	p := load(t, "database: market\nsources: {}\n")
	dir := p.Dir
	if !filepath.IsAbs(dir) || filepath.Join(dir, "pipeline.yml") != p.File {
		t.Errorf("Dir is %s, File is %s", dir, p.File)
	}
	if p.Location != time.UTC || !p.Embedded || len(p.Sources) != 0 {
		t.Errorf("Location %v, Embedded %v, Sources %v", p.Location, p.Embedded, p.Sources)
	}
	got := []string{p.DataDir, p.Lake.Raw, p.Lake.Tables}
	want := []string{filepath.Join(dir, "headwater-data"), filepath.Join(dir, "headwater-data/raw"), filepath.Join(dir, "headwater-data/tables")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Listen{HTTP: Address{Addr: "127.0.0.1:8080"}, Kafka: Address{Addr: "127.0.0.1:9092"}, Hive: Address{Addr: "127.0.0.1:9083"}}, p.Listen); diff != "" {
		t.Error(diff)
	}
}

func TestValues(t *testing.T) {
	t.Setenv("HEADWATER_TEST_PORT", "7000")
	t.Setenv("HEADWATER_TEST_EMPTY", "")
	p := load(t, `
database: market
timezone: America/Santiago
data_dir: ../elsewhere
embedded: true
lake: {raw: "file:///srv/a%20b/", tables: tables}
listen: {http: "127.0.0.1:${HEADWATER_TEST_PORT}"}
sources:
  orders:
    file:
      path: "in/$${literally}$x/${HEADWATER_TEST_EMPTY}*.csv"
      every: 1m30s
      limit: "180000"
      level: -7
      ratio: 0.5
      size: 64MiB
      password: hunter2
      tags: [a, 1, true]
      follow: false
      ca: ca.pem
    topic: {partitions: 6, replication: 3, configs: {retention.ms: 604800000}}
  trades:
    push: {path: /trades}
    topic: {name: "prod.{source}"}
    tables: {raw: "{source}_all", flat: "{source}_flat"}
    schema: {max_columns: 7, columns: freeze, hints: {at: timestamp(iso)}}
serialize: {schema: {max_columns: 500}}
`)
	if p.DataDir != filepath.Join(filepath.Dir(p.Dir), "elsewhere") || p.Lake.Raw != "/srv/a b" || p.Lake.Tables != filepath.Join(p.Dir, "tables") {
		t.Errorf("DataDir %s, Lake %v", p.DataDir, p.Lake)
	}
	if p.Location.String() != "America/Santiago" {
		t.Errorf("Location %v", p.Location)
	}
	if want := (Address{Addr: "127.0.0.1:7000", Written: true}); p.Listen.HTTP != want {
		t.Errorf("Listen.HTTP is %v, want %v", p.Listen.HTTP, want)
	}
	opened, err := p.Sources[0].Open(Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	source := opened.(stubSource)
	want := stub{
		Path: "in/${literally}$x/*.csv", Format: "auto", Every: 90 * time.Second, Limit: 180000, Level: -7, Ratio: 0.5, Size: 64 << 20,
		Password: "hunter2", Tags: []string{"a", "1", "true"}, Follow: new(bool), stubTLS: stubTLS{CA: "ca.pem"},
	}
	if diff := cmp.Diff(want, source.config, cmp.AllowUnexported(stub{})); diff != "" {
		t.Error(diff)
	}
	if source.env.Base != p.Dir {
		t.Errorf("Base is %s, want %s", source.env.Base, p.Dir)
	}
	orders, trades := p.Sources[0], p.Sources[1]
	orders.open, trades.open, orders.config, trades.config = nil, nil, nil, nil
	wantOrders := Source{
		Name: "orders", Kind: "file", Topic: "orders_raw", Partitions: 6, Replication: 3, Configs: map[string]string{"retention.ms": "604800000"},
		RawTable: table.Name{Database: "market", Table: "orders_raw"}, FlatTable: table.Name{Database: "market", Table: "orders"}, Legacy: serialize.LegacyConfig{Dedupe: "none"}, base: p.Dir,
		Runs: serialize.DefaultRunsConfig(), Scheduler: "internal", SLO: slo.DefaultConfig(),
		Schema: serialize.SchemaConfig{MaxColumns: 500, Dialect: "headwater", Ledger: "on", Columns: "evolve", MaxRewrite: 31, Hints: map[string]string{}},
	}
	wantTrades := Source{
		Name: "trades", Kind: "push", Topic: "prod.trades",
		RawTable: table.Name{Database: "market", Table: "trades_all"}, FlatTable: table.Name{Database: "market", Table: "trades_flat"}, Legacy: serialize.LegacyConfig{Dedupe: "none"}, base: p.Dir,
		Runs: serialize.DefaultRunsConfig(), Scheduler: "internal", SLO: slo.DefaultConfig(),
		Schema: serialize.SchemaConfig{MaxColumns: 7, Dialect: "headwater", Ledger: "on", Columns: "freeze", MaxRewrite: 31, Hints: map[string]string{"at": "timestamp(iso)"}},
	}
	if diff := cmp.Diff([]Source{wantOrders, wantTrades}, []Source{orders, trades}, cmp.AllowUnexported(Source{})); diff != "" {
		t.Error(diff)
	}
}

func TestPathsOfKeysAreRelativeToTheFile(t *testing.T) {
	p := load(t, "database: market\nkafka: {brokers: [\"k:9092\"], tls: {ca: ca.pem, cert: /abs/cert.pem, key: ../key.pem}}\nsources: {}\n")
	want := kafka.TLS{CA: filepath.Join(p.Dir, "ca.pem"), Cert: "/abs/cert.pem", Key: filepath.Join(filepath.Dir(p.Dir), "key.pem")}
	if diff := cmp.Diff(&want, p.Kafka.TLS); diff != "" {
		t.Error(diff)
	}
}

func TestAliasesAndMergeKeys(t *testing.T) {
	p := load(t, `
database: market
sources:
  a:
    file: &file {path: a, limit: 1, tags: &tags [x, y]}
    topic: &topic {partitions: 3}
  b:
    file: {<<: *file, path: b}
    topic: *topic
  c:
    file: {<<: [{limit: 2}, *file], path: c, tags: *tags}
`)
	want := []stub{
		{Path: "a", Format: "auto", Every: time.Second, Limit: 1, Tags: []string{"x", "y"}},
		{Path: "b", Format: "auto", Every: time.Second, Limit: 1, Tags: []string{"x", "y"}},
		{Path: "c", Format: "auto", Every: time.Second, Limit: 2, Tags: []string{"x", "y"}},
	}
	for i, s := range p.Sources {
		opened, err := s.Open(Env{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[i], opened.(stubSource).config, cmp.AllowUnexported(stub{})); diff != "" {
			t.Error(diff)
		}
	}
	if p.Sources[0].Partitions != 3 || p.Sources[1].Partitions != 3 || p.Sources[2].Partitions != 0 {
		t.Errorf("partitions are %d, %d, %d", p.Sources[0].Partitions, p.Sources[1].Partitions, p.Sources[2].Partitions)
	}
}

func TestSecretFromFile(t *testing.T) {
	path := write(t, "database: market\nsources: {orders: {file: {path: a, password: \"${file:key}\"}}}\n")
	for content, want := range map[string]string{"s3cret\n": "s3cret", "s3cret\r\n": "s3cret", "two\n\n": "two\n", "none": "none", "": ""} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "key"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Load(path, stubs())
		if err != nil {
			t.Fatal(err)
		}
		opened, err := p.Sources[0].Open(Env{})
		if err != nil {
			t.Fatal(err)
		}
		if got := opened.(stubSource).config.Password.Reveal(); got != want {
			t.Errorf("of %q the secret is %q, want %q", content, got, want)
		}
	}
}

func TestSecretNeverPrints(t *testing.T) {
	p := load(t, "database: market\nsources: {orders: {file: {path: a, password: hunter2}}}\n")
	opened, err := p.Sources[0].Open(Env{})
	if err != nil {
		t.Fatal(err)
	}
	config := opened.(stubSource).config
	asJSON, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "pipeline", p, "config", config, "secret", config.Password)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", p, p, p.Sources), fmt.Sprintf("%v %+v %#v %q", config, config, config, config.Password), string(asJSON), logged.String()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the secret is printed: %s", text)
		}
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yml"), stubs())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file does not exist", err)
	}
	if _, isFaults := errors.AsType[Faults](err); isFaults {
		t.Error("a file that does not exist has no faults of its own")
	}
}

func TestLargeFile(t *testing.T) {
	_, err := Load(write(t, "database: market\nsources: {}\n#"+strings.Repeat("x", maxFile)), stubs())
	if err == nil || !strings.Contains(err.Error(), "larger than 4MiB") {
		t.Errorf("got %v", err)
	}
}

func TestRegistryPanics(t *testing.T) {
	for _, name := range []string{"file", "topic", "tables"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("adding %s does not panic", name)
				}
			}()
			Add(stubs(), name, func() stub { return stub{} }, func(stub, Env) (collect.Source, error) { return nil, nil })
		}()
	}
}

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*.bad.yml", "../../docs/example.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(data))
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		p := newParser(dir)
		root := p.parse([]byte(text))
		pipeline, faults := p.load("pipeline.yml", root, stubs())
		if (pipeline == nil) != (len(faults) > 0) {
			t.Fatalf("got pipeline %v with %d faults", pipeline, len(faults))
		}
		breaks := 0
		for _, b := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
			breaks += strings.Count(text, b)
		}
		for _, fault := range faults {
			if fault.Line < 1 || fault.Line > breaks+1 || fault.Text == "" {
				t.Errorf("fault without a line of the file: %v", fault)
			}
		}
	})
}
