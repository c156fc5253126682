package envelope_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"headwater/envelope"
)

// trade is a small item, order a nested one, both as sources send them.
const trade = `{"e":"trade","E":1700000000123,"s":"BTCUSDT","t":3190022342,"p":"43210.12000000","q":"0.00150000","b":88012345,"a":88012346,"T":1700000000120,"m":true,"M":true}`

func order(i int) string {
	return fmt.Sprintf(`{"id":%d,"customer":{"name":"J`+"\u00fcrgen M\u00fcller"+`","email":"j.mueller@example.org","tags":["gold","eu"],"address":{"street":"Lange Stra`+"\u00dfe"+` 17","zip":"10115","city":"Berlin"}},`+
		`"lines":[{"sku":"A-1002","title":"A longer title with \"quotes\" in it","qty":2,"price":19.99},{"sku":"B-77","title":"Another","qty":1,"price":5}],`+
		`"note":"%s","paid":true,"refund":null,"total":44.98}`, i, strings.Repeat("please ring twice ", 8))
}

func texts() map[string][]byte {
	var orders []string
	for i := range 2000 {
		orders = append(orders, order(i))
	}
	big := []byte("[" + strings.Join(orders, ",") + "]")
	var indented bytes.Buffer
	if err := json.Indent(&indented, big, "", "  "); err != nil {
		panic(err)
	}
	return map[string][]byte{
		"trade":    []byte(trade),
		"order":    []byte(order(1)),
		"big":      big,
		"indented": indented.Bytes(),
		"numbers":  []byte("[" + strings.Repeat("12345.678,-1,0,", 20_000) + "1]"),
		"string":   []byte(`"` + strings.Repeat("all of it is one long text ", 50_000) + `"`),
		"cyrillic": []byte(`"` + strings.Repeat("\u0421\u044a\u0435\u0448\u044c \u0436\u0435 \u0435\u0449\u0451 ", 20_000) + `"`),
	}
}

func BenchmarkCompact(b *testing.B) {
	for name, text := range texts() {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst, _ = envelope.Compact(dst[:0], text, envelope.DefaultLimits)
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, text := range texts() {
		for kind, label := range []string{"json", "text"} {
			b.Run(label+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				var dst []byte
				for b.Loop() {
					dst, _ = envelope.Append(dst[:0], envelope.Item{Kind: envelope.Kind(kind), Data: text}, metadata(), time.UnixMilli(1), envelope.DefaultLimits)
				}
			})
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for name, text := range texts() {
		b.Run(name, func(b *testing.B) {
			value, _ := envelope.Append(nil, envelope.Item{Data: text}, metadata(), time.UnixMilli(1), envelope.DefaultLimits)
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if _, found, err := envelope.Lookup(value, envelope.KeyTimestamp); !found {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	value, _ := envelope.Append(nil, envelope.Item{Data: []byte(order(1))}, metadata(), time.UnixMilli(1), envelope.DefaultLimits)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.Parse(value); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPosition(b *testing.B) {
	p := envelope.Position{Stream: "in/2026-07-05.csv.gz#3", Seq: 123456, Resume: json.RawMessage(`{"offset":123456789,"hash":"e3b0c44298fc1c149afbf4c8996fb924"}`)}
	header := p.Append(nil)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		var dst []byte
		for b.Loop() {
			dst = p.Append(dst[:0])
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := envelope.ParsePosition(header); err != nil {
				b.Fatal(err)
			}
		}
	})
}
