package flow

import (
	"encoding/json"
	"strings"
	"testing"

	"headwater/tests/binary"
)

// TestQuarantineCommands: what could not be processed is counted and shown, with where it came from and all of its data.
func TestQuarantineCommands(t *testing.T) {
	t.Parallel()
	p := binary.New(t, binary.Build(t), "database: db\ncollect: {max_record: 16KiB, max_item: 16KiB}\nsources:\n  odd: {file: {path: \"in/*.ndjson\"}}\nlisten: {http: \"127.0.0.1:0\", kafka: \"127.0.0.1:0\"}\n")
	ls := func(args ...string) string { return p.Run(t, nil, "quarantine ls", args...).Must(t) }
	show := func(args ...string) string { return p.Run(t, nil, "quarantine show", args...).Must(t) }
	if got := ls(); got != "Nothing is in quarantine.\n" {
		t.Errorf("before anything has run: %q", got)
	}
	if got := show(); got != "Nothing is in quarantine.\n" {
		t.Errorf("before anything has run: %q", got)
	}
	if got := ls("--json") + show("--json"); got != "" {
		t.Errorf("as JSON: %q", got)
	}
	large := `{"pad":"` + strings.Repeat("x", 20_000) + `"}`
	p.Write(t, "in/a.ndjson", []byte("{\"n\":1}\n{\"n\":\x1b[31m}\n{\"n\":\n"+large+"\n"))
	p.Run(t, nil, "run", "--once").Must(t)
	type group struct {
		Stage, Source, Reason string
		Entries, Bytes        int64
	}
	var groups []group
	for line := range strings.Lines(ls("--json")) {
		var g group
		if err := json.Unmarshal([]byte(line), &g); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		groups = append(groups, g)
	}
	// The large line is twice in quarantine: the line itself, and the record that stands for it and is no row.
	if len(groups) != 2 || groups[0].Stage != "collect" || groups[0].Reason != "too-large" || groups[0].Entries != 1 || groups[0].Bytes != int64(len(large)) ||
		groups[1].Stage != "serialize" || groups[1].Reason != "malformed" || groups[1].Entries != 3 {
		t.Errorf("got %+v", groups)
	}
	if got := ls(); strings.Count(got, "\n") != 3 || !strings.Contains(got, "odd") {
		t.Errorf("got %s", got)
	}
	if got := ls("--stage", "land"); got != "Nothing is in quarantine.\n" {
		t.Errorf("of a stage with nothing: %s", got)
	}
	got := show("--stage", "serialize", "--limit", "2")
	if strings.Count(got, "malformed") < 2 || !strings.Contains(got, "topic odd_raw, partition 0, offset 1") || !strings.Contains(got, "--limit 0 shows all") || strings.Contains(got, "\x1b") {
		t.Errorf("got %s", got)
	}
	var e struct{ Reason, Data string }
	if err := json.Unmarshal([]byte(show("--reason", "too-large", "--json")), &e); err != nil || e.Data != large {
		t.Errorf("%d bytes of %d, %v", len(e.Data), len(large), err)
	}
	for _, args := range [][]string{{"--stage", "lend"}, {"--date", "yesterday"}} {
		if r := p.Run(t, nil, "quarantine ls", args...); r.Code != 2 || !strings.Contains(r.Stderr, args[0]) {
			t.Errorf("%v: %d, %s", args, r.Code, r.Stderr)
		}
	}
}
