package schema

import "strings"

// Hive is the type as Hive's metastore spells it. Field names are lower-cased, as Hive does itself; nothing is escaped,
// because Hive has no escape: names with , : ; < or > in a Struct below a column need another spelling by the caller.
func (t Type) Hive() string { return t.text(strings.ToLower) }

// String is the type for people: as Hive, with names in their own case.
func (t Type) String() string { return t.text(func(name string) string { return name }) }

func (t Type) text(name func(string) string) string {
	switch t.Kind {
	case List:
		return "array<" + elemOf(t).text(name) + ">"
	case Map:
		return "map<string," + elemOf(t).text(name) + ">"
	case Struct:
		fields := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = name(f.Name) + ":" + f.Type.text(name)
		}
		return "struct<" + strings.Join(fields, ",") + ">"
	case Long:
		return "bigint"
	case Decimal:
		return t.decimalName()
	}
	return sparkNames[t.Kind]
}
