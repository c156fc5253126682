package config

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"time"

	"headwater/internal/setting"
)

// object is a JSON Schema or a part of one.
type object map[string]any

// WriteSchema writes the JSON Schema (2020-12) of pipeline files, for editors: it comes from the same structs as the decoder, so it has every key
// and no other. It says less than check: what stages ask of their values is not in it.
func WriteSchema(w io.Writer, reg *Registry) error {
	f := file{Pipeline: defaultPipeline()}
	whole := schemaOf(reflect.ValueOf(&f).Elem())
	whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	whole["title"] = "A pipeline of Headwater"
	whole["required"] = []string{"database", "sources"}
	whole["properties"].(object)["sources"] = sourcesSchema(reg)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(whole)
}

func sourcesSchema(reg *Registry) object {
	p := defaultPipeline()
	c := defaultCommon(&p)
	source := schemaOf(reflect.ValueOf(&c).Elem())
	properties := source["properties"].(object)
	var one []object
	for _, name := range reg.Kinds() {
		k, _ := reg.kind(name)
		properties[name] = schemaOf(reflect.New(k.config).Elem())
		one = append(one, object{"required": []string{name}})
	}
	source["oneOf"] = one
	source["description"] = "one of " + strings.Join(reg.Kinds(), ", ") + ", and where its records and rows go"
	return object{
		"type": []string{"object", "null"}, "description": "by name: lower case letters, digits and _",
		"patternProperties":    object{sourceName.String(): source},
		"additionalProperties": false,
	}
}

// schemaOf is the schema of what may stand in v's place, with v as the default.
func schemaOf(v reflect.Value) object {
	if v.Kind() == reflect.Pointer {
		return schemaOf(reflect.New(v.Type().Elem()).Elem())
	}
	s := object{"description": describe(v)}
	switch shapeOf(v) {
	case mapping:
		// A section whose keys are all commented out is null.
		s["type"] = []string{"object", "null"}
		delete(s, "description")
		if v.Kind() == reflect.Map {
			s["additionalProperties"] = schemaOf(reflect.New(v.Type().Elem()).Elem())
			return s
		}
		properties := object{}
		for _, f := range fieldsOf(v.Type()) {
			if at := v.FieldByIndex(f.index); at.Type() != reflect.TypeFor[*node]() {
				properties[f.key] = schemaOf(at)
			}
		}
		s["properties"], s["additionalProperties"] = properties, false
	case list:
		s["type"] = []string{"array", "null"}
		s["items"] = schemaOf(reflect.New(v.Type().Elem()).Elem())
	default:
		scalarSchema(s, v)
	}
	return s
}

// scalarSchema allows a text for every value: ${NAME} is one, and quotes make no difference.
func scalarSchema(s object, v reflect.Value) {
	kind, pattern := "", ""
	if v.Type() == reflect.TypeFor[setting.Secret]() {
		s["writeOnly"] = true // as JSON Schema says of passwords
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		pattern = `^-?[0-9.]+[a-zµ]`
	case v.Type() == reflect.TypeFor[setting.Bytes]():
		kind, pattern = "integer", `^[0-9.]+ *([KMGT]i?)?B?$`
	case v.Type() == reflect.TypeFor[setting.Count]():
		kind, pattern = "integer", `^[0-9.]+ *[kMG]?$`
	case v.Type() == reflect.TypeFor[setting.Percent]():
		pattern = `^[0-9.]+ *%$`
	case isText(v):
	case v.Kind() == reflect.Bool:
		kind, pattern = "boolean", `^(true|false)$`
	case v.Kind() == reflect.Float64:
		kind, pattern = "number", `^-?[0-9.]`
	case v.CanInt():
		kind, pattern = "integer", `^-?[0-9]+$`
	}
	switch {
	case kind == "" && pattern == "": // texts may look like numbers
		s["type"] = []string{"string", "number", "boolean"}
	case kind == "":
		s["type"] = "string"
	default:
		s["type"] = []string{kind, "string"}
	}
	if pattern != "" {
		s["pattern"] = `\$\{|` + pattern
	}
	if text := defaultText(v); text != "" {
		s["default"] = text
	}
}

// defaultText is what a file would have to say for v; empty for what has no default worth telling.
func defaultText(v reflect.Value) string {
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	if a, is := v.Interface().(Address); is {
		return a.Addr
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	if s, is := v.Interface().(interface{ String() string }); is {
		return s.String()
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		return ""
	}
	return string(text)
}
