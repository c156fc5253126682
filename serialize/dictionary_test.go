package serialize

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/parquet/file"
)

// TestDictionaries: a column has a dictionary if its first values repeat themselves.
func TestDictionaries(t *testing.T) {
	w := newWorld(t)
	var lines []string
	for i := range 5000 {
		lines = append(lines, envelopeOf(fmt.Sprintf(
			`{"few":"v%d","many":"v%d","few_longs":%d,"many_longs":%d,"few_doubles":%d.5,"many_doubles":%d.5,"few_decimals":1%030d,"many_decimals":1%030d,"bools":%t,"none":null,"rare":%s}`,
			i%2000, i, i%2000, i, i%2000, i, i%2000, i, i%2 == 0, map[bool]string{true: `"x"`, false: "null"}[i%1000 == 0])))
	}
	w.put(t, lines...)
	w.run(t)
	f, err := file.NewParquetReader(bytes.NewReader(w.file(t, w.job.Flat)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	group := f.MetaData().RowGroup(0)
	want := map[string]bool{
		"few": true, "many": false, "few_longs": true, "many_longs": false, "few_doubles": true, "many_doubles": false, "few_decimals": true, "many_decimals": false, "rare": true, "none": true,
	}
	for i := range group.NumColumns() {
		c, err := group.ColumnChunk(i)
		if err != nil {
			t.Fatal(err)
		}
		if has, known := want[c.PathInSchema().String()]; known && c.HasDictionaryPage() != has {
			t.Errorf("%s has a dictionary: %t", c.PathInSchema(), c.HasDictionaryPage())
		}
	}
}
