package embedded

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// brokerEnv makes the test binary a broker: its value is folder|address.
const brokerEnv = "HEADWATER_TEST_BROKER"

func TestMain(m *testing.M) {
	if spec := os.Getenv(brokerEnv); spec != "" {
		serve(spec)
	}
	os.Exit(m.Run())
}

// serve is a broker until it is killed. Its parent reads the address from stdout.
func serve(spec string) {
	dir, addr, _ := strings.Cut(spec, "|")
	b, err := Open(Config{Dir: dir, Addr: addr}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(b.Addr())
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // the parent's end closes it
	_ = b.Close()
	os.Exit(0)
}

// process is a broker in a process of its own.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
}

func start(t *testing.T, dir, addr string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), brokerEnv+"="+dir+"|"+addr)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, stdin: in}
	t.Cleanup(p.kill)
	if p.addr, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the broker did not start: %v", err)
	}
	p.addr = strings.TrimSpace(p.addr)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

// stop is a clean one.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("stopping the broker: %v", err)
	}
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.DisableClientMetrics(), kgo.MetadataMinAge(50 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestKillsUnderLoad is Invariants 1, 3 and 4: a producer goes on through five kills, and every record is there once and in order.
func TestKillsUnderLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	p := start(t, dir, "127.0.0.1:0")
	cl := client(t, p.addr, kgo.AllowAutoTopicCreation(), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	var acked atomic.Int64
	var sent int64
	stop := make(chan struct{})
	stopped := make(chan error, 1)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				stopped <- cl.Flush(ctx)
				return
			default:
			}
			value := binary.BigEndian.AppendUint64(nil, uint64(sent))
			sent++
			cl.Produce(ctx, &kgo.Record{Topic: "load_raw", Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("a record failed: %v", err)
				}
				acked.Add(1)
			})
			if sent%20 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for range 5 {
		before := acked.Load()
		for acked.Load() < before+200 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		p.kill()
		p = start(t, dir, p.addr)
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	values := readAll(t, ctx, p.addr, "load_raw", sent)
	for i, v := range values {
		if n := binary.BigEndian.Uint64(v); n != uint64(i) {
			t.Fatalf("the record at offset %d is number %d", i, n)
		}
	}
}

// readAll reads the topic's partition 0 from offset 0 on and fails unless its end is at want.
func readAll(t *testing.T, ctx context.Context, addr, topic string, want int64) (values [][]byte) {
	t.Helper()
	cl := client(t, addr, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}))
	end := int64(-1)
	for end < 0 || int64(len(values)) < end {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) { end = p.HighWatermark })
		fetches.EachRecord(func(r *kgo.Record) { values = append(values, r.Value) })
	}
	if end != want {
		t.Errorf("the topic holds %d records, %d were sent", end, want)
	}
	return values
}
