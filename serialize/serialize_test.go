package serialize

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRun(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"a":1,"b":{"c":"x"},"l":[1,2,null]}`), envelopeOf(`{"a":null,"b":{},"l":[]}`))
	w.put(t, envelopeOf(`{"b":{"c":"y"},"late":1.5}`))
	r := w.run(t)
	if r.Rows != 3 || r.Quarantined != 0 {
		t.Fatal(r)
	}
	us := int64(noon * 1000)
	want := []any{
		map[string]any{"a": int64(1), "b_c": "x", "l": []any{int64(1), int64(2), nil}, "_ingested_at": us},
		map[string]any{"l": []any{}, "_ingested_at": us},
		map[string]any{"b_c": "y", "late": 1.5, "_ingested_at": us},
	}
	if diff := cmp.Diff(want, w.rows(t, w.job.Flat)); diff != "" {
		t.Error(diff)
	}
	meta := map[string]any{"host_name": "h", "thread_id": int64(1)}
	wantRaw := []any{
		map[string]any{
			"raw_data": map[string]any{"a": int64(1), "b": map[string]any{"c": "x"}, "l": []any{int64(1), int64(2), nil}},
			"metadata": meta, "ingestion_timestamp": int64(noon),
		},
		map[string]any{"raw_data": map[string]any{"b": map[string]any{}, "l": []any{}}, "metadata": meta, "ingestion_timestamp": int64(noon)},
		map[string]any{
			"raw_data": map[string]any{"b": map[string]any{"c": "y"}, "late": 1.5}, "metadata": meta,
			"ingestion_timestamp": int64(noon),
		},
	}
	if diff := cmp.Diff(wantRaw, w.rows(t, w.job.Raw)); diff != "" {
		t.Error(diff)
	}
}

func TestLoneSurrogatesAreCounted(t *testing.T) {
	w := newWorld(t)
	w.put(t, envelopeOf(`{"a":"x\ud800y\udc00","b":"\ud83d\ude00","c":["\ud800"]}`), envelopeOf(`{"c":1}`))
	if r := w.run(t); r.LoneSurrogates != 2 { // c is JSON text, which keeps its escapes
		t.Error(r.LoneSurrogates)
	}
	want := map[string]any{"a": "x\ufffdy\ufffd", "b": "\U0001f600", "c": `["\ud800"]`, "_ingested_at": int64(noon * 1000)}
	if diff := cmp.Diff(want, w.rows(t, w.job.Flat)[0]); diff != "" {
		t.Error(diff)
	}
}
