package crash

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/envelope"
	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// TestZombieCollects has two processes share sources of every kind that can be read again, stops the one after the other for longer than Kafka waits
// for it, so that the other takes its sources, and wakes it. Each item is in the topic of its source once.
func TestZombieCollects(t *testing.T) {
	t.Parallel()
	_, seed := drawn(t, 0, 1)
	broker := fixture.Kafka(t)
	sftp := fixture.NewSFTP(t)
	history := &api{}
	server := httptest.NewServer(history)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	file := func(dir string) func(string, int) {
		return func(body string, n int) {
			name := filepath.Join(dir, fmt.Sprintf("%d.ndjson", n))
			if err := os.WriteFile(name+".part", []byte(body+"\n"), 0o600); err != nil {
				t.Error(err)
			}
			if err := os.Rename(name+".part", name); err != nil {
				t.Error(err)
			}
		}
	}
	sources := map[string]upstream{
		"files": {fmt.Sprintf("{file: {path: %q, every: 50ms, settle: 10ms}}", dir+"/*.ndjson"), file(dir)},
		"polled": {
			fmt.Sprintf(`{rest: {url: "%s/history", every: 50ms, params: {since: "{incremental.start}"}, paginate: {page_number: {param: page}}, records: ".rows[]", incremental: {path: .at, initial: "2020-01-01", lag: 1s}}}`, server.URL),
			func(_ string, n int) { history.add(n) },
		},
		"sftp": {
			fmt.Sprintf("{sftp: {url: %q, private_key: %q, known_hosts: %q, every: 200ms, settle: 50ms, after: delete}}", "sftp://"+sftp.User+"@"+sftp.Addr+sftp.Dir+"/*.ndjson", sftp.Key, sftp.KnownHosts),
			file(sftp.Dir),
		},
		"amqp": amqpQueue(t), "mqtt": mqttSession(t), "nats": natsStream(t, rand.New(rand.NewPCG(seed, 0))), "redis": redisStream(t), "list": redisList(t), "sqs": sqsQueue(t), "kafka": kafkaTopic(t, broker),
	}
	if fixture.HasPubSub() {
		sources["pubsub"] = pubsubTopic(t)
	}
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "database: db\ndata_dir: ${OWN}\nkafka: {brokers: [%q]}\nlake: {raw: raw, tables: tables}\ncollect: {snapshot_every: 500ms}\nlisten: {http: \"127.0.0.1:0\"}\nsources:\n", broker.Addr)
	for name, s := range sources {
		fmt.Fprintf(&yaml, "  my_%s: %s\n", name, s.source)
	}
	p := binary.New(t, binary.Build(t), yaml.String())
	names := []string{"a", "b"}
	running := map[string]*binary.Process{}
	for _, name := range names {
		running[name] = p.Start(t, []string{"OWN=" + name}, "collect")
	}
	got := consumeAll(t, broker.Addr, slices.Collect(maps.Keys(sources)))
	next := 0
	// sending sends to each source what it has not, until it has read something that was sent after the begin.
	sending := func(what string, least int) {
		t.Helper()
		from := next
		binary.EventuallyOr(t, what, func() bool {
			for range 3 {
				for _, s := range sources {
					s.send(fmt.Sprintf(`{"n":%d}`, next), next)
				}
				next++
			}
			return next-from >= least && got.beyond(from)
		}, got.String)
	}
	sending("items of each source", 0)
	for _, name := range names {
		if err := running[name].Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		sending("the other process taking all sources", 0)
		if err := running[name].Cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		sending("items after the process has come back", 300)
	}
	binary.EventuallyOr(t, "all items", func() bool { return got.all(next) }, got.String)
	for name, proc := range running {
		if err := proc.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if r := proc.Wait(t, 3*time.Minute); r.Code != 0 {
			t.Errorf("%s ended with %d: %s", name, r.Code, r.Stderr)
		}
	}
	time.Sleep(time.Second) // for what comes twice
	if !got.all(next) {
		t.Errorf("not each of %d items is there once:\n%s", next, got)
	}
	t.Logf("%d items of each of %d sources", next, len(sources))
}

// arrived counts the items that topics have, by their numbers.
type arrived struct {
	mu     sync.Mutex
	counts map[string]map[int]int
}

// consumeAll reads what is committed of the topics of sources until the test ends.
func consumeAll(t *testing.T, broker string, sources []string) *arrived {
	t.Helper()
	a := &arrived{counts: map[string]map[int]int{}}
	for _, name := range sources {
		a.counts[name] = map[int]int{}
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("^my_.*_raw$"), kgo.ConsumeRegex(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				raw, found, err := envelope.Lookup(r.Value, "raw_data", "n")
				n, bad := strconv.Atoi(string(raw))
				if err != nil || !found || bad != nil {
					t.Errorf("%s has %s", r.Topic, r.Value)
				}
				a.mu.Lock()
				defer a.mu.Unlock()
				a.counts[strings.TrimSuffix(strings.TrimPrefix(r.Topic, "my_"), "_raw")][n]++
			})
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		cl.Close()
	})
	return a
}

// beyond says that each source has items from n on.
func (a *arrived) beyond(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, counts := range a.counts {
		if len(counts) == 0 || slices.Max(slices.Collect(maps.Keys(counts))) < n {
			return false
		}
	}
	return true
}

// all says that each source has the first n items, once.
func (a *arrived) all(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, counts := range a.counts {
		for i := range n {
			if counts[i] != 1 {
				return false
			}
		}
	}
	return true
}

func (a *arrived) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(a.counts)) {
		counts := a.counts[name]
		last, twice := -1, []int{}
		for n, count := range counts {
			if last = max(last, n); count > 1 {
				twice = append(twice, n)
			}
		}
		missing := []int{}
		for n := range last {
			if counts[n] == 0 {
				missing = append(missing, n)
			}
		}
		fmt.Fprintf(&b, "%s: %d, the last is %d, missing %v, twice %v\n", name, len(counts), last, missing, twice)
	}
	return b.String()
}
