package file

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"headwater/collect"
	"headwater/envelope"
)

// nowhere is an Out that takes everything.
type nowhere struct{ items int }

func (*nowhere) Streams() map[string]envelope.StreamCursor { return nil }

func (n *nowhere) Emit(context.Context, collect.Item) error { n.items++; return nil }

func (*nowhere) Drain(context.Context) error { return nil }

func (*nowhere) Mark(context.Context, string, json.RawMessage, bool, func()) error { return nil }

func BenchmarkCSV(b *testing.B) {
	path := filepath.Join(b.TempDir(), "flights.csv")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintln(f, "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour")
	const rows = 100_000
	for i := range rows {
		fmt.Fprintf(f, "2013,1,1,%d,515,2,830,819,11,UA,%d,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n", 500+i%100, i)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	b.ReportAllocs()
	c := DefaultConfig()
	c.Path = path
	for b.Loop() {
		out := &nowhere{}
		if err := New(c, "", nil).Run(b.Context(), out, true); err != nil || out.items != rows {
			b.Fatal(out.items, err)
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
}
