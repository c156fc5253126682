package serialize

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// dayMaker draws a day whose documents have something in common, so that not every column ends as text.
type dayMaker struct {
	*rand.Rand
	records int
}

func newDayMaker(r *rand.Rand) *dayMaker { return &dayMaker{Rand: r} }

// place is what documents have at a place: mostly values of its kinds.
type place struct {
	kinds  []string
	keys   []string // as JSON strings
	fields []*place
	elem   *place
}

var (
	placeKinds = []string{"bool", "int", "int", "wide", "big", "huge", "fraction", "fraction", "string", "string", "null", "empty", "array", "array", "object", "object", "object"}
	// No two of these are equal where case does not count, alone or joined by _.
	dayKeys = []string{
		`"a"`, `"b"`, `"\u0063"`, `"Qty"`, `"d e"`, `"é"`, `"x-y"`, `"f.g"`, `"k$"`, `"1"`, `"日本"`, `"😀"`, `"\uff5e"`, `"raw_data"`, `"f\"g"`, `"b\\s"`, `""`, `"Σ"`, `"'q'"`, `"\/"`, `"[0]"`, `"z\u00e9"`, `'s'`,
	}
	bigs      = []string{"9223372036854775808", "-9223372036854775809", "18446744073709551616", "-123456789012345678901", "12345678901234567890123456789"}
	fractions = []string{
		"0.1", "-0.0", "1e5", "1E-400", "-1e400", "1e400", "1.50", "123456789012345678.9", "2.2250738585072014e-308", "4.9e-324", "0e0", "-1.0E+2", "9007199254740993.0", "NaN", "Infinity", "-Infinity", "+INF",
	}
	chars = []string{
		"a", "B", " ", "é", "世", "😀", `\n`, `\t`, `\"`, `\\`, `\/`, `\'`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, `\ude00`, `\u0000`, "{", "]", ",", "'", "\u007f", "\u2028", "1", "NaN", "null", "-0",
	}
)

func pick[E any](r *dayMaker, list []E) E { return list[r.IntN(len(list))] }

func (r *dayMaker) place(depth int) *place {
	p := &place{}
	for range 1 + r.IntN(8)/5 + r.IntN(10)/9 {
		kind := pick(r, placeKinds)
		if depth == 0 && (kind == "array" || kind == "object") {
			kind = "string"
		}
		p.kinds = append(p.kinds, kind)
		switch kind {
		case "array":
			p.elem = r.place(depth - 1)
		case "object":
			r.grow(p, depth-1)
		}
	}
	return p
}

func (r *dayMaker) grow(p *place, depth int) {
	if p.keys != nil {
		return
	}
	for _, i := range r.Perm(len(dayKeys))[:r.IntN(5)] {
		p.keys = append(p.keys, dayKeys[i])
		p.fields = append(p.fields, r.place(depth))
	}
}

func (r *dayMaker) space() string { return pick(r, []string{"", "", "", "", " ", "\t ", "  "}) }

func (r *dayMaker) value(p *place) string {
	kind := pick(r, p.kinds)
	switch r.IntN(20) {
	case 0:
		kind = "null"
	case 1:
		kind = "empty"
	}
	switch kind {
	case "null":
		return "null"
	case "empty":
		return pick(r, []string{`""`, `""`, `''`})
	case "bool":
		return pick(r, []string{"true", "false"})
	case "int":
		return pick(r, []string{"0", "-0", "1", strconv.Itoa(r.IntN(2000) - 1000)})
	case "wide":
		return pick(r, []string{"9007199254740993", "-9223372036854775808", "9223372036854775807", strconv.FormatInt(r.Int64(), 10)})
	case "big":
		if r.IntN(3) == 0 {
			return pick(r, []string{"", "-"}) + strings.Repeat("9", 19+r.IntN(20))
		}
		return pick(r, bigs)
	case "huge":
		return "1" + strings.Repeat("0", 38+r.IntN(5)*r.IntN(100))
	case "fraction":
		return pick(r, append(fractions, strconv.FormatFloat(r.NormFloat64(), 'g', -1, 64), fmt.Sprintf("%d.%d", r.IntN(1000), r.IntN(100))))
	case "string":
		return r.text()
	case "array":
		var parts []string
		for range r.IntN(4) {
			parts = append(parts, r.space()+r.value(p.elem)+r.space())
		}
		return "[" + strings.Join(parts, ",") + r.space() + "]"
	}
	var parts []string
	for _, i := range r.Perm(len(p.keys)) {
		if r.IntN(4) > 0 {
			parts = append(parts, r.space()+r.spelled(p.keys[i])+r.space()+":"+r.space()+r.value(p.fields[i])+r.space())
		}
	}
	return "{" + r.space() + strings.Join(parts, ",") + "}"
}

// spelled is the same key, now and then otherwise.
func (r *dayMaker) spelled(key string) string {
	if c := key[1]; r.IntN(8) == 0 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
		return fmt.Sprintf(`%c\u%04x%s`, key[0], c, key[2:])
	}
	return key
}

func (r *dayMaker) text() string {
	var s strings.Builder
	for range r.IntN(5) {
		s.WriteString(pick(r, chars))
	}
	if r.IntN(20) == 0 && !strings.Contains(s.String(), "'") {
		return "'" + strings.ReplaceAll(s.String(), `\"`, `"`) + "'"
	}
	return `"` + s.String() + `"`
}

// badLines are no JSON to either; unfit are what Spark makes rows of and we do not.
var (
	badLines = []string{`{"raw_data":{"a":1}`, `{"raw_data":{"a":01},"ingestion_timestamp":1}`, `nul`, `{"raw_data":{"a":"\x"}}`, `{a:1}`, `[1]`, `{"raw_data":tru}`, `"x"`, "{\"raw_data\":\"\x01\"}", `{"raw_data":[1,]}`, `{"raw_data":-NaN}`, `{"raw_data":INF}`, `{"raw_data":NaNx}`, `{"raw_data":'\x'}`}
	unfit    = []string{`!%s x`, `!%s{"a":1}`, `!{"raw_data":{"zz":1,"zz":2},"ingestion_timestamp":1783252800000}`, `![%s]`, `!{"raw_data":{"zz":1}}`}
)

func (r *dayMaker) day() sparkDay {
	data := &place{kinds: []string{"object"}}
	r.grow(data, 1+r.IntN(4))
	if r.IntN(12) == 0 { // a topic without objects
		data = &place{kinds: []string{pick(r, []string{"bool", "int", "big", "fraction", "string", "array"}), pick(r, []string{"int", "wide", "array"})}, elem: r.place(2)}
	}
	extra := r.place(2)
	hasExtra := r.IntN(5) == 0
	bad := r.IntN(4) == 0
	var d sparkDay
	for range 1 + r.IntN(3) {
		var lines []string
		for range 1 + r.IntN(12) {
			r.records++
			value := r.value(data)
			switch r.IntN(30) {
			case 0:
				value = "null"
			case 1:
				value = `""`
			}
			line := fmt.Sprintf(`{"raw_data":%s,"metadata":{"thread_id":%d,"host_name":""},"ingestion_timestamp":%d`, value, r.records, noon+r.IntN(1000))
			if hasExtra && r.IntN(3) > 0 {
				line += `,"extra":` + r.value(extra)
			}
			line += "}" + pick(r, []string{"", "", "", "", "", "", " ", "\r"})
			lines = append(lines, line)
			if bad && r.IntN(8) == 0 {
				lines = append(lines, pick(r, badLines))
			}
			if bad && r.IntN(8) == 0 {
				lines = append(lines, strings.Replace(pick(r, unfit), "%s", strings.TrimSpace(line), 1))
			}
			if r.IntN(40) == 0 {
				lines = append(lines, pick(r, []string{"", "  ", "\t"}))
			}
		}
		d = append(d, lines)
	}
	return d
}
