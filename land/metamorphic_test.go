package land

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"headwater/internal/setting"
	"headwater/lake"
	"headwater/lake/lakefault"
)

// TestMetamorphic lands one input under settings that are drawn, each time with other processes, faults and ends, and has the same
// rows every time, in quarantine too: what a topic holds does not depend on how it is landed.
func TestMetamorphic(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("HEADWATER_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("HEADWATER_SEED=%d", seed)
	want := landedRows(t, seed, nil)
	if len(want) < 500 {
		t.Fatalf("only %d rows have landed", len(want))
	}
	for run := range uint64(20) {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, run))
			got := landedRows(t, seed, random)
			for row, n := range want {
				if got[row] != n {
					t.Errorf("%d times, want %d: %s", got[row], n, row)
				}
			}
			for row, n := range got {
				if want[row] == 0 {
					t.Errorf("%d times, and never produced: %s", n, row)
				}
			}
		})
	}
}

// landedRows lands the input of a seed, with a plain run or with what random draws.
func landedRows(t *testing.T, seed uint64, random *rand.Rand) map[string]int {
	t.Helper()
	r := newRig(t, 2, "a_raw")
	input := inputOf(seed)
	produce := func(part, parts int) {
		for p, records := range input {
			r.produceRecords("a_raw", int32(p), records[len(records)*part/parts:len(records)*(part+1)/parts])
		}
	}
	if random == nil {
		produce(0, 1)
		r.land(nil)
		return r.rows()
	}
	clocked := random.IntN(3) == 0
	layout := drawLayout(random, clocked)
	t.Logf("by the clock: %v", clocked)
	const parts = 5
	for part := range parts {
		produce(part, parts)
		if random.IntN(3) == 0 {
			layout = drawLayout(random, clocked)
		}
		ends := r.replicas(random, layout, 1+random.IntN(3))
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		if random.IntN(5) == 0 { // it takes seconds until the member knows
			r.throwOut(random)
			time.Sleep(50 * time.Millisecond)
		}
		for _, end := range ends {
			end()
		}
	}
	r.land(layout)
	return r.rows()
}

// inputOf are the records of two Kafka partitions, a few of them none to land.
func inputOf(seed uint64) (all [2][]*kgo.Record) {
	random := rand.New(rand.NewPCG(seed, 1000))
	for p := range all {
		clock := time.Date(2026, 7, 5, 23, 50, 0, 0, time.UTC)
		for n := range 300 {
			clock = clock.Add(time.Duration(random.IntN(9000)-1000) * time.Millisecond)
			value := fmt.Sprintf(`{"raw_data":%q,"country":"%c","pad":%q,"ingestion_timestamp":%d}`,
				lake.LandID("a_raw", int32(p), int64(n)), 'a'+random.IntN(3), strings.Repeat("x", random.IntN(200)), clock.UnixMilli())
			switch random.IntN(40) {
			case 0:
				value = fmt.Sprintf("no JSON %d %d", p, n)
			case 1:
				value = ""
			}
			record := &kgo.Record{Value: []byte(value), Timestamp: clock}
			if value == "" {
				record.Value = nil
			}
			all[p] = append(all[p], record)
		}
	}
	return all
}

// drawLayout draws the settings that decide where a record lands and when. Folders of the clock stay so: a process of another layout
// that is ended while it puts is not seen by it.
func drawLayout(random *rand.Rand, clocked bool) func(*Options) {
	flush, level, pad := 1+random.IntN(120), random.IntN(11)-1, random.IntN(12)
	interval, schedule := []int64{-1, 20, 60_000, 3_600_000}[random.IntN(4)], []int64{-1, 30, 1000}[random.IntN(3)]
	bytes, memory, open := []int64{0, 500, 20_000}[random.IntN(3)], int64(1<<20)<<random.IntN(4), []int{-1, 1, 2}[random.IntN(3)]
	format := []string{"'date'=YYYY-MM-dd", "'date'=YYYY-MM-dd/'hour'=HH", "'week'=xxxx-ww"}[random.IntN(3)]
	class := []string{byTime, byTime, byPartition, byField}[random.IntN(4)]
	return func(o *Options) {
		c := &o.Config
		c.FlushSize, c.CompressionLevel, c.OffsetPadWidth, c.RotateIntervalMs, c.RotateScheduleIntervalMs = flush, level, pad, interval, schedule
		c.FlushBytes, c.MaxMemory, c.MaxOpenFiles, c.PathFormat = setting.Bytes(bytes), setting.Bytes(memory), open, format
		c.PartitionDurationMs = hourMillis
		switch {
		case clocked:
			byWallclock(o)
		case class == byField:
			c.PartitionerClass, c.PartitionFieldName = class, []string{"country"}
		default:
			c.PartitionerClass = class
		}
	}
}

// replicas starts landers of one layout, and gives how each is ended: stopped, dropped with what it has open, or cut off from the store first.
func (r *rig) replicas(random *rand.Rand, layout func(*Options), n int) (ends []func()) {
	for range n {
		store := lakefault.Random(r.store, random.Uint64(), 0.05)
		drop, cut := random.IntN(2) == 0, random.IntN(3) == 0
		stop := r.start(r.lander(func(o *Options) {
			layout(o)
			o.Store, o.Config.FlushOnStop = store, !drop
		}))
		ends = append(ends, func() {
			if cut && drop {
				store.Set(lakefault.Rule{Op: lakefault.Put, When: lakefault.After, Delay: lakefault.Hang})
				time.Sleep(20 * time.Millisecond)
			}
			stop()
		})
	}
	return ends
}

// throwOut has the coordinator forget one of the members.
func (r *rig) throwOut(random *rand.Rand) {
	r.t.Helper()
	group, err := r.admin().DescribeGroups(context.Background(), DefaultGroup)
	if err != nil {
		r.t.Fatal(err)
	}
	members := group[DefaultGroup].Members
	if len(members) == 0 {
		return
	}
	req := kmsg.NewPtrLeaveGroupRequest()
	member := kmsg.NewLeaveGroupRequestMember()
	req.Group, member.MemberID = DefaultGroup, members[random.IntN(len(members))].MemberID
	req.Members = append(req.Members, member)
	if _, err := req.RequestWith(context.Background(), r.cl); err != nil {
		r.t.Fatal(err)
	}
}

// rows are the lines of all objects, and the names of those in quarantine.
func (r *rig) rows() map[string]int {
	r.t.Helper()
	rows := map[string]int{}
	for _, o := range r.objects("topics/") {
		for _, line := range o.lines {
			rows[line]++
		}
	}
	for o, err := range r.store.List(context.Background(), "", "") {
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.Contains(o.Key, "_quarantine/") {
			rows["quarantine: "+o.Key]++
		}
	}
	return rows
}
