package config

import (
	"bytes"
	"strings"
	"testing"

	"headwater/envelope"
	"headwater/table"
)

func TestExternal(t *testing.T) {
	p := load(t, `
database: market
sources:
  plain: {external: {topic: prod.plain-raw}}
  iso: {external: {topic: Iso.RAW, timestamp: iso, raw_data: json_string}, tables: {flat: events}}
  bare: {external: {topic: bare, envelope: none}}
  dated: {external: {topic: dated, envelope: none, timestamp: s, timestamp_field: a.b}}
  own: {file: {path: in}}
`)
	want := []struct {
		topic string
		shape envelope.Shape
	}{
		{"prod.plain-raw", envelope.Shape{Unit: envelope.Millis}},
		{"Iso.RAW", envelope.Shape{Unit: envelope.ISO, InString: true}},
		{"bare", envelope.Shape{Bare: true}},
		{"dated", envelope.Shape{Bare: true, Unit: envelope.Seconds, Field: "a.b"}},
		{"own_raw", envelope.Shape{}},
	}
	for i, s := range p.Sources {
		if s.Topic != want[i].topic || s.Shape != want[i].shape || (s.Kind == External) != (i < 4) {
			t.Errorf("%s: %+v", s.Name, s)
		}
	}
	if got := p.Sources[1].FlatTable; got != (table.Name{Database: "market", Table: "events"}) {
		t.Errorf("the flat table is %v", got)
	}
	var out bytes.Buffer
	if err := Report(&out, p.File, stubs(), false); err != nil || !strings.Contains(out.String(), "external  prod.plain-raw  market.plain_raw") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestExternalIsNoKindToRegister(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a second external was registered")
		}
	}()
	Add(new(Registry), External, func() stub { return stub{} }, nil)
}
