package query

import (
	"fmt"
	"slices"
	"strings"

	"headwater/schema"
)

// shape is what is known of a value when SQL is written for it.
type shape struct {
	kind   shapeKind
	elem   *shape  // of a list; the value of a map
	key    *shape  // of a map
	fields []field // of a struct
}

type field struct {
	name  string
	shape shape
}

type shapeKind int

const (
	other     shapeKind = iota // its text, as a JSON string
	exact                      // a number or boolean whose text is JSON
	float                      // may be infinite
	text                       // a string
	jsonValue                  // JSON text already
	instant                    // TIMESTAMP WITH TIME ZONE
	local                      // TIMESTAMP
	list
	structure
	mapping
)

func shapeOf(t schema.Type) shape {
	switch t.Kind {
	case schema.Boolean, schema.Long, schema.Decimal:
		return shape{kind: exact}
	case schema.Double:
		return shape{kind: float}
	case schema.String:
		return shape{kind: text}
	case schema.Timestamp:
		return shape{kind: instant}
	case schema.List:
		return shape{kind: list, elem: new(shapeOf(*t.Elem))}
	case schema.Map:
		return shape{kind: mapping, key: &shape{kind: text}, elem: new(shapeOf(*t.Elem))}
	case schema.Struct:
		s := shape{kind: structure}
		for _, f := range t.Fields {
			s.fields = append(s.fields, field{f.Name, shapeOf(f.Type)})
		}
		return s
	}
	return shape{kind: other}
}

// jsonText is SQL for x as JSON text, NULL for NULL. With sparse a struct's NULL fields are left out, as in the documents
// they were inferred from. depth names the variables of nested lists.
func (s shape) jsonText(x string, sparse bool, depth int) string {
	plain := fmt.Sprintf("CAST(%s AS VARCHAR)", x)
	switch s.kind {
	case exact, jsonValue:
		return plain
	case float:
		return fmt.Sprintf("CASE WHEN isfinite(%s) THEN %s ELSE CAST(to_json(%s) AS VARCHAR) END", x, plain, plain)
	case instant, local:
		return fmt.Sprintf("'\"' || %s || '\"'", s.plainText(x))
	case list:
		v := fmt.Sprintf("e%d", depth)
		return fmt.Sprintf("'[' || array_to_string(list_transform(%s, lambda %s: coalesce(%s, 'null')), ',') || ']'",
			x, v, s.elem.jsonText(v, sparse, depth+1))
	case mapping:
		v := fmt.Sprintf("e%d", depth)
		return fmt.Sprintf("'{' || array_to_string(list_transform(map_entries(%s), lambda %s: CAST(to_json(%s) AS VARCHAR) || ':' || coalesce(%s, 'null')), ',') || '}'",
			x, v, s.key.plainText(v+".key"), s.elem.jsonText(v+".value", sparse, depth+1))
	case structure:
		return s.structText(x, sparse, depth)
	}
	return fmt.Sprintf("CAST(to_json(%s) AS VARCHAR)", plain)
}

func (s shape) structText(x string, sparse bool, depth int) string {
	parts := make([]string, len(s.fields))
	for i, f := range s.fields {
		value := f.shape.jsonText(member(x, f.name), sparse, depth)
		if !sparse {
			value = "coalesce(" + value + ", 'null')"
		}
		// concat_ws leaves out what is NULL, and || makes NULL of it.
		parts[i] = literal(quoteJSON(f.name)+":") + " || " + value
	}
	return fmt.Sprintf("CASE WHEN %s IS NOT NULL THEN '{' || concat_ws(',', %s) || '}' END", x, strings.Join(parts, ", "))
}

// plainText is SQL for x as people read it: strings and times bare, lists and structs as JSON.
func (s shape) plainText(x string) string {
	switch s.kind {
	case list, structure, mapping:
		return s.jsonText(x, false, 0)
	case instant:
		return fmt.Sprintf("strftime(%s AT TIME ZONE 'UTC', '%%Y-%%m-%%dT%%H:%%M:%%S.%%fZ')", x)
	case local:
		return fmt.Sprintf("strftime(CAST(%s AS TIMESTAMP), '%%Y-%%m-%%dT%%H:%%M:%%S.%%f')", x)
	}
	return fmt.Sprintf("CAST(%s AS VARCHAR)", x)
}

// typeName is DuckDB's name of a type.
func typeName(t schema.Type) string {
	switch t.Kind {
	case schema.Boolean:
		return "BOOLEAN"
	case schema.Long:
		return "BIGINT"
	case schema.Decimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Digits(), t.Scale)
	case schema.Double:
		return "DOUBLE"
	case schema.Timestamp:
		return "TIMESTAMP WITH TIME ZONE"
	case schema.List:
		return typeName(*t.Elem) + "[]"
	case schema.Map:
		return "MAP(VARCHAR, " + typeName(*t.Elem) + ")"
	case schema.Struct:
		names := uniqueNames(t.Fields)
		fields := make([]string, len(names))
		for i, f := range t.Fields {
			fields[i] = identifier(names[i]) + " " + typeName(f.Type)
		}
		return "STRUCT(" + strings.Join(fields, ", ") + ")"
	}
	return "VARCHAR"
}

// convert is SQL that makes a value of type from into one of type to, which is the merge of from and others.
func convert(x string, from, to schema.Type, depth int) string {
	switch {
	case from.Kind == schema.Undecided:
		return fmt.Sprintf("CAST(NULL AS %s)", typeName(to))
	case to.Kind == schema.String && from.Kind != schema.String:
		if from.Kind == schema.Timestamp {
			return shapeOf(from).plainText(x)
		}
		return shapeOf(from).jsonText(x, true, depth)
	case schema.Equal(from, to) && (to.Kind == schema.List || to.Kind == schema.Map || to.Kind == schema.Struct):
		return x
	case to.Kind == schema.Map:
		v := fmt.Sprintf("e%d", depth)
		return fmt.Sprintf("map_from_entries(list_transform(map_entries(%s), lambda %s: struct_pack(k := %s.key, v := %s)))", x, v, v, convert(v+".value", *from.Elem, *to.Elem, depth+1))
	case to.Kind == schema.List:
		v := fmt.Sprintf("e%d", depth)
		return fmt.Sprintf("list_transform(%s, lambda %s: %s)", x, v, convert(v, *from.Elem, *to.Elem, depth+1))
	case to.Kind == schema.Struct:
		return convertStruct(x, from, to, depth)
	}
	return fmt.Sprintf("CAST(%s AS %s)", x, typeName(to))
}

func convertStruct(x string, from, to schema.Type, depth int) string {
	names := uniqueNames(to.Fields)
	fields := make([]string, len(names))
	for i, f := range to.Fields {
		fields[i] = identifier(names[i]) + " := " + convertField(func(name string) string { return member(x, name) }, from.Fields, f, depth)
	}
	return fmt.Sprintf("CASE WHEN %s IS NOT NULL THEN struct_pack(%s) END", x, strings.Join(fields, ", "))
}

// convertField is SQL for field to of a row or struct that has the fields from.
func convertField(at func(name string) string, from []schema.Field, to schema.Field, depth int) string {
	i := slices.IndexFunc(from, func(f schema.Field) bool { return f.Name == to.Name })
	if i < 0 {
		return convert("", schema.Type{}, to.Type, depth)
	}
	return convert(at(uniqueNames(from)[i]), from[i].Type, to.Type, depth)
}

// viewSQL is the statement that makes the table's view.
func viewSQL(t tableSpec) string {
	to := decided(t.Schema)
	parts := make([]string, 0, len(t.Groups))
	for _, g := range t.Groups {
		from := decided(g.Schema)
		parts = append(parts, "SELECT "+selectList(from.Fields, to.Fields, "year, month, day")+" FROM "+readParquet(g.Files))
	}
	if len(parts) == 0 {
		parts = append(parts, "SELECT "+selectList(nil, to.Fields, noDays)+" WHERE "+noRows(t))
	}
	return fmt.Sprintf("CREATE VIEW %s.%s AS %s", identifier(t.Database), identifier(t.Table), strings.Join(parts, " UNION ALL "))
}

const noDays = "CAST(NULL AS INTEGER) AS year, CAST(NULL AS INTEGER) AS month, CAST(NULL AS INTEGER) AS day"

func noRows(t tableSpec) string {
	if !t.Unread {
		return "false"
	}
	return fmt.Sprintf("CAST(error(%s) AS BOOLEAN)", literal("write the name "+t.Table+" into the statement: only tables that it names are read"))
}

func selectList(from, to []schema.Field, days string) string {
	var items []string
	names := uniqueNames(to)
	for i, f := range to {
		items = append(items, convertField(identifier, from, f, 0)+" AS "+identifier(names[i]))
	}
	return strings.Join(append(items, days), ", ")
}

func readParquet(files []string) string {
	quoted := make([]string, len(files))
	for i, f := range files {
		quoted[i] = literal(f)
	}
	return fmt.Sprintf("read_parquet([%s], hive_partitioning = true, hive_types = {'year': INTEGER, 'month': INTEGER, 'day': INTEGER})",
		strings.Join(quoted, ", "))
}

// decided drops what has no column: fields of which nothing but null or emptiness is known.
func decided(t schema.Type) schema.Type {
	switch t.Kind {
	case schema.List, schema.Map:
		elem := schema.Type{}
		if t.Elem != nil {
			elem = decided(*t.Elem)
		}
		if elem.Kind == schema.Undecided {
			return schema.Type{}
		}
		return schema.Type{Kind: t.Kind, Elem: &elem}
	case schema.Struct:
		var fields []schema.Field
		for _, f := range t.Fields {
			if d := decided(f.Type); d.Kind != schema.Undecided {
				fields = append(fields, schema.Field{Name: f.Name, Type: d})
			}
		}
		if fields == nil {
			return schema.Type{}
		}
		return schema.Type{Kind: schema.Struct, Fields: fields}
	}
	return t
}

// uniqueNames are the fields' names as DuckDB tells them apart, which is not by case. DuckDB gives the columns of a Parquet
// file the same names.
func uniqueNames(fields []schema.Field) []string {
	names := make([]string, len(fields))
	taken := map[string]bool{}
	for i, f := range fields {
		names[i] = f.Name
		for n := 1; taken[strings.ToLower(names[i])]; n++ {
			names[i] = fmt.Sprintf("%s_%d", f.Name, n)
		}
		taken[strings.ToLower(names[i])] = true
	}
	return names
}

func member(x, name string) string { return fmt.Sprintf("struct_extract(%s, %s)", x, literal(name)) }

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
