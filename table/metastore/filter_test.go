package metastore

import (
	"fmt"
	"strings"
	"testing"

	hms "github.com/beltran/gohive/hive_metastore"
)

var keys = []*hms.FieldSchema{{Name: "year", Type: "int"}, {Name: "Region", Type: "string"}, {Name: "day", Type: "date"}}

// names of partitions that the filters of the tests choose from.
var names = []string{
	"year=2025/region=eu-west/day=2026-07-05", "year=2026/region=eu-west/day=2026-07-06", "year=2026/region=us/day=2026-12-31", "year=10000/region=it%27s/day=__HIVE_DEFAULT_PARTITION__",
}

func TestFilter(t *testing.T) {
	for filter, want := range map[string]string{
		``:                              "0123",
		`  `:                            "0123",
		`year = 2026`:                   "12",
		`2026 = year`:                   "12",
		`year = "2026"`:                 "12",
		"`year` = 2026":                 "12",
		`year != 2026`:                  "03",
		`year <> 2026`:                  "03",
		`year < 2026`:                   "0",
		`year > 2025`:                   "123", // as numbers
		`2026 < year`:                   "3",
		`2026 >= year`:                  "012",
		`year <= 2025 or year >= 10000`: "03",
		`YEAR = 2026 AND REGION = "us"`: "2",
		`year = 2026 and region = 'us' or year=1`:             "2",
		`year = 1 or year = 2026 and region = "us"`:           "2",
		`(year = 1 or year = 2026) and region="us"`:           "2",
		`not year = 2026`:                                     "03",
		`not (year = 2026 and region = "us")`:                 "013",
		`year in (2025, 10000)`:                               "03",
		`year not in (2025, 10000)`:                           "12",
		`(year) in (2025, 10000)`:                             "03", // as Spark writes it
		`(year) not in (2025)`:                                "123",
		`(year, region) in ((2025, "eu-west"), (2026, "us"))`: "02",
		`year between 2025 and 2026`:                          "012",
		`year not between 2025 and 2026`:                      "3",
		`region like "eu-.*"`:                                 "01",
		`region not like "eu-.*"`:                             "23",
		`region = "it's"`:                                     "3",
		`region = 'it\'s'`:                                    "",  // the backslash is of the text
		`day = 2026-07-05`:                                    "0", // as Spark writes it
		`day >= "2026-7-6"`:                                   "12",
		`2026-07-06 > day`:                                    "0",
		`day not between "2020-01-01" and 2026-07-05`:         "12",
		`day != DATE '2026-07-05'`:                            "12",
		`day in (date "2026-12-31", 2026-07-05)`:              "02",
		`day between 2026-07-01 and 2026-07-31`:               "01",
		`region > "eu-west"`:                                  "23",
		`year = -1`:                                           "",
		`((((year = 2026))))`:                                 "12",
	} {
		match, err := parseFilter(filter, keys)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
			continue
		}
		var got strings.Builder
		for i, n := range names {
			if match(n) {
				got.WriteString(fmt.Sprint(i))
			}
		}
		if got.String() != want {
			t.Errorf("%s: %q, want %q", filter, got.String(), want)
		}
	}
}

func TestFilterFaults(t *testing.T) {
	for filter, want := range map[string]string{
		`year`:                              `no value`,
		`year = `:                           `no value`,
		`year = region`:                     `no value`,
		`year = x`:                          `no value`,
		`year = "x"`:                        `holds integers`,
		`month = 7`:                         `"month" is not a partition column`,
		`7 = month`:                         `"month" is not a partition column`,
		`7 7 year`:                          `"7" is no comparison`,
		`year like 7`:                       `LIKE needs a text`,
		`region like "("`:                   `missing closing )`,
		`year in 7`:                         `expected (`,
		`year in (7 8)`:                     `expected ,`,
		`year in ()`:                        `no value`,
		`(year, region) in (7, 8)`:          `expected (`,
		`(year, region) in ((7))`:           `expected ,`,
		`(year, month) in ((7, 8))`:         `"month" is not a partition column`,
		`(year) = 7`:                        `expected in`,
		`year between 7`:                    `expected and`,
		`year not = 7`:                      `NOT must be followed`,
		`year = 7)`:                         `expected its end`,
		`(year = 7`:                         `expected )`,
		`year = 7 and`:                      `is not a partition column`,
		`region = "open`:                    `cannot read it from "\"open"`,
		`year = 7; drop`:                    `cannot read it from "; drop"`,
		`region = DATE "2026-01-01"`:        `holds texts`,
		`region = 7`:                        `holds texts`,
		`day = "x"`:                         `holds dates`,
		`day = 20260705`:                    `holds dates`,
		`day = "2026-02-30"`:                `holds dates`,
		`price > "5"`:                       `of type decimal(10,2)`,
		strings.Repeat("(", 100_000):        `nested deeper`,
		strings.Repeat("not ", 100_000):     `nested deeper`,
		strings.Repeat("year = 1 or ", 1e5): `longer than`,
	} {
		if _, err := parseFilter(filter, append(keys, &hms.FieldSchema{Name: "price", Type: "decimal(10,2)"})); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", filter, err, want)
		}
	}
}

// FuzzFilter: whatever a client sends is a filter or an error.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{`year = 2026 and (region in ("a", 'b') or not year between 1 and 2)`, `(year, region) in ((1, "x"))`, `region like "a.*"`, `"\"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		match, err := parseFilter(filter, keys)
		if err != nil {
			return
		}
		for _, n := range names {
			match(n)
		}
	})
}

// FuzzPartitionName: any values make a name that gives them back.
func FuzzPartitionName(f *testing.F) {
	f.Add("2026", "it's=a/b%")
	f.Add("\x00", "é\xff")
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" {
			return // no value: Hive's name for it comes back
		}
		name := partitionName(&hms.Table{PartitionKeys: keys[:2]}, []string{a, b})
		_, values, err := parsePartitionName(name)
		if err != nil || len(values) != 2 || values[0] != a || values[1] != b {
			t.Errorf("%q, %q became %s and came back as %q, %v", a, b, name, values, err)
		}
	})
}
