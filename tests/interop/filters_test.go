package interop

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	hms "github.com/beltran/gohive/hive_metastore"
	"github.com/google/go-cmp/cmp"

	"headwater/table/metastore"
	"headwater/tests/interop/fixture"
)

// TestFilters asks Hive's own metastore and the embedded one for partitions by filters drawn at random: both give the same, in the same order, or both refuse, but
// for what oursAlone and theirsAlone say.
func TestFilters(t *testing.T) {
	m, err := metastore.Open(metastore.Config{Path: filepath.Join(t.TempDir(), "state.db"), Addr: "127.0.0.1:0", Warehouse: "file:///srv"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	theirs, ours := client(t, fixture.Metastore(t, fixture.Hive{})), client(t, m.Addr())
	for _, c := range []*hms.ThriftHiveMetastoreClient{theirs, ours} {
		makePartitions(t, c)
	}
	seed := uint64(20261129)
	if s := os.Getenv("HEADWATER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("HEADWATER_SEED=%d", seed)
	draw := filters{rand.New(rand.NewPCG(seed, 1))}
	answered := 0
	for _, filter := range append(fixedFilters, draw.many(150)...) {
		want, werr := named(theirs.GetPartitionsByFilter(t.Context(), "default", "days", filter, -1))
		got, gerr := named(ours.GetPartitionsByFilter(t.Context(), "default", "days", filter, -1))
		if werr == nil && theirsAlone(filter) || werr != nil && gerr == nil && oursAlone.MatchString(filter) {
			continue
		}
		if (werr == nil) != (gerr == nil) || gerr != nil && !errors.As(gerr, new(*hms.MetaException)) {
			t.Errorf("%s\n  theirs: %v, %v\n  ours: %v, %v", filter, want, werr, got, gerr)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-theirs +ours):\n%s", filter, diff)
		}
		if n, err := ours.GetNumPartitionsByFilter(t.Context(), "default", "days", filter); gerr == nil && (err != nil || int(n) != len(got)) {
			t.Errorf("%s: %d, %v", filter, n, err)
		}
		if werr == nil && len(want) > 0 {
			answered++
		}
	}
	if answered < 60 {
		t.Errorf("only %d filters found something", answered)
	}
}

func named(ps []*hms.Partition, err error) (out []string, _ error) {
	for _, p := range ps {
		out = append(out, strings.Join(p.Values, "/"))
	}
	return out, err
}

// regions and days are values of partitions, and of filters.
var (
	regions = []string{"eu", "us-east", "EU", "it's", "a/b=c", "100%", `a\b`, "__HIVE_DEFAULT_PARTITION__"}
	dates   = []string{"2026-07-05", "2026-07-06", "2025-12-31"}
	numbers = []int{-1, 0, 5, 7, 10, 2026}
)

// makePartitions makes a table of three partition columns, of an integer, a text and a date.
func makePartitions(t *testing.T, c *hms.ThriftHiveMetastoreClient) {
	t.Helper()
	tbl := hms.NewTable()
	tbl.DbName, tbl.TableName, tbl.TableType, tbl.Parameters = "default", "days", "EXTERNAL_TABLE", map[string]string{"EXTERNAL": "TRUE"}
	tbl.PartitionKeys = []*hms.FieldSchema{{Name: "n", Type: "int"}, {Name: "region", Type: "string"}, {Name: "d", Type: "date"}}
	tbl.Sd = &hms.StorageDescriptor{
		Cols: []*hms.FieldSchema{{Name: "id", Type: "bigint"}}, Location: "file:///tmp/headwater-none", InputFormat: "org.apache.hadoop.mapred.TextInputFormat",
		OutputFormat: "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat", SerdeInfo: hms.NewSerDeInfo(), Parameters: map[string]string{},
	}
	tbl.Sd.SerdeInfo.SerializationLib = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
	if err := c.CreateTable(t.Context(), tbl); err != nil {
		t.Fatal(err)
	}
	var ps []*hms.Partition
	ps = append(ps, &hms.Partition{DbName: "default", TableName: "days", Values: []string{"__HIVE_DEFAULT_PARTITION__", "eu", "__HIVE_DEFAULT_PARTITION__"}, Sd: tbl.Sd, Parameters: map[string]string{}})
	for i, n := range numbers {
		for j, r := range regions {
			ps = append(ps, &hms.Partition{DbName: "default", TableName: "days", Values: []string{strconv.Itoa(n), r, dates[(i+j)%len(dates)]}, Sd: tbl.Sd, Parameters: map[string]string{}})
		}
	}
	if _, err := c.AddPartitions(t.Context(), ps); err != nil {
		t.Fatal(err)
	}
}

// fixedFilters are those that are worth their own place.
var fixedFilters = []string{
	``, `n = 7`, `7 = n`, `n = "7"`, `N = 7`, `n != 7`, `n <> 7`, `n < 7`, `7 < n`, `n >= -1`, `n = 007`, `n = 99999999999999999999`,
	`region = "eu"`, `region = 'eu'`, `region = eu`, `region = 7`, `region != "eu"`, `region > "eu"`, `region = "it's"`, `region = 'it\'s'`, `region = "a/b=c"`, `region = "100%"`,
	`region like "eu.*"`, `region like "eu"`, `region like "%eu%"`, `n like "7"`, `n like "[0-9]"`, `not region like "eu.*"`,
	`n in (5, 7)`, `(n) in (5, 7)`, `n not in (5, 7)`, `region in ("eu", "EU")`, `(n, region) in ((5, "eu"), (7, "EU"))`, `(region) in ("eu")`,
	`n between 5 and 7`, `n not between 5 and 7`, `region between "a" and "f"`,
	`d = "2026-07-05"`, `d = 2026-07-05`, `d > "2026-01-01"`, `d = date "2026-07-05"`, `d = DATE '2026-07-05'`, `d between "2026-07-01" and "2026-07-31"`, `d in ("2026-07-05")`,
	`d = "x"`, `d = "2026-7-5"`, `d < "2026-07-05" or d = "2026-07-06"`, `d = 20260705`, `d like "2026.*"`, `d in (2026-07-05)`, `d between 2026-07-01 and 2026-07-31`,
	`n = 5 and region = "eu" or n = 7`, `n = 5 or n = 7 and region = "eu"`, `(n = 5 or n = 7) and region = "eu"`, `((n = 5))`, `not n = 5`, `not (n = 5)`, `n = 5 AND region = "eu"`,
	`id = 7`, `n = region`, `n`, `n = `, `n == 7`, `n = 7 and`, `(n = 7`, `n = 7)`, `n is null`, `"eu" = region`, `n = x`, `n = "x"`, `n = 7.5`, `n & 7`, "`n` = 7", `n = 7;`, `n=7 and region="eu"`, `n<>7`, `5<n`,
	`n < "7"`, `n > "10"`, `n != "7"`, `n in ("5", "7")`, `n between "5" and "7"`, `region < 7`, `region in (7)`, `not not n = 7`, `not n in (7)`, `n = - 7`, `n = -1`,
}

// oursAlone are filters that Hive 2.3 refuses and later ones, or none, know: NOT, IN without a list of columns, LIKE beside anything but texts, quotes around integers
// and names. What they mean is in the tests of table/metastore.
var oursAlone = regexp.MustCompile("(?i)\\bnot\\b|\\bin\\b|\\blike\\b|`|\\bn\\b[^\"]*\"|date [\"']")

// theirsAlone reports whether Hive 2.3 answers the filter by mistake: it stops to read at a parenthesis too many, and knows of regular expressions only points and stars.
func theirsAlone(filter string) bool {
	return filter == "n = 7)" || strings.Contains(filter, "[a-z]+")
}

// filters draws them.
type filters struct{ *rand.Rand }

func (f filters) many(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = f.condition(3)
	}
	return out
}

func (f filters) of(all ...string) string { return all[f.IntN(len(all))] }

func (f filters) condition(depth int) string {
	switch kind := f.IntN(8); {
	case depth > 0 && kind < 4:
		return f.condition(depth-1) + " " + f.of("and", "or", "AND", "OR") + " " + f.condition(depth-1)
	case depth > 0 && kind == 4:
		return "(" + f.condition(depth-1) + ")"
	case depth > 0 && kind == 5:
		return "not (" + f.condition(depth-1) + ")"
	}
	column := f.IntN(3)
	value := func() string {
		switch column {
		case 0:
			return strconv.Itoa(numbers[f.IntN(len(numbers))])
		case 1:
			return `"` + f.of(regions...) + `"` // as Spark quotes: a backslash is one
		}
		return f.of(`"`+f.of(dates...)+`"`, f.of(dates...))
	}
	name := []string{"n", "region", "d"}[column]
	switch f.IntN(6) {
	case 0:
		return fmt.Sprintf("%s %s (%s, %s)", name, f.of("in", "not in", "IN"), value(), value())
	case 1:
		return fmt.Sprintf("%s %s %s and %s", name, f.of("between", "not between"), value(), value())
	case 2:
		return fmt.Sprintf("%s %s %s", value(), f.of("=", "<", ">", "<=", ">=", "!="), name)
	case 3:
		if column == 1 {
			return fmt.Sprintf("region like %q", f.of("eu.*", ".*", "u", "[a-z]+"))
		}
	}
	return fmt.Sprintf("%s %s %s", name, f.of("=", "<", ">", "<=", ">=", "!=", "<>"), value())
}
