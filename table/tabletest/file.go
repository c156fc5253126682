package tabletest

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	parquetschema "github.com/apache/arrow-go/v18/parquet/schema"

	"headwater/table"
)

// File is a Parquet file with the key/value metadata and one column, id, of rows numbers. Its Footer's schema is whatever
// the test says: nothing here compares the two.
func File(t testing.TB, rows int64, keyValue ...[2]string) []byte {
	t.Helper()
	id := parquetschema.NewInt64Node("id", parquet.Repetitions.Optional, -1)
	root, err := parquetschema.NewGroupNode("headwater", parquet.Repetitions.Required, parquetschema.FieldList{id}, -1)
	if err != nil {
		t.Fatal(err)
	}
	kv := metadata.NewKeyValueMetadata()
	for _, pair := range keyValue {
		if err := kv.Append(pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	w := file.NewParquetWriter(&out, root, file.WithWriteMetadata(kv))
	writeIDs(t, w, rows)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func writeIDs(t testing.TB, w *file.Writer, rows int64) {
	t.Helper()
	group, err := w.AppendRowGroupChecked()
	if err != nil {
		t.Fatal(err)
	}
	column, err := group.NextColumn()
	if err != nil {
		t.Fatal(err)
	}
	ids, defined := make([]int64, rows), make([]int16, rows)
	for i := range ids {
		ids[i], defined[i] = int64(i), 1
	}
	if _, err := column.(*file.Int64ColumnChunkWriter).WriteBatch(ids, defined, nil); err != nil {
		t.Fatal(err)
	}
	if err := column.Close(); err != nil {
		t.Fatal(err)
	}
	if err := group.Close(); err != nil {
		t.Fatal(err)
	}
}

// Made is a File with the Footer, as Headwater writes it.
func Made(t testing.TB, f table.Footer) []byte {
	t.Helper()
	return File(t, f.Rows, f.Metadata()...)
}
