package table_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/mem"
	"headwater/schema"
	"headwater/table"
	"headwater/table/tabletest"
)

var (
	orders = table.Name{Database: "shop", Table: "orders"}
	day    = table.Day{Year: 2026, Month: 7, Day: 5}
	flat   = schema.Type{Kind: schema.Struct, Fields: []schema.Field{
		{Name: "Id", Type: schema.Type{Kind: schema.Long}},
		{Name: "lines", Type: schema.Type{Kind: schema.List, Elem: &schema.Type{Kind: schema.String}}},
	}}
)

// footer is that of a file made from the named input.
func footer(input string, rows int64) table.Footer {
	f := table.Footer{
		V: 1, Table: orders.String(), Day: day.String(), Rows: rows, Quarantined: 2, SchemaVersion: 3, Schema: flat, Engine: "native",
		Inputs:   []table.Input{{Key: input, Size: 10, Log: "log", First: 1, Next: 5, Count: 4}},
		Settings: map[string]string{"dialect": "headwater"},
		Renamed:  map[string]string{"year_1": "year"},
	}
	f.Run = f.Digest()
	return f
}

func put(t *testing.T, s lake.Store, data []byte) lake.Object {
	t.Helper()
	o, err := s.Put(t.Context(), table.PartKey(orders, day), bytes.NewReader(data), lake.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestFooterComesBack(t *testing.T) {
	small, large := footer("a", 3), footer("b", 3)
	for range 3000 {
		large.Inputs = append(large.Inputs, table.Input{Key: strings.Repeat("k", 100)})
	}
	for name, want := range map[string]table.Footer{"small": small, "larger than one range": large} {
		s := mem.New()
		data := tabletest.Made(t, want)
		o := put(t, s, data)
		got, at, found, err := table.ReadFooter(t.Context(), s, o.Key)
		if err != nil || !found || at.Version != o.Version {
			t.Fatalf("%s: found %t at %v: %v", name, found, at, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		got, found, err = table.FooterOf(bytes.NewReader(data), int64(len(data)))
		if diff := cmp.Diff(want, got); diff != "" || !found || err != nil {
			t.Errorf("%s from a file: %t, %v (-want +got):\n%s", name, found, err, diff)
		}
	}
}

func TestFooterOfOtherFiles(t *testing.T) {
	s := mem.New()
	key := table.PartKey(orders, day)
	if _, _, _, err := table.ReadFooter(t.Context(), s, key); !errors.Is(err, lake.ErrNotExist) {
		t.Errorf("no object: %v, want ErrNotExist", err)
	}
	put(t, s, tabletest.File(t, 3, [2]string{"made by", "another"}))
	if _, _, found, err := table.ReadFooter(t.Context(), s, key); found || err != nil {
		t.Errorf("another's Parquet file: found %t, %v", found, err)
	}
	put(t, s, tabletest.File(t, 3, [2]string{table.FooterKey, `{"v":2}`}))
	if _, _, _, err := table.ReadFooter(t.Context(), s, key); !errors.Is(err, table.ErrVersion) {
		t.Errorf("a newer footer: %v, want ErrVersion", err)
	}
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "magic alone": []byte("PAR1"), "length beyond the file": []byte("\xff\xff\xff\x7fPAR1"),
		"no metadata": []byte("PAR1\x00\x00\x00\x00PAR1"), "footer is not JSON": tabletest.File(t, 1, [2]string{table.FooterKey, "hello"}),
	} {
		put(t, s, data)
		if _, _, found, err := table.ReadFooter(t.Context(), s, key); found || !errors.Is(err, table.ErrNotParquet) {
			t.Errorf("%s: found %t, %v, want ErrNotParquet", name, found, err)
		}
	}
}

// Every damage of one byte, and every length, is an error or the same file: never a panic.
func TestFooterOfDamagedFiles(t *testing.T) {
	whole := tabletest.Made(t, footer("a", 3))
	for i := range whole {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(whole)
			damaged[i] ^= flip
			_, _, _ = table.FooterOf(bytes.NewReader(damaged), int64(len(damaged)))
		}
		if _, found, err := table.FooterOf(bytes.NewReader(whole[:i]), int64(i)); found || err == nil {
			t.Fatalf("the first %d bytes pass for a file", i)
		}
	}
}

func FuzzFooter(f *testing.F) {
	whole := tabletest.Made(f, footer("a", 3))
	f.Add(whole[len(whole)-int(binary.LittleEndian.Uint32(whole[len(whole)-8:]))-8 : len(whole)-8])
	f.Fuzz(func(t *testing.T, meta []byte) {
		tail := append(binary.LittleEndian.AppendUint32(bytes.Clone(meta), uint32(len(meta))), "PAR1"...)
		_, _, _ = table.FooterOf(bytes.NewReader(tail), int64(len(tail)))
	})
}

func TestDigest(t *testing.T) {
	base := footer("a", 3)
	same := base
	same.Rows, same.Quarantined, same.SchemaVersion, same.Run, same.V = 9, 9, 9, "x", 0
	same.Schema, same.Renamed = schema.Type{}, nil
	if same.Digest() != base.Digest() {
		t.Error("the digest depends on what came out")
	}
	for name, change := range map[string]func(*table.Footer){
		"table":    func(f *table.Footer) { f.Table = "shop.other" },
		"day":      func(f *table.Footer) { f.Day = "2026-07-06" },
		"key":      func(f *table.Footer) { f.Inputs[0].Key = "b" },
		"size":     func(f *table.Footer) { f.Inputs[0].Size++ },
		"log":      func(f *table.Footer) { f.Inputs[0].Log = "other" },
		"next":     func(f *table.Footer) { f.Inputs[0].Next++ },
		"inputs":   func(f *table.Footer) { f.Inputs = nil },
		"engine":   func(f *table.Footer) { f.Engine = "spark" },
		"settings": func(f *table.Footer) { f.Settings = map[string]string{"dialect": "spark"} },
	} {
		changed := footer("a", 3)
		change(&changed)
		if changed.Digest() == base.Digest() {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestMetadata(t *testing.T) {
	f := footer("a", 3)
	m := f.Metadata()
	if diff := cmp.Diff(m, footer("a", 3).Metadata()); diff != "" {
		t.Errorf("equal footers differ:\n%s", diff)
	}
	if m[0][0] != "headwater" || m[1][0] != "org.apache.spark.sql.parquet.row.metadata" {
		t.Fatalf("keys are %q and %q", m[0][0], m[1][0])
	}
	var s schema.Type
	if err := json.Unmarshal([]byte(m[1][1]), &s); err != nil || !schema.Equal(s, flat) {
		t.Errorf("Spark's schema is %s, %v", s, err)
	}
}
