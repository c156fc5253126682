package access

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func policy() *Policy {
	return New(Config{
		Users: map[string]User{
			"ann":  {Password: "ann's", Groups: []string{"ingestion"}},
			"bob":  {Password: "bob's", Groups: []string{"analysts"}},
			"carl": {Password: "carl's", Groups: []string{"analysts", "finance"}},
			"dora": {Password: "dora's"},
			"eve":  {Password: "eve's", Groups: []string{"analysts", "board"}},
		},
		Raw:     []string{"ingestion"},
		Tables:  []string{"ingestion", "analysts", "finance", "board"},
		Operate: []string{"ingestion", "dora"},
		Only:    map[string][]string{"analysts": {"market.orders*"}, "finance": {"books.*"}},
	})
}

// TestWhoMayWhat has, for each user, the scopes and which of the tables they read.
func TestWhoMayWhat(t *testing.T) {
	tables := []string{"market.orders", "market.orders_raw", "market.trades", "books.ledger"}
	var got []string
	for _, id := range append(policy().Identities(), Own(), Identity{}) {
		var may, reads []string
		for _, s := range Scopes {
			if id.May(s) {
				may = append(may, string(s))
			}
		}
		for _, table := range tables {
			database, name, _ := strings.Cut(table, ".")
			if id.Reads(database, name) {
				reads = append(reads, table)
			}
		}
		got = append(got, fmt.Sprintf("%s: %v reads %v", id.Name, may, reads))
	}
	want := []string{
		"ann: [raw tables operate] reads [market.orders market.orders_raw market.trades books.ledger]",
		"bob: [tables] reads [market.orders market.orders_raw]",
		"carl: [tables] reads [market.orders market.orders_raw books.ledger]",
		"dora: [operate] reads []",
		"eve: [tables] reads [market.orders market.orders_raw market.trades books.ledger]",
		"headwater: [raw tables operate] reads [market.orders market.orders_raw market.trades books.ledger]",
		": [] reads []",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestEveryone(t *testing.T) {
	p := New(Config{Users: map[string]User{"ann": {Password: "a"}}, Tables: []string{Everyone}})
	if id, ok := p.Login("ann", "a"); !ok || !id.Reads("d", "t") || id.May(Raw, Operate) {
		t.Errorf("got %+v, %t", id, ok)
	}
}

func TestLogin(t *testing.T) {
	p := policy()
	for _, c := range []struct {
		name, password string
		in             bool
	}{
		{"ann", "ann's", true},
		{"ann", "bob's", false},
		{"ann", "", false},
		{"ann", "ann'", false},
		{"Ann", "ann's", false},
		{"", "", false},
		{"nobody", "", false},
		{Itself, "", false},
		{Everyone, "", false},
	} {
		if id, in := p.Login(c.name, c.password); in != c.in || in != (id.Name == c.name && in) {
			t.Errorf("%q with %q: got %v, %t", c.name, c.password, id, in)
		}
	}
	if _, in := New(Config{}).Login("", ""); in {
		t.Error("where nobody may, somebody is let in")
	}
}

// TestPrintsNoPassword prints everything that has one.
func TestPrintsNoPassword(t *testing.T) {
	c := Config{Users: map[string]User{"ann": {Password: "sesame"}}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(verb, c) + fmt.Sprintf(verb, New(c)); strings.Contains(text, "sesame") {
			t.Errorf("%s prints it: %s", verb, text)
		}
	}
}

func TestGrant(t *testing.T) {
	for _, c := range []struct {
		Grant
		fault string
	}{
		{Grant{Scopes: []Scope{Raw, Operate}}, ""},
		{Grant{Scopes: []Scope{Tables}, Only: []string{"market.*"}}, ""},
		{Grant{}, "no scope"},
		{Grant{Scopes: []Scope{"all"}}, `no scope "all"`},
		{Grant{Scopes: []Scope{Raw}, Only: []string{"market.*"}}, "go with the scope tables"},
		{Grant{Scopes: []Scope{Tables}, Only: []string{"market"}}, "must be database.table"},
	} {
		err := c.Validate()
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%+v: got %v, want %q", c.Grant, err, c.fault)
		}
	}
}
