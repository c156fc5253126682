package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headwater/schema"
	"headwater/table"
)

// place is a column of the flat table, or a part of one of the raw table that is in no list.
type place struct {
	path []string
	typ  schema.Type
}

func (p place) String() string { return strings.Join(p.path, ".") }

// places are those of a table's schema.
func places(t schema.Type, above ...string) (all []place) {
	for _, f := range t.Fields {
		path := append(slices.Clone(above), f.Name)
		if f.Type.Kind == schema.Struct {
			all = append(all, places(f.Type, path...)...)
		} else {
			all = append(all, place{path, f.Type})
		}
	}
	return all
}

// inFlat says of a place of the raw table where it is in the flat one.
func (p place) inFlat() (place, bool) {
	if p.path[0] != "raw_data" {
		return place{}, false
	}
	return place{[]string{strings.Join(p.path[1:], "_")}, p.typ}, true
}

// sqlType is DuckDB's for a type.
func sqlType(t schema.Type) string {
	switch t.Kind {
	case schema.Boolean:
		return "BOOLEAN"
	case schema.Long:
		return "BIGINT"
	case schema.Decimal:
		return "DECIMAL(38,0)"
	case schema.Double:
		return "DOUBLE"
	case schema.String:
		return "VARCHAR"
	case schema.Timestamp:
		return "TIMESTAMP WITH TIME ZONE"
	case schema.List:
		return sqlType(*t.Elem) + "[]"
	case schema.Struct:
		fields := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			fields[i] = identifier(f.Name) + " " + sqlType(f.Type)
		}
		return "STRUCT(" + strings.Join(fields, ", ") + ")"
	}
	panic(fmt.Sprintf("a table has a column of kind %d", t.Kind))
}

// parquetFiles are those below a folder.
func parquetFiles(dir string) (paths []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".parquet" {
			paths = append(paths, path)
		}
		return err
	})
	if err == nil && len(paths) == 0 {
		err = fmt.Errorf("no Parquet file is below %s", dir)
	}
	return paths, err
}

func footerOf(path string) (table.Footer, error) {
	f, err := os.Open(path)
	if err != nil {
		return table.Footer{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return table.Footer{}, err
	}
	footer, ours, err := table.FooterOf(f, info.Size())
	if err == nil && !ours {
		err = fmt.Errorf("%s has no footer of ours", path)
	}
	return footer, err
}

// tables are where both are that something has written.
type tables struct{ raw, flat string }

func ownTables(out, data string) tables {
	of := func(name string) string { return filepath.Join(out, "tables", "bench", name) }
	return tables{of(data + "_raw"), of(data)}
}

func rivalTables(out string) tables {
	return tables{filepath.Join(out, "raw"), filepath.Join(out, "flat")}
}

func sqlList(paths []string) string {
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = quote(p)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// from is the SQL of what is in a table's files.
func from(dir string) (string, error) {
	files, err := parquetFiles(dir)
	return "FROM read_parquet(" + sqlList(files) + ", hive_partitioning = false, union_by_name = true)", err
}

// checked is how many rows of each table are compared one by one, about, so that a fault of the digests would be seen.
const checked = 3000

// compareWithObjects compares every value of both tables with DuckDB's reading of the objects they were made from, to which the types are given: doubles by their shortest
// text, which no two have in common. Digests tell the columns apart that differ. It gives the number of rows and of values, nulls left out.
func compareWithObjects(raw string, own tables, key string, records int) (rows, values int64, err error) {
	files, err := parquetFiles(own.raw)
	if err != nil {
		return 0, 0, err
	}
	footer, err := footerOf(files[0])
	if err != nil {
		return 0, 0, err
	}
	if len(files) > 1 || len(footer.Renamed) > 0 {
		return 0, 0, fmt.Errorf("the comparison is for one day of records whose keys are columns' names: %d files, %v renamed", len(files), footer.Renamed)
	}
	db, err := openDatabase()
	if err != nil {
		return 0, 0, err
	}
	defer db.close()
	objects, err := objectsIn(raw)
	if err != nil {
		return 0, 0, err
	}
	columns := make([]string, len(footer.Schema.Fields))
	for i, f := range footer.Schema.Fields {
		columns[i] = quote(f.Name) + ": " + quote(sqlType(f.Type))
	}
	if err := db.exec(fmt.Sprintf(`CREATE TABLE truth AS SELECT * FROM read_json(%s, format = 'newline_delimited', compression = 'gzip', hive_partitioning = false,
		maximum_object_size = 67108864, columns = {%s})`, sqlList(objects), strings.Join(columns, ", "))); err != nil {
		return 0, 0, err
	}
	inObjects, inRaw, inFlat := sides{key: identifier("raw_data", key), from: "FROM truth"}, sides{key: identifier("raw_data", key)}, sides{key: identifier(key)}
	if inRaw.from, err = from(own.raw); err != nil {
		return 0, 0, err
	}
	if inFlat.from, err = from(own.flat); err != nil {
		return 0, 0, err
	}
	ofFlat := sides{key: inObjects.key, from: inObjects.from}
	for _, p := range places(footer.Schema) {
		inObjects.add(p, identifier(p.path...))
		inRaw.add(p, identifier(p.path...))
		if f, ok := p.inFlat(); ok {
			ofFlat.add(p, identifier(p.path...))
			inFlat.add(f, identifier(f.path...))
		}
	}
	stamp := place{path: []string{schema.IngestedAt}}
	ofFlat.add(stamp, "make_timestamptz(ingestion_timestamp * 1000)")
	inFlat.add(stamp, identifier(schema.IngestedAt))
	for name, pair := range map[string][2]sides{"raw": {inObjects, inRaw}, "flat": {ofFlat, inFlat}} {
		count, filled, different, err := db.compare(pair[0], pair[1])
		switch {
		case err != nil:
			return 0, 0, err
		case len(different) > 0:
			return 0, 0, fmt.Errorf("the %s table differs from the objects in %d columns: %s", name, len(different), strings.Join(different, ", "))
		case count != int64(records):
			return 0, 0, fmt.Errorf("the %s table has %d rows of %d records", name, count, records)
		}
		if err := db.compareRows(pair[0], pair[1], records); err != nil {
			return 0, 0, fmt.Errorf("the %s table: %w", name, err)
		}
		rows, values = rows+count, values+filled
	}
	extra, err := footerOfFlat(own.flat)
	if err == nil && len(extra.Schema.Fields) != len(inFlat.values) {
		err = fmt.Errorf("the flat table has %d columns, %d of them compared", len(extra.Schema.Fields), len(inFlat.values))
	}
	return rows, values, err
}

func footerOfFlat(dir string) (table.Footer, error) {
	files, err := parquetFiles(dir)
	if err != nil {
		return table.Footer{}, err
	}
	return footerOf(files[0])
}

// sides is what is compared with the like of it: the SQL of values, which have names, in the rows that from gives, which a key tells apart.
type sides struct {
	key, from     string
	names, values []string
}

func (s *sides) add(p place, value string) {
	s.names, s.values = append(s.names, p.String()), append(s.values, value)
}

// digests has for each value how often it is there, and the sum of the hashes of it and its row's key, and before them the number of rows and of keys.
func (d *database) digests(s sides) ([]*string, error) {
	sums := []string{"count(*)", "count(DISTINCT " + s.key + ")"}
	for _, v := range s.values {
		sums = append(sums, fmt.Sprintf("count(%s)", v), fmt.Sprintf("sum(hash(%s, CAST(%s AS VARCHAR)))", s.key, v))
	}
	got, err := d.rows(sums, s.from)
	if err != nil {
		return nil, err
	}
	return got[0], nil
}

// compare gives the number of rows and of values, and what differs.
func (d *database) compare(want, got sides) (rows, values int64, different []string, err error) {
	a, err := d.digests(want)
	if err != nil {
		return 0, 0, nil, err
	}
	b, err := d.digests(got)
	if err != nil {
		return 0, 0, nil, err
	}
	for i, what := range []string{"rows", "keys"} {
		if *a[i] != *b[i] {
			different = append(different, fmt.Sprintf("%s %s of %s", *b[i], what, *a[i]))
		}
	}
	for i, name := range got.names {
		counted, sum := 2+2*i, 3+2*i
		if *a[counted] != *b[counted] || *a[sum] != *b[sum] {
			different = append(different, name)
		}
		values += number(*b[counted])
	}
	return number(*b[0]), values, different, nil
}

func number(text string) (n int64) {
	_, err := fmt.Sscan(text, &n)
	if err != nil {
		panic(err)
	}
	return n
}

// compareRows compares some of the rows value by value.
func (d *database) compareRows(want, got sides, records int) error {
	pick := func(s sides) ([][]*string, error) {
		rest := fmt.Sprintf("%s WHERE hash(%s) %% %d = 0 ORDER BY %[2]s", s.from, s.key, 1+records/checked)
		return d.rows(append([]string{s.key}, s.values...), rest)
	}
	a, err := pick(want)
	if err != nil {
		return err
	}
	b, err := pick(got)
	if err != nil {
		return err
	}
	if len(a) != len(b) || len(a) == 0 {
		return fmt.Errorf("%d rows of %d that were picked", len(b), len(a))
	}
	text := func(v *string) string {
		if v == nil {
			return "null"
		}
		return *v
	}
	for n := range a {
		for i := range a[n] {
			if (a[n][i] == nil) != (b[n][i] == nil) || text(a[n][i]) != text(b[n][i]) {
				return fmt.Errorf("in the row of %s, %s is %.200s, want %.200s", text(a[n][0]), append([]string{got.key}, got.names...)[i], text(b[n][i]), text(a[n][i]))
			}
		}
	}
	return nil
}

// compareWithRival says in words how a rival's tables differ from ours; empty if they do not. A value of another type is the same if one of them, converted, is the other.
func compareWithRival(own, rival tables, key string) (string, error) {
	db, err := openDatabase()
	if err != nil {
		return "", err
	}
	defer db.close()
	var words []string
	for _, pair := range []struct {
		name, own, rival string
		key              []string
	}{{"raw", own.raw, rival.raw, []string{"raw_data", key}}, {"flat", own.flat, rival.flat, []string{key}}} {
		lost, otherType, different, err := db.compareTables(pair.own, pair.rival, identifier(pair.key...))
		if err != nil {
			return "", fmt.Errorf("comparing the %s table: %w", pair.name, err)
		}
		for what, names := range map[string][]string{"lost": lost, "of another type": otherType, "with other values": different} {
			if len(names) > 0 {
				words = append(words, fmt.Sprintf("%s: %d %s (%s)", pair.name, len(names), what, strings.Join(names[:min(3, len(names))], ", ")))
			}
		}
	}
	slices.Sort(words)
	return strings.Join(words, "; "), nil
}

func (d *database) compareTables(ownDir, rivalDir, key string) (lost, otherType, different []string, err error) {
	footer, err := footerOfFlat(ownDir)
	if err != nil {
		return nil, nil, nil, err
	}
	want, got := sides{key: key}, sides{key: key}
	if want.from, err = from(ownDir); err != nil {
		return nil, nil, nil, err
	}
	if got.from, err = from(rivalDir); err != nil {
		return nil, nil, nil, err
	}
	files, err := parquetFiles(rivalDir)
	if err != nil {
		return nil, nil, nil, err
	}
	leaves, err := d.rows([]string{"path_in_schema"}, fmt.Sprintf("FROM (SELECT DISTINCT path_in_schema FROM parquet_metadata(%s))", sqlList(files)))
	if err != nil {
		return nil, nil, nil, err
	}
	has := func(p place) bool {
		path := strings.Join(p.path, ", ")
		return slices.ContainsFunc(leaves, func(l []*string) bool { return *l[0] == path || strings.HasPrefix(*l[0], path+", ") })
	}
	var common []place
	var types []string
	for _, p := range places(footer.Schema) {
		switch {
		case p.path[0] == schema.IngestedAt: // which only we have
		case !has(p):
			lost = append(lost, p.String())
		default:
			common, types = append(common, p), append(types, fmt.Sprintf("any_value(typeof(%s))", identifier(p.path...)))
		}
	}
	typeOf, err := d.rows(types, got.from)
	if err != nil {
		return nil, nil, nil, err
	}
	for i, p := range common {
		ours, theirs, is, its := identifier(p.path...), identifier(p.path...), *typeOf[0][i], sqlType(p.typ)
		if !slices.Equal(typeWords(is), typeWords(its)) {
			otherType = append(otherType, p.String()+" "+is)
		}
		if is != its && p.typ.Kind == schema.String {
			ours = fmt.Sprintf("TRY_CAST(%s AS %s)", ours, is)
		} else if is != its {
			theirs = fmt.Sprintf("TRY_CAST(%s AS %s)", theirs, its)
		}
		want.add(p, ours)
		got.add(p, theirs)
	}
	_, _, different, err = d.compare(want, got)
	return lost, otherType, different, err
}

// typeWords are equal for types that differ only in the order of fields and in quotes.
func typeWords(sql string) []string {
	words := strings.FieldsFunc(strings.ReplaceAll(sql, `"`, ""), func(r rune) bool { return strings.ContainsRune(" ,()", r) })
	slices.Sort(words)
	return words
}

// doCompare is a process of its own for its memory: In has the objects, Out our tables, and Rival, if there is one, another's, whose differences go into a file
// beside them. Without one it gives the number of values.
func doCompare(_ context.Context, t task) (int64, error) {
	own, key := ownTables(t.Out, t.Data), t.dataset().key
	if t.Rival == "" {
		_, values, err := compareWithObjects(t.In, own, key, t.Records)
		return values, err
	}
	said, err := compareWithRival(own, rivalTables(t.Rival), key)
	return 0, errors.Join(err, os.WriteFile(filepath.Join(t.Rival, "differences"), []byte(said), 0o600))
}

// TestEqual compares every value of the tables of each kind of data with DuckDB's reading of the same objects, and that a changed one is found.
func TestEqual(t *testing.T) {
	sizes := map[string]int{"sparse": 1000, "wide": 200} // DuckDB takes its time over so many columns
	for _, d := range append(slices.Clone(datasets), shapes...) {
		t.Run(d.name, func(t *testing.T) {
			l := &lab{t: t, dir: t.TempDir(), data: d, records: cmp.Or(sizes[d.name], 3000), least: map[string]usage{}}
			l.prepare()
			raw, out := l.objects(5), l.fresh("serialized")
			l.do(task{Role: "serialize", In: raw, Out: out, Topic: l.topic()})
			rows, values, err := compareWithObjects(raw, ownTables(out, d.name), d.key, l.records)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d rows with %d values are equal", rows, values)
			changeOne(t, raw)
			_, _, err = compareWithObjects(raw, ownTables(out, d.name), d.key, l.records)
			if err == nil || !strings.Contains(err.Error(), "differs from the objects in 1 columns") {
				t.Errorf("with one value of the objects changed: %v", err)
			}
		})
	}
}
