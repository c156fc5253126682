package flow

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/web"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestLost has Apache Kafka lose records of a topic: while a process lands them, and by making the topic anew on the same day. Each time the Kafka
// partition stops, a person accepts it, and the tables have what was not lost.
func TestLost(t *testing.T) {
	broker := fixture.Kafka(t)
	p := binary.New(t, binary.Build(t), fmt.Sprintf(`
database: db
kafka: {brokers: [%q]}
lake: {raw: raw, tables: tables}
sources: {}
land: {rotate.schedule.interval.ms: 300}
listen: {http: "127.0.0.1:0"}
`, broker.Addr))
	topic := newForeign(t, broker.Addr, kgo.DefaultProduceTopic("trades_raw"))
	admin := kadm.NewClient(topic.cl)
	create := func() {
		t.Helper()
		if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "trades_raw"); err != nil {
			t.Fatal(err)
		}
	}
	sent := 0
	send := func(n int) {
		t.Helper()
		for range n {
			topic.send(kgo.StringRecord(fmt.Sprintf(`{"raw_data":{"n":%d},"metadata":{},"ingestion_timestamp":%d}`, sent, time.Now().UnixMilli())))
			sent++
		}
	}
	landing := func() web.Topic {
		t.Helper()
		var s web.Status
		if err := json.Unmarshal([]byte(p.Run(t, nil, "status", "--json").Must(t)), &s); err != nil {
			t.Fatal(err)
		}
		for _, x := range s.Topics {
			if x.Topic == "trades_raw" {
				return x
			}
		}
		return web.Topic{}
	}
	rows := func(want int) {
		t.Helper()
		if got := ask(t, p, "select count(*), count(distinct n) from db.trades"); got != fmt.Sprintf("%d,%d", want, want) {
			t.Errorf("the table has %s rows and numbers, want %d", got, want)
		}
	}
	create()
	send(5)
	proc := p.Start(t, nil, "run")
	binary.Eventually(t, "five records landed", func() bool { return landing().Committed == 5 })

	// The fetch that waits gets the first of these; the others are gone before the process asks for them.
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := proc.Cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	send(6)
	gone := kadm.Offsets{}
	gone.AddOffset("trades_raw", 0, 10, -1)
	if _, err := admin.DeleteRecords(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	signal(syscall.SIGCONT)
	binary.Eventually(t, "the Kafka partition to stop", func() bool { return landing().Stopped })
	lost := landing()
	if lost.LostTo != 10 || lost.LostFrom != lost.Committed || lost.LostFrom < 5 {
		t.Errorf("%+v", lost)
	}
	if got := p.Run(t, nil, "land accept", "trades_raw"); got.Code != 7 {
		t.Errorf("beside a process that lands it ended with %d: %s", got.Code, got.Stderr)
	}
	signal(syscall.SIGTERM)
	proc.Wait(t, 3*time.Minute)
	fails := func(says string) {
		t.Helper()
		if got := p.Run(t, nil, "run", "--once"); got.Code != 1 || !strings.Contains(got.Stderr, says) {
			t.Errorf("it ended with %d, and does not say %q: %s", got.Code, says, got.Stderr)
		}
	}
	accept := func(says string) {
		t.Helper()
		if got := p.Run(t, nil, "land accept", "trades_raw", "0").Must(t); !strings.Contains(got, says) {
			t.Errorf("it does not say %q:\n%s", says, got)
		}
	}
	fails(fmt.Sprintf("records %d to 9 are no longer in Kafka", lost.LostFrom))
	accept(fmt.Sprintf("records %d to 9", lost.LostFrom))
	p.Run(t, nil, "run", "--once").Must(t)
	rows(int(lost.LostFrom) + 1)

	if _, err := admin.DeleteTopic(t.Context(), "trades_raw"); err != nil {
		t.Fatal(err)
	}
	binary.Eventually(t, "the topic to go", func() bool {
		all, err := admin.ListTopics(t.Context(), "trades_raw")
		return err == nil && !all.Has("trades_raw")
	})
	create()
	topic = newForeign(t, broker.Addr, kgo.DefaultProduceTopic("trades_raw")) // the old client knows the old topic
	send(4)
	fails("made anew")
	rows(int(lost.LostFrom) + 1)
	accept("number 2")
	for range 2 {
		p.Run(t, nil, "run", "--once").Must(t)
		rows(int(lost.LostFrom) + 5)
	}
	second, err := filepath.Glob(filepath.Join(p.Dir, "raw/topics/trades_raw/date=*/trades_raw+0+g2+0000000000.json.gz"))
	if err != nil || len(second) != 1 {
		t.Errorf("the second log's objects are %v, %v", second, err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(second[0]), "trades_raw+0+0000000000.json.gz")); err != nil {
		t.Log("a day has ended meanwhile:", err)
	}
	if got := p.Run(t, nil, "land accept", "trades_raw"); got.Code != 2 || !strings.Contains(got.Stderr, "nothing to accept") {
		t.Errorf("where nothing has stopped it ended with %d: %s", got.Code, got.Stderr)
	}
}
