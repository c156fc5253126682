package parquet

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"headwater/schema"
)

// readBack is what Reader finds in the first column.
func readBack(data []byte, t schema.Type) (groups []*Values, err error) {
	in, err := NewReader(bytes.NewReader(data), int64(len(data)), t)
	if err != nil {
		return nil, err
	}
	for g := range in.Groups() {
		var pages []*Values
		err := in.Pages(g, 0, func(v *Values) error {
			if len(v.Rep) > 0 && v.Rep[0] != 0 {
				return errors.New("a page begins within a row")
			}
			pages = append(pages, joined([]*Values{v}))
			return nil
		})
		if err != nil {
			return nil, err
		}
		groups = append(groups, joined(pages))
	}
	return groups, nil
}

func checkReader(t *testing.T, data []byte, typ schema.Type, groups ...[]*Values) {
	t.Helper()
	got, err := readBack(data, typ)
	if err != nil || len(got) != len(groups) {
		t.Fatalf("%d row groups of %d: %v", len(got), len(groups), err)
	}
	for i, g := range groups {
		if want := joined(g); !equal(want, got[i]) {
			t.Errorf("row group %d: %d levels and %d, values differ", i, want.Def.Len(), got[i].Def.Len())
		}
	}
}

// TestDamagedIsNoticed: a file that is cut short or altered is an error or gives some values, and never more; it ends the reading, not the process.
func TestDamagedIsNoticed(t *testing.T) {
	typ := object("c", listOf(leafOf(schema.String)))
	var rows rows
	rows.kind = schema.String
	r := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		rows.put(3, 0, true, string(rune('a'+r.IntN(20))))
		rows.put(2, 1, true, nil)
	}
	whole := fileOf(t, typ, []*Values{&rows.Values})
	for cut := range len(whole) {
		if _, err := readBack(whole[:cut], typ); err == nil {
			t.Fatalf("the first %d bytes of %d are read without an error", cut, len(whole))
		}
	}
	for range 5000 {
		data := bytes.Clone(whole)
		for range 1 + r.IntN(3) {
			data[r.IntN(len(data))] ^= byte(1 << r.IntN(8))
		}
		_, _ = readBack(data, typ)
	}
	if _, err := readBack(whole, schema.Type{Kind: schema.Struct, Fields: []schema.Field{{Name: "c", Type: leafOf(schema.String)}, {Name: "d", Type: leafOf(schema.Long)}}}); !errors.Is(err, ErrUnreadable) {
		t.Error("of another schema:", err)
	}
}
