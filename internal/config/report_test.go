package config

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	path := write(t, "database: market\nlake: {raw: /srv/raw, tables: /srv/tables}\nsources: {orders: {file: {path: a}}}\n")
	var out strings.Builder
	if err := Report(&out, path, stubs(), false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		path + ": no faults\n", "kafka   embedded, in ", "raw     /srv/raw\n", "tables  /srv/tables\n",
		"orders  file  orders_raw  market.orders_raw  market.orders\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
}

func TestReportOfFaults(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out strings.Builder
		err := Report(&out, "testdata/missing.bad.yml", stubs(), asJSON)
		if faults, ok := errors.AsType[Faults](err); !ok || len(faults) != 2 {
			t.Errorf("Report gave %v, want two faults", err)
		}
		if !asJSON {
			if !strings.HasSuffix(out.String(), "testdata/missing.bad.yml: 2 faults\n") {
				t.Errorf("got %s", out.String())
			}
			continue
		}
		var got struct{ Faults []Fault }
		if err := json.Unmarshal([]byte(out.String()), &got); err != nil || len(got.Faults) != 2 || got.Faults[0].Path != "database" {
			t.Errorf("got %s: %v", out.String(), err)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	var out strings.Builder
	path := write(t, "database: market\nsources: {orders: {file: {path: a}}}\n")
	if err := Report(&out, path, stubs(), true); err != nil {
		t.Fatal(err)
	}
	want := `"faults":[],"sources":[{"name":"orders","kind":"file","topic":"orders_raw","raw_table":"market.orders_raw","flat_table":"market.orders"}]}`
	if !strings.HasSuffix(strings.TrimSpace(out.String()), want) {
		t.Errorf("got %s, want it to end with %s", out.String(), want)
	}
}

func TestReportOfNoFile(t *testing.T) {
	var out strings.Builder
	if err := Report(&out, "testdata/none.yml", stubs(), true); !errors.Is(err, os.ErrNotExist) || out.Len() > 0 {
		t.Errorf("got %v and %q", err, out.String())
	}
}
