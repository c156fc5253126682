package serialize

import (
	"fmt"
	"strings"
	"testing"
)

// ids is an object with so many ids for keys, all of one value.
func ids(n int, value string) string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"%d":%s`, 1000+i, value))
	}
	return "{" + strings.Join(fields, ",") + "}"
}

// TestMap: objects whose keys are ids are one column, from the first day that has them on, and stay it.
func TestMap(t *testing.T) {
	for _, with := range []string{LedgerOn, LedgerOff} {
		t.Run(with, func(t *testing.T) {
			w := newWorld(t)
			w.job.Schema.Ledger = with
			w.on(1).land(t, `{"m":`+ids(60, `{"q":1,"l":[1,null]}`)+`,"n":{"1":2}}`, `{"m":{"7":null,"k\u00e9y":{"q":2}}}`, `{"m":{}}`, `{"m":null}`, `{}`)
			w.on(1).run(t)
			if got := w.on(1).columns(t); got != "m_1000_l:array<bigint>" && !strings.HasPrefix(got, "m_1000_l") {
				t.Errorf("a key that is no id: %s", got) // one key of another kind makes it a struct
			}
			w = newWorld(t)
			w.job.Schema.Ledger = with
			w.on(1).land(t, `{"m":`+ids(60, `{"q":1,"l":[1,null]}`)+`,"n":{"1":2}}`, `{"m":{"7":null,"8":{"q":2}}}`, `{"m":{}}`, `{"m":null}`, `{}`)
			w.on(1).run(t)
			rows := w.on(1).rows(t, w.job.Flat)
			first := rows[0].(map[string]any)
			if m := first["m"].(map[string]any); len(m) != 60 || fmt.Sprint(m["1059"]) != "map[l:[1 <nil>] q:1]" || fmt.Sprint(first["n_1"]) != "2" {
				t.Errorf("%d entries: %v", len(m), m["1059"])
			}
			if got := w.on(1).columns(t); got != "m:map<string,struct<l:array<bigint>,q:bigint>>,n_1:bigint" {
				t.Error(got)
			}
			want := []string{`m=map[7:<nil> 8:map[q:2]]`, `m=map[]`, ``, ``}
			if got := w.on(1).flat(t)[1:]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%q, want %q", got, want)
			}
			raw := w.on(1).rows(t, w.job.Raw)[1].(map[string]any)["raw_data"]
			if fmt.Sprint(raw) != "map[m:map[7:<nil> 8:map[q:2]]]" {
				t.Error("raw:", raw)
			}
		})
	}
}

// TestMapStays: what the ledger has as a map is one with any keys; its values widen as others do, and what does not fit is rescued.
func TestMapStays(t *testing.T) {
	w := newWorld(t)
	w.on(1).land(t, `{"m":`+ids(60, `{"q":1}`)+`}`)
	w.on(1).run(t)
	w.on(2).land(t, `{"m":{"any":{"q":1.5,"new":"x"}}}`, `{"m":{"a":{"q":1},"a":{"q":2}}}`, `{"m":"text"}`, `{"m":{"b":"text","c/d":{"q":2}}}`)
	r := w.on(2).run(t)
	if r.Reasons["duplicate-key"] != 1 {
		t.Error(r.Reasons)
	}
	w.on(2).want(t, "m:map<string,struct<new:string,q:double>>,_rescued:string",
		`m=map[any:map[new:x q:1.5]]`, `_rescued={"/raw_data/m":"text"}`, `_rescued={"/raw_data/m/b":"text"} m=map[b:<nil> c/d:map[q:2]]`)
	w.on(1).run(t)
	if got := w.on(1).columns(t); got != "m:map<string,struct<new:string,q:double>>,_rescued:string" {
		t.Error(got)
	}
	if head := w.head(t); head.Places[head.Find("m[].q").First["int"]].Record != 1 {
		t.Error("its values were met first in", head.Places[head.Find("m[].q").First["int"]])
	}
	if n := w.head(t).Find("m[].q"); n == nil || n.Type().String() != "double" || len(w.head(t).Find("m").Fields) != 0 {
		t.Error("the ledger has", n)
	}
	w.on(3).land(t, `{"s":{"a":1}}`)
	w.on(3).run(t)
	w.on(4).land(t, `{"s":`+ids(60, `2`)+`}`)
	w.on(4).run(t)
	if got := w.on(4).columns(t); !strings.Contains(got, "s_1000:bigint") || !strings.Contains(got, "s_a:bigint") {
		t.Error("a struct has become a map:", got)
	}
}
