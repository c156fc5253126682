package rights

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headwater/internal/access"
	"headwater/table"
)

var update = flag.Bool("update", false, "write the golden files")

func config() *access.Config {
	return &access.Config{
		Users: map[string]access.User{
			"ann": {Password: "a", Groups: []string{"ingestion"}}, "bob": {Password: "b", Groups: []string{"analysts"}}, "carl@acme.example": {Password: "c"},
			"dora": {Password: "d", Groups: []string{"board"}}, "emil": {Password: "e", Groups: []string{"board", "analysts"}}, "otto": {Password: "o"}, "zoe": {Password: "z"},
		},
		Raw: []string{"ingestion", "carl@acme.example"}, Tables: []string{"ingestion", "analysts", "board", "zoe"}, Operate: []string{"ingestion", "otto"},
		Only: map[string][]string{"analysts": {"market.orders*"}, "board": {"*.*s", "market.salaries_raw"}, "zoe": {"other.*"}},
	}
}

func pipeline() Pipeline {
	tables := []string{"orders_raw", "orders", "salaries_raw", "salaries"}
	p := Pipeline{
		Who: access.New(*config()).Identities(), Raw: &Place{Bucket: "acme-raw"}, Tables: &Place{Bucket: "acme-lake", Prefix: "team/a/"}, TopicsDir: "topics",
		Database: "market", Topics: []string{"orders_raw", "salaries_raw"}, Foreign: []string{"prod.legacy-raw"}, Own: []string{"headwater_cursors"}, TopicsRegex: ".*raw$",
	}
	for _, name := range tables {
		p.Known = append(p.Known, table.Name{Database: "market", Table: name})
	}
	return p
}

// golden compares with a file what an administrator is to apply, and, after it, what they are told.
func golden(t *testing.T, name, text string, notes Notes, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range notes {
		text += "# " + note + "\n"
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || text != string(want) {
		t.Errorf("%s is otherwise (-update writes it): %v\n%s", file, err, text)
	}
}

func policies(t *testing.T, p Pipeline, s S3) (string, Notes, error) {
	t.Helper()
	all, notes, err := p.Policies(s)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	for _, one := range all {
		if err := e.Encode(one); err != nil {
			t.Fatal(err)
		}
	}
	return b.String(), notes, err
}

func TestGolden(t *testing.T) {
	p := pipeline()
	for name, s := range map[string]S3{
		"buckets.json": {Own: "pipeline"}, "aws.json": {Account: "123456789012", Own: "arn:aws:iam::123456789012:role/headwater"}, "users.json": {Own: "pipeline", ByUser: true},
	} {
		text, notes, err := policies(t, p, s)
		golden(t, name, text, notes, err)
	}
	one := p
	one.Raw, one.TopicsDir = &Place{Bucket: "acme-lake"}, ""
	text, notes, err := policies(t, one, S3{})
	golden(t, "onebucket.json", text, notes, err)
	lines, notes, err := p.Commands(Kafka{Own: "hw user", Mechanism: "SCRAM-SHA-512", Brokers: []string{"kafka-0:9092", "kafka-1:9092"}})
	golden(t, "kafka.sh", strings.Join(append(lines, ""), "\n"), notes, err)
	lines, notes, err = p.Commands(Kafka{Own: "hw", Mechanism: "PLAIN"})
	golden(t, "plain.sh", strings.Join(append(lines, ""), "\n"), notes, err)
	lines, notes, err = Grants(config(), p)
	golden(t, "hive.sql", strings.Join(append(lines, ""), "\n"), notes, err)
}

// TestSameRights holds every folder of a table against access:, whatever the patterns are: nobody reads a table by S3 that they may not read by SQL, nor the other way round.
func TestSameRights(t *testing.T) {
	for _, pattern := range []string{"market.*", "market.orders", "market.orders*", "market.*1", "market.*raw", "m*.orders", "market.order?", "market.[o-p]*", "*.*", "other.*", `market.\orders`} {
		p := pipeline()
		p.Who = []access.Identity{{Name: "ann", Scopes: []access.Scope{access.Tables}, Only: []string{pattern}}}
		all, _, err := p.Policies(S3{ByUser: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range p.Known {
			key := "arn:aws:s3:::acme-lake/team/a/" + n.Database + "/" + n.Table + "/year=2026/month=1/day=1/part-00000.snappy.parquet"
			could := slices.ContainsFunc(all, func(one Policy) bool {
				return slices.ContainsFunc(one.Policy.Statement, func(s Statement) bool {
					return slices.ContainsFunc(s.Resource, func(r string) bool { return like(r, key) })
				})
			})
			if should := p.Who[0].Reads(n.Database, n.Table); could != should {
				t.Errorf("with %s, %s could be read: %t, should: %t", pattern, n, could, should)
			}
		}
	}
}

// like is how S3 compares: * is any characters, slashes, too.
func like(pattern, key string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	key, begins := strings.CutPrefix(key, first)
	if !more || !begins {
		return begins && key == ""
	}
	for i := range len(key) + 1 {
		if like(rest, key[i:]) {
			return true
		}
	}
	return false
}

func TestRefused(t *testing.T) {
	p := pipeline()
	if _, _, err := p.Policies(S3{Account: "123"}); err == nil || !strings.Contains(err.Error(), "12 digits") {
		t.Errorf("an account of three digits: %v", err)
	}
	if _, _, err := p.Commands(Kafka{}); err == nil || !strings.Contains(err.Error(), "--own") {
		t.Errorf("without an own user: %v", err)
	}
	p.Tables.Prefix = "a*/"
	if _, _, err := p.Policies(S3{}); err == nil || !strings.Contains(err.Error(), "*") {
		t.Errorf("a prefix with a wildcard: %v", err)
	}
	p.Raw, p.Tables = nil, nil
	if _, _, err := p.Policies(S3{}); err == nil || !strings.Contains(err.Error(), "no layer") {
		t.Errorf("no buckets: %v", err)
	}
	p.Known = nil
	if _, _, err := Grants(config(), p); err == nil || !strings.Contains(err.Error(), "no tables") {
		t.Errorf("no tables: %v", err)
	}
}
