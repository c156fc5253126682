package schema

import (
	"encoding/json"
	"errors"
	"fmt"
)

// sparkNames are Spark's names of the kinds without parts but Decimal; Hive's differ in Long.
var sparkNames = map[Kind]string{
	Undecided: "void",
	Boolean:   "boolean",
	Long:      "long",
	Double:    "double",
	String:    "string",
	Timestamp: "timestamp",
}

type sparkStruct struct {
	Type   string       `json:"type"`
	Fields []sparkField `json:"fields"`
}

type sparkField struct {
	Name     string   `json:"name"`
	Type     *Type    `json:"type"`
	Nullable bool     `json:"nullable"`
	Metadata struct{} `json:"metadata"`
}

type sparkArray struct {
	Type         string `json:"type"`
	ElementType  *Type  `json:"elementType"`
	ContainsNull bool   `json:"containsNull"`
}

type sparkMap struct {
	Type              string `json:"type"`
	KeyType           string `json:"keyType"`
	ValueType         *Type  `json:"valueType"`
	ValueContainsNull bool   `json:"valueContainsNull"`
}

// MarshalJSON writes the type as Spark's DataType JSON; a Struct is what Spark keeps as a table's schema. Equal types
// have equal texts.
func (t Type) MarshalJSON() ([]byte, error) {
	switch t.Kind {
	case List:
		return json.Marshal(sparkArray{Type: "array", ElementType: new(elemOf(t)), ContainsNull: true})
	case Map:
		return json.Marshal(sparkMap{Type: "map", KeyType: sparkNames[String], ValueType: new(elemOf(t)), ValueContainsNull: true})
	case Struct:
		s := sparkStruct{Type: "struct", Fields: make([]sparkField, len(t.Fields))}
		for i, f := range t.Fields {
			s.Fields[i] = sparkField{Name: f.Name, Type: new(f.Type), Nullable: true}
		}
		return json.Marshal(s)
	}
	if t.Kind == Decimal {
		return json.Marshal(t.decimalName())
	}
	name, found := sparkNames[t.Kind]
	if !found {
		return nil, fmt.Errorf("kind %d is not one of schema's", t.Kind)
	}
	return json.Marshal(name)
}

// UnmarshalJSON reads what MarshalJSON writes, and Spark's own texts as far as they use the same types. Other Spark types
// (integer, date, maps of other keys than strings) are an error that names them: they are never taken for something near.
func (t *Type) UnmarshalJSON(data []byte) error {
	var name string
	if json.Unmarshal(data, &name) == nil {
		return t.setName(name)
	}
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("reading a type: %w", err)
	}
	switch head.Type {
	case "array":
		return t.setArray(data)
	case "map":
		return t.setMap(data)
	case "struct":
		return t.setStruct(data)
	}
	return fmt.Errorf("type %q is not one that tables of Headwater have", head.Type)
}

func (t *Type) setArray(data []byte) error {
	var a sparkArray
	if err := json.Unmarshal(data, &a); err != nil {
		return err
	}
	if a.ElementType == nil {
		return errors.New("an array type has no elementType")
	}
	*t = Type{Kind: List, Elem: a.ElementType}
	return nil
}

func (t *Type) setMap(data []byte) error {
	var m sparkMap
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	if m.ValueType == nil || m.KeyType != sparkNames[String] {
		return fmt.Errorf("a map type has keys of %q; tables of Headwater have texts", m.KeyType)
	}
	*t = Type{Kind: Map, Elem: m.ValueType}
	return nil
}

func (t *Type) setStruct(data []byte) error {
	var s sparkStruct
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	*t = Type{Kind: Struct}
	for _, f := range s.Fields {
		if f.Type == nil {
			return fmt.Errorf("field %q of a struct type has no type", f.Name)
		}
		t.Fields = append(t.Fields, Field{Name: f.Name, Type: *f.Type})
	}
	return nil
}

func (t *Type) setName(name string) error {
	for kind, n := range sparkNames {
		if n == name {
			*t = Type{Kind: kind}
			return nil
		}
	}
	if d, ok := parseDecimal(name); ok {
		*t = d
		return nil
	}
	return fmt.Errorf("type %q is not one that tables of Headwater have", name)
}

// decimalName is a Decimal as Spark and Hive spell it.
func (t Type) decimalName() string { return fmt.Sprintf("decimal(%d,%d)", t.Digits(), t.Scale) }

// parseDecimal reads what decimalName writes.
func parseDecimal(name string) (t Type, ok bool) {
	var digits, scale int
	if _, err := fmt.Sscanf(name, "decimal(%d,%d)", &digits, &scale); err != nil || digits < 1 || digits > maxPrecision || scale < 0 || scale > digits {
		return Type{}, false
	}
	t = decimal(digits)
	t.Scale = uint8(scale)
	return t, t.decimalName() == name
}
