package hive

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	hms "github.com/beltran/gohive/hive_metastore"

	"headwater/schema"
	"headwater/table"
)

// The parameters of ours. A table with oursKey is one that we registered; its versionKey is counted up at every change.
const (
	oursKey     = "headwater"
	versionKey  = "headwater.version"
	keyKey      = "headwater.key"
	runKey      = "headwater.run"
	rowsKey     = "headwater.rows"
	bytesKey    = "headwater.bytes"
	filesKey    = "headwater.files" // where there are several
	schemaKey   = "headwater.schema"
	sparkKey    = "spark.sql.sources.schema"
	completeKey = "headwater.complete_through" // where a day is
	// behindKey marks a table whose partitions are still to get its columns.
	behindKey = "headwater.behind"
)

// maxParameter is what the column of a parameter's value holds in the databases of Hive's metastore.
const maxParameter = 4000

var partitionColumns = []string{"year", "month", "day"}

func ours(t *hms.Table) bool { return t.Parameters[oursKey] != "" }

func (c *Catalog) location(n table.Name) string {
	return c.Location + "/" + n.Database + "/" + n.Table
}

// sameFile reports whether two locations are one: Hadoop writes file:/srv for file:///srv.
func sameFile(a, b string) bool {
	path := func(s string) string {
		rest, found := strings.CutPrefix(s, "file:")
		if !found {
			return s
		}
		return "/" + strings.TrimLeft(rest, "/")
	}
	return path(a) == path(b)
}

// newTable is the table as Spark registers an external one of its own source parquet, in the form that Hive can read too.
func (c *Catalog) newTable(t table.Table) *hms.Table {
	whole := t.Schema
	whole.Fields = slices.Clone(whole.Fields)
	parameters := map[string]string{
		"EXTERNAL": "TRUE", oursKey: "1", versionKey: "1",
		"spark.sql.sources.provider": "parquet", "spark.sql.partitionProvider": "catalog",
		sparkKey + ".numPartCols": strconv.Itoa(len(partitionColumns)),
	}
	var keys []*hms.FieldSchema
	for i, name := range partitionColumns {
		keys = append(keys, &hms.FieldSchema{Name: name, Type: "int"})
		parameters[sparkKey+".partCol."+strconv.Itoa(i)] = name
	}
	if t.CompleteThrough != (table.Day{}) {
		parameters[completeKey] = t.CompleteThrough.String()
	}
	split(parameters, sparkKey, sparkSchema(whole, keys))
	h := hms.NewTable()
	h.DbName, h.TableName, h.TableType, h.Owner = t.Name.Database, t.Name.Table, "EXTERNAL_TABLE", c.Config.owner()
	h.PartitionKeys, h.Parameters = keys, parameters
	h.Sd = storage(t.Schema, c.location(t.Name))
	return h
}

// sparkSchema is the text of the table's schema, partition columns last, as Spark keeps it.
func sparkSchema(s schema.Type, keys []*hms.FieldSchema) string {
	text := marshal(s)
	// Type has no int, because no data has: so the partition columns are put into the text.
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(text, "]}"))
	for i, k := range keys {
		if i > 0 || len(s.Fields) > 0 {
			b.WriteByte(',')
		}
		b.WriteString(partitionField(k))
	}
	b.WriteString("]}")
	return b.String()
}

// sparkIntegers are Spark's names of the integers that Hive has other names for.
var sparkIntegers = map[string]string{"int": "integer", "bigint": "long", "smallint": "short", "tinyint": "byte"}

func partitionField(k *hms.FieldSchema) string {
	return `{"name":"` + k.Name + `","type":"` + cmp.Or(sparkIntegers[k.Type], k.Type) + `","nullable":true,"metadata":{}}`
}

func marshal(s schema.Type) string {
	s.Kind = schema.Struct // a table without columns is an empty struct
	text, err := s.MarshalJSON()
	if err != nil {
		panic(err) // a Type that is none, which only a programmer can bring about
	}
	return string(text)
}

// split puts a text into parameters that are short enough, as Spark does: KEY.numParts and KEY.part.0, 1, 2, ….
func split(parameters map[string]string, key, text string) {
	n := 0
	for ; text != ""; n++ {
		end := min(len(text), maxParameter)
		for end < len(text) && text[end]&0xC0 == 0x80 { // not inside a character
			end--
		}
		parameters[key+".part."+strconv.Itoa(n)], text = text[:end], text[end:]
	}
	parameters[key+".numParts"] = strconv.Itoa(n)
}

// join undoes split; Spark itself writes what is short enough under the key alone.
func join(parameters map[string]string, key string) (string, error) {
	if text, found := parameters[key]; found {
		return text, nil
	}
	n, err := strconv.Atoi(parameters[key+".numParts"])
	if err != nil {
		return "", fmt.Errorf("its parameter %s.numParts is %q, which is no number", key, parameters[key+".numParts"])
	}
	var b strings.Builder
	for i := range n {
		part, found := parameters[key+".part."+strconv.Itoa(i)]
		if !found {
			return "", fmt.Errorf("its parameter %s.part.%d is missing", key, i)
		}
		b.WriteString(part)
	}
	return b.String(), nil
}

func storage(s schema.Type, location string) *hms.StorageDescriptor {
	cols := []*hms.FieldSchema{}
	for _, f := range s.Fields {
		cols = append(cols, &hms.FieldSchema{Name: strings.ToLower(f.Name), Type: f.Type.Hive()})
	}
	return &hms.StorageDescriptor{
		Cols: cols, Location: location,
		InputFormat:  "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
		OutputFormat: "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
		SerdeInfo: &hms.SerDeInfo{
			SerializationLib: "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
			Parameters:       map[string]string{"serialization.format": "1", "path": location},
		},
		NumBuckets: -1, BucketCols: []string{}, SortCols: []*hms.Order{}, Parameters: map[string]string{},
	}
}

// tableOf reads a table of ours, as we or Spark last wrote it.
func tableOf(t *hms.Table) (table.Table, error) {
	n := table.Name{Database: t.DbName, Table: t.TableName}
	text, err := join(t.Parameters, sparkKey)
	if err != nil {
		return table.Table{}, fmt.Errorf("table %s in the metastore: %w", n, err)
	}
	s, err := parse(text)
	if err != nil {
		return table.Table{}, fmt.Errorf("table %s in the metastore: %w", n, err)
	}
	complete, _ := table.ParseDay(t.Parameters[completeKey]) // what is no day is none, and is written anew
	return table.Table{Name: n, Schema: s, CompleteThrough: complete}, nil
}

// parse reads a schema and leaves out the partition columns: no column of a table of ours has their names.
func parse(text string) (schema.Type, error) {
	var whole struct {
		Type   string            `json:"type"`
		Fields []json.RawMessage `json:"fields"`
	}
	if err := json.Unmarshal([]byte(text), &whole); err != nil {
		return schema.Type{}, fmt.Errorf("reading its columns: %w", err)
	}
	whole.Fields = slices.DeleteFunc(whole.Fields, func(field json.RawMessage) bool {
		var f struct {
			Name string `json:"name"`
		}
		return json.Unmarshal(field, &f) == nil && slices.Contains(partitionColumns, f.Name)
	})
	data, err := json.Marshal(whole)
	if err != nil {
		return schema.Type{}, fmt.Errorf("reading its columns: %w", err)
	}
	var s schema.Type
	if err := s.UnmarshalJSON(data); err != nil {
		return s, fmt.Errorf("reading its columns: %w", err)
	}
	return s, nil
}

// ordered is the columns of a table that had the old ones: these keep their places, because Hive compares by place.
func ordered(old, all []*hms.FieldSchema) []*hms.FieldSchema {
	rest := map[string]*hms.FieldSchema{}
	for _, c := range all {
		rest[c.Name] = c
	}
	out := []*hms.FieldSchema{}
	for _, c := range old {
		if next, found := rest[c.Name]; found {
			out = append(out, &hms.FieldSchema{Name: next.Name, Type: next.Type, Comment: c.Comment})
			delete(rest, c.Name)
		}
	}
	for _, c := range all {
		if _, found := rest[c.Name]; found {
			out = append(out, c)
		}
	}
	return out
}

// unchanged is how many of the first columns are the same.
func unchanged(old, next []*hms.FieldSchema) int {
	n := 0
	for n < min(len(old), len(next)) && old[n].Name == next[n].Name && old[n].Type == next[n].Type {
		n++
	}
	return n
}

// merged is the parameters with ours replaced; a schema that has become shorter leaves no part behind, and Spark's own spelling of
// it goes, because it would win.
func merged(has, next map[string]string) map[string]string {
	out := maps.Clone(has)
	maps.DeleteFunc(out, func(key, _ string) bool {
		return key == sparkKey || strings.HasPrefix(key, sparkKey+".")
	})
	maps.Copy(out, next)
	return out
}

// newPartition is p as a partition of t. It has the table's columns, which its file may have fewer of: Hive and Trino read what is missing as null, but where a partition's
// struct is another than the table's they compare the fields by their places, and give values of one for another, or an error. Where the file has other types, as before
// it is rewritten, the columns are its own, by which it is read. columns is the schema of t, Undecided if that says none.
func (c *Catalog) newPartition(t *hms.Table, columns schema.Type, p table.Partition) *hms.Partition {
	n := table.Name{Database: t.DbName, Table: t.TableName}
	folder := c.Location + "/" + path.Dir(p.Key)
	if l, adopted := c.layout(n); adopted {
		folder = strings.TrimSuffix(t.Sd.Location, "/") + "/" + l.Below(path.Dir(p.Key)[len(t.DbName)+len(t.TableName)+2:])
	}
	h := hms.NewPartition()
	h.DbName, h.TableName = t.DbName, t.TableName
	h.Values = c.values(n, p.Day)
	h.Sd = storage(p.Schema, folder)
	if schema.Conforms(p.Schema, columns) {
		h.Sd.Cols = t.Sd.Cols
	}
	h.Parameters = map[string]string{
		keyKey: p.Key, runKey: p.Run, rowsKey: strconv.FormatInt(p.Rows, 10), bytesKey: strconv.FormatInt(p.Bytes, 10),
		// Hive's own names of the same, which optimizers read. Where one is missing Hive 4 lists the folder and counts all but the rows for itself.
		"numRows": strconv.FormatInt(p.Rows, 10), "totalSize": strconv.FormatInt(p.Bytes, 10), "numFiles": strconv.Itoa(p.Files), "numFilesErasureCoded": "0",
	}
	if p.Files > 1 {
		h.Parameters[filesKey] = strconv.Itoa(p.Files)
	}
	split(h.Parameters, schemaKey, marshal(p.Schema))
	return h
}

// partitionOf reads a partition; it reports false for one that somebody else added.
func partitionOf(n table.Name, h *hms.Partition) (table.Partition, bool, error) {
	if h.Parameters[keyKey] == "" {
		return table.Partition{}, false, nil
	}
	p := table.Partition{Key: h.Parameters[keyKey], Files: 1, Run: h.Parameters[runKey]}
	read := func() error {
		if len(h.Values) != len(partitionColumns) {
			return fmt.Errorf("it has %d values", len(h.Values))
		}
		for i, into := range []*int{&p.Day.Year, &p.Day.Month, &p.Day.Day} {
			v, err := strconv.Atoi(h.Values[i])
			if err != nil {
				return fmt.Errorf("its %s is no number: %w", partitionColumns[i], err)
			}
			*into = v
		}
		var err error
		if p.Rows, err = strconv.ParseInt(h.Parameters[rowsKey], 10, 64); err != nil {
			return fmt.Errorf("its parameter %s: %w", rowsKey, err)
		}
		if p.Bytes, err = strconv.ParseInt(h.Parameters[bytesKey], 10, 64); err != nil {
			return fmt.Errorf("its parameter %s: %w", bytesKey, err)
		}
		if files, several := h.Parameters[filesKey]; several {
			if p.Files, err = strconv.Atoi(files); err != nil {
				return fmt.Errorf("its parameter %s: %w", filesKey, err)
			}
		}
		text, err := join(h.Parameters, schemaKey)
		if err != nil {
			return err
		}
		return p.Schema.UnmarshalJSON([]byte(text))
	}
	if err := read(); err != nil {
		return p, false, fmt.Errorf("partition %v of %s in the metastore: %w", h.Values, n, err)
	}
	return p, true, nil
}
