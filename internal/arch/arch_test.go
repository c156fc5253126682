// Package arch keeps the shape of the source: who may import whom, and the house rules that a compiler does not check.
// The tables in this file are the shape; a change of it is a change here that a reviewer sees.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"headwater/internal/crash"
)

// ours has, for every package of this module, the others that it may import. Tests may import more, but see apart.
var ours = map[string][]string{
	"envelope":          {},
	"schema":            {},
	"schema/ledger":     {"envelope", "internal/crash", "lake", "schema"},
	"internal/access":   {"internal/setting"},
	"internal/crash":    {},
	"internal/gunzip":   {},
	"internal/retry":    {},
	"internal/rights":   {"internal/access", "table"},
	"internal/demo":     {},
	"internal/schedule": {},
	"internal/setting":  {},
	"internal/trust":    {"internal/retry"},
	"internal/stall":    {},
	"internal/progress": {},
	"internal/state":    {"internal/trust"},
	"internal/tokens":   {"internal/access", "internal/database"},
	"internal/web":      {"internal/access", "internal/runs", "internal/tokens", "internal/trust"},
	"internal/database": {},
	"internal/runs":     {"internal/crash", "internal/database", "internal/retry", "internal/schedule", "table"},
	"internal/metrics":  {"internal/access", "internal/web"},
	"internal/notify":   {"internal/database", "internal/retry", "internal/setting"},
	"internal/slo":      {"internal/dayclose", "internal/runs", "internal/setting", "table"},

	"lake":           {},
	"lake/file":      {"internal/crash", "internal/retry", "lake"},
	"lake/mem":       {"lake"},
	"lake/azure":     {"internal/retry", "internal/stall", "lake"},
	"lake/gcs":       {"internal/retry", "internal/stall", "lake"},
	"lake/s3":        {"internal/retry", "internal/stall", "lake"},
	"lake/lakefault": {"internal/retry", "lake"},
	"lake/laketest":  {"lake"},

	"collect":             {"envelope", "internal/crash", "internal/retry", "internal/setting"},
	"collect/amqp":        {"collect", "collect/message", "internal/retry", "internal/setting"},
	"collect/file":        {"collect", "envelope", "internal/retry", "internal/setting"},
	"collect/lease":       {"collect", "collect/message", "internal/retry"},
	"collect/message":     {"envelope", "internal/setting", "internal/trust"},
	"collect/ftp":         {"collect/file", "internal/retry", "internal/setting", "internal/trust"},
	"collect/push":        {"collect", "envelope", "internal/setting"},
	"collect/sftp":        {"collect/file", "internal/retry", "internal/setting"},
	"collect/mqtt":        {"collect", "collect/message", "envelope", "internal/retry", "internal/setting"},
	"collect/kafka":       {"collect", "collect/message", "envelope", "internal/retry", "internal/setting", "kafka"},
	"collect/nats":        {"collect", "collect/message", "envelope", "internal/retry", "internal/setting"},
	"collect/pubsub":      {"collect", "collect/lease", "collect/message", "internal/retry", "internal/setting"},
	"collect/redis":       {"collect", "collect/message", "envelope", "internal/retry", "internal/setting"},
	"collect/sqs":         {"collect", "collect/lease", "collect/message", "internal/retry", "internal/setting"},
	"collect/rest":        {"collect", "envelope", "internal/retry", "internal/setting", "internal/trust"},
	"collect/websocket":   {"collect", "collect/message", "collect/rest", "envelope", "internal/retry", "internal/setting", "internal/trust"},
	"collect/collecttest": {"collect", "envelope", "internal/setting"},

	"kafka":          {"collect", "envelope", "internal/crash", "internal/retry", "internal/setting"},
	"kafka/embedded": {"internal/access", "internal/setting", "internal/trust"},

	"land":      {"envelope", "internal/crash", "internal/retry", "internal/setting", "kafka", "lake"},
	"serialize": {"envelope", "internal/crash", "internal/gunzip", "internal/retry", "internal/schedule", "internal/setting", "lake", "schema", "schema/ledger", "serialize/parquet", "serialize/spark", "table"},
	// The encoder knows bytes alone.
	"serialize/parquet": {"schema"},
	// What Spark is asked and told; the lake and the tables are serialize's.
	"serialize/spark": {"internal/retry", "internal/setting", "schema"},

	"table":           {"internal/crash", "internal/retry", "lake", "schema"},
	"table/adopted":   {"internal/retry", "lake", "schema", "table", "table/hive"},
	"table/days":      {"lake", "schema", "table"},
	"table/dir":       {"internal/retry", "lake", "schema", "table"},
	"table/hive":      {"internal/retry", "internal/setting", "internal/trust", "schema", "table"},
	"table/hivefault": {},
	"table/metastore": {"internal/database"},
	"table/tabletest": {"schema", "table"},
	"query":           {"internal/setting", "schema", "table"},

	"internal/dayclose":  {"internal/retry", "internal/setting", "kafka", "lake", "table"},
	"internal/config":    {"collect", "envelope", "internal/access", "internal/dayclose", "internal/notify", "internal/setting", "internal/slo", "kafka", "land", "query", "serialize", "table", "table/hive"},
	"internal/look":      {"collect", "collect/file", "collect/websocket", "envelope", "internal/config", "internal/setting", "schema", "serialize"},
	"internal/connector": {"kafka", "lake/s3", "land"},
	"internal/audit":     {"envelope", "internal/gunzip", "kafka", "lake", "serialize", "table"},
	"internal/builtin":   {"collect", "collect/amqp", "collect/file", "collect/ftp", "collect/kafka", "collect/mqtt", "collect/nats", "collect/pubsub", "collect/push", "collect/redis", "collect/rest", "collect/sftp", "collect/sqs", "collect/websocket", "internal/config", "lake", "lake/azure", "lake/file", "lake/gcs", "lake/s3", "serialize"},
	"internal/arch":      {},
	"cmd/headwater":      {"*"},

	"tests/binary":          {"lake/file", "table", "table/dir", "table/hive", "table/metastore"},
	"tests/interop/fixture": {},
	"tests/mustrun":         {},
}

// theirs has, for every module or package of others, our packages that may import it; the longest prefix counts. "*" is all.
var theirs = map[string][]string{
	"cloud.google.com/go/pubsub":              {"collect/pubsub"},
	"google.golang.org/api":                   {"collect/pubsub", "lake/gcs"},
	"google.golang.org/genproto":              {"collect/pubsub"},
	"google.golang.org/grpc":                  {"collect/pubsub"},
	"github.com/apache/arrow-go":              {"table/tabletest"},
	"github.com/apache/thrift":                {"table/hive", "table/hivefault", "table/metastore"},
	"github.com/Azure":                        {"lake/azure", "tests/interop/fixture"},
	"github.com/aws":                          {"collect/sqs", "lake/s3"},
	"github.com/beltran/gohive":               {"table/hive", "table/metastore"},
	"github.com/bmatcuk/doublestar":           {"collect/file"},
	"github.com/duckdb":                       {"query"},
	"github.com/google/go-cmp":                {"collect/collecttest", "lake/laketest", "table/tabletest", "tests/binary"},
	"github.com/gorilla/websocket":            {"collect/websocket", "internal/demo", "tests/interop/fixture"},
	"github.com/jackc/pgx":                    {"internal/database"},
	"github.com/jlaffaye/ftp":                 {"collect/ftp"},
	"github.com/klauspost/compress":           {"collect/file", "internal/gunzip", "lake", "land", "serialize", "serialize/parquet"},
	"github.com/parquet-go/parquet-go":        {"internal/audit", "serialize/parquet", "table/days"},
	"github.com/pkg/sftp":                     {"collect/sftp"},
	"github.com/prometheus":                   {"internal/metrics"},
	"github.com/rabbitmq/amqp091-go":          {"collect/amqp"},
	"github.com/robfig/cron":                  {"internal/schedule"},
	"github.com/twmb/franz-go":                {"collect/kafka", "kafka", "kafka/embedded", "land"},
	"github.com/twmb/franz-go/pkg/kgo":        {"cmd/headwater", "internal/dayclose", "collect/kafka", "internal/audit", "kafka", "kafka/embedded", "land"},
	"github.com/twmb/franz-go/pkg/kfake":      {"kafka/embedded"},
	"go.yaml.in/yaml":                         {"internal/config"},
	"golang.org/x/crypto":                     {"collect/sftp"},
	"golang.org/x/net/html/charset":           {"collect/rest"},
	"golang.org/x/sync":                       {"*"},
	"modernc.org/sqlite":                      {"internal/database"},
	"golang.org/x/sys":                        {"cmd/headwater", "internal/state", "lake/file", "table/hivefault"},
	"github.com/mochi-mqtt/server/v2/packets": {"collect/mqtt", "tests/interop/fixture"},
	"github.com/nats-io/nats.go":              {"collect/nats"},
	"github.com/redis/go-redis/v9":            {"collect/redis"},
	"github.com/itchyny/gojq":                 {"collect/rest"},
	"golang.org/x/time":                       {"collect/rest", "collect/websocket"},
	"github.com/aws/aws-sdk-go-v2/aws":        {"collect/rest", "collect/sqs", "lake/s3", "tests/interop/fixture"},
}

// apart are packages that never import each other, in tests neither: what joins them is bytes in Kafka and objects in the lake.
var apart = []string{"collect", "land", "serialize"}

// forbidden are words that tie the source to one machine or one network.
var forbidden = []string{
	"/ro" + "ot/", "/wo" + "rk/", "../sha" + "red", "py" + "pi.org", "pythonho" + "sted", "proxy.go" + "lang", "sum.go" + "lang",
	"registry.n" + "pmjs", "repo1.ma" + "ven", "repo.ma" + "ven", "deb.deb" + "ian",
}

func TestImports(t *testing.T) { report(t, badImports(packages(t), ours, theirs, apart)) }

func TestInit(t *testing.T) { report(t, inits(sources(t))) }

func TestDocs(t *testing.T) { report(t, undocumented(sources(t))) }

func TestFileLength(t *testing.T) { report(t, long(tree(t))) }

func TestWords(t *testing.T) { report(t, words(tree(t), forbidden)) }

func TestCrashPoints(t *testing.T) { report(t, badPoints(sources(t), crash.Points)) }

func TestDependencies(t *testing.T) {
	files := tree(t)
	report(t, unexplained(files["go.mod"], files["docs/dependencies.md"]))
}

func report(t *testing.T, faults []string) {
	t.Helper()
	for _, fault := range faults {
		t.Error(fault)
	}
}

const root = "../.."

// packages asks the go command for the packages of this module.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 20 {
		t.Fatalf("go list found only %d packages", len(all))
	}
	return all
}

// tree is every text file of the source, by its path from the root.
func tree(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			made := name == "bin" || name == "node_modules" || name == "headwater-data"
			if made || (strings.HasPrefix(name, ".") && name != ".." && name != ".ci") {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || name == ".git" { // which is a file in a worktree, and names a folder of the machine
			return nil
		}
		data, err := os.ReadFile(path)
		// A file may go while others run their tests. What is not UTF-8 is no text.
		if errors.Is(err, fs.ErrNotExist) || !utf8.Valid(data) {
			return nil
		}
		relative, _ := filepath.Rel(root, path)
		files[filepath.ToSlash(relative)] = string(data)
		return err
	})
	if err != nil || len(files) < 50 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	return files
}

// sources is the Go part of the tree.
func sources(t *testing.T) map[string]string {
	files := tree(t)
	for path := range files {
		if !strings.HasSuffix(path, ".go") || strings.Contains(path, "/testdata/") {
			delete(files, path)
		}
	}
	return files
}
