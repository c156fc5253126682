package config

import (
	"cmp"
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"headwater/internal/setting"
)

// decoder puts nodes into Go values and collects what does not fit; a value that does not fit is left as it was.
type decoder struct{ faults setting.Faults }

func (d *decoder) value(n *node, v reflect.Value, path []string) {
	if v.Type() == reflect.TypeFor[*node]() {
		v.Set(reflect.ValueOf(n))
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(n, v.Elem(), path)
		return
	}
	want := shapeOf(v)
	switch {
	case n.shape == null && want != scalar:
		return // a section whose keys are all commented out
	case n.shape == null:
		d.faults.Add(path, "is empty: write %s, or leave the key out", describe(v))
	case n.shape != want:
		d.faults.Add(path, "must be %s, got %s", describe(v), n.shape)
	case want == mapping && v.Kind() == reflect.Map:
		d.toMap(n, v, path)
	case want == mapping:
		d.toStruct(n, v, path)
	case want == list:
		d.toSlice(n, v, path)
	default:
		if text := toScalar(n.text, v); text != "" {
			d.faults.Add(path, "%s", text)
		}
	}
}

// under is path and one more segment, in memory of its own because faults keep it.
func under(path []string, segment string) []string { return slices.Concat(path, []string{segment}) }

func shapeOf(v reflect.Value) shape {
	if isText(v) {
		return scalar
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map:
		return mapping
	case reflect.Slice:
		return list
	}
	return scalar
}

func isText(v reflect.Value) bool {
	return reflect.PointerTo(v.Type()).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func (d *decoder) toMap(n *node, v reflect.Value, path []string) {
	out := reflect.MakeMap(v.Type())
	for _, key := range n.keys {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(n.values[key], item, under(path, key))
		out.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), item)
	}
	v.Set(out)
}

func (d *decoder) toSlice(n *node, v reflect.Value, path []string) {
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		d.value(item, out.Index(i), under(path, strconv.Itoa(i)))
	}
	v.Set(out)
}

func (d *decoder) toStruct(n *node, v reflect.Value, path []string) {
	fields := fieldsOf(v.Type())
	for _, key := range n.keys {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 {
			text := ""
			if knows, ok := v.Addr().Interface().(interface{ Unknown(key string) string }); ok {
				text = knows.Unknown(key)
			}
			d.faults.Add(under(path, key), "%s", cmp.Or(text, unknown("key", key, keysOf(fields))))
			continue
		}
		d.value(n.values[key], v.FieldByIndex(fields[i].index), under(path, key))
	}
}

// field is one that a file may set.
type field struct {
	key   string
	index []int
}

// fieldsOf lists a struct's fields, those of inlined structs among them, in their order.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(options, "inline"):
			for _, inner := range fieldsOf(f.Type) {
				out = append(out, field{inner.key, slices.Concat(f.Index, inner.index)})
			}
		case !f.IsExported() || name == "-":
		case name == "":
			panic(fmt.Sprintf("field %s of %s has no yaml tag", f.Name, t))
		default:
			out = append(out, field{name, f.Index})
		}
	}
	return out
}

func keysOf(fields []field) []string {
	var out []string
	for _, f := range fields {
		out = append(out, f.key)
	}
	return out
}

// toScalar sets v from a value's text and says what is wrong with it. Quotes make no difference, so that a number may
// come from ${NAME} or from a Kafka Connect file, where every value is quoted.
func toScalar(text string, v reflect.Value) string {
	if isText(v) {
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			return err.Error()
		}
		return ""
	}
	wrong := fmt.Sprintf("must be %s, got %q", describe(v), text)
	if v.Type() == reflect.TypeFor[time.Duration]() {
		span, err := time.ParseDuration(text)
		if err != nil {
			return wrong
		}
		v.SetInt(int64(span))
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return wrong
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		// Spellings as 010 and +1 are refused: YAML's versions do not agree on them.
		if err != nil || strconv.FormatInt(i, 10) != text {
			return wrong
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return wrong
		}
		v.SetFloat(f)
	default:
		panic(fmt.Sprintf("a configuration cannot hold a %s", v.Type()))
	}
	return ""
}

// describe says what a file must have for v.
func describe(v reflect.Value) string {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return "a duration as 500ms, 10s or 5m"
	case v.Type() == reflect.TypeFor[setting.Bytes]():
		return "a size as 64MiB, 20MB or 1000"
	case v.Type() == reflect.TypeFor[setting.Count]():
		return "a number as 50M, 1.5k or 1000"
	case v.Type() == reflect.TypeFor[setting.Percent]():
		return "a part of a whole as 0.1%"
	case shapeOf(v) != scalar:
		return shapeOf(v).String()
	case isText(v):
		return "a single value"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return fmt.Sprintf("a whole number up to %d", int64(1)<<(v.Type().Bits()-1)-1)
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "a text"
}

// unknown says that name is none of known, and which of them may be meant.
func unknown(what, name string, known []string) string {
	best, distance := "", max(1, len(name)/3)
	for _, k := range known {
		if d := edits(plain(name), plain(k)); d <= distance && (best == "" || d < distance) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("unknown %s: did you mean %s?", what, best)
	}
	return fmt.Sprintf("unknown %s: there are %s", what, strings.Join(slices.Sorted(slices.Values(known)), ", "))
}

// plain makes spellings of one name equal: flush.size, flush_size and flushSize.
func plain(name string) string {
	return strings.ToLower(strings.NewReplacer(".", "", "_", "", "-", "").Replace(name))
}

// edits is the least number of inserted, removed, replaced or swapped characters that turns a into b.
func edits(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var before, last []int
	for j := range len(b) + 1 {
		last = append(last, j)
	}
	for i := range len(a) {
		row := []int{i + 1}
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			n := min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				n = min(n, before[j-1]+1)
			}
			row = append(row, n)
		}
		before, last = last, row
	}
	return last[len(b)]
}
