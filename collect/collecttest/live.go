package collecttest

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/collect"
	"headwater/envelope"
	"headwater/internal/setting"
)

// Live is a source that a Runner runs over a topic in memory until it is stopped, for tests that break what it reads from.
type Live struct {
	*collect.Runner
	// Log and Kept are the topic and the quarantine, which outlive the Live.
	Log  *Log
	Kept *Quarantine
	// Stop ends the Runner and waits for it. The test's end does, too.
	Stop func()
	t    *testing.T
}

// Start runs the source over the topic. A source that fails is run again at once.
func Start(t *testing.T, src collect.Source, log *Log) *Live {
	t.Helper()
	l := &Live{Log: log, Kept: &Quarantine{}, t: t}
	c := collect.DefaultConfig()
	c.Retry = collect.Retry{Min: time.Millisecond, Max: 100 * time.Millisecond, Tries: 1}
	l.Runner = collect.New(collect.Options{Name: "live", Source: src, Open: log.Open, Quarantine: l.Kept, Config: c, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- l.Run(ctx, false) }()
	l.Stop = sync.OnceFunc(func() {
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
		for _, fault := range log.Faults() {
			t.Error(fault)
		}
	})
	t.Cleanup(l.Stop)
	return l
}

// Once runs the source over the topic until it has read what is there, or fails.
func Once(t *testing.T, src collect.Source, log *Log) error {
	t.Helper()
	c := collect.DefaultConfig()
	c.Retry.Tries = 1
	return collect.New(collect.Options{Name: "x", Source: src, Open: log.Open, Quarantine: &Quarantine{}, Config: c}).Run(t.Context(), true)
}

// Expect waits for n records, stops, and fails unless the topic has every number below n once, in order, as format spells it.
func (l *Live) Expect(format string, n int) {
	l.t.Helper()
	l.Await(n)
	l.Stop()
	var want []string
	for i := range n {
		want = append(want, fmt.Sprintf(format, i))
	}
	if d := cmp.Diff(want, l.Items()); d != "" {
		l.t.Errorf("items (-want +got):\n%s", d)
	}
}

// ExpectEach fails unless the topic has every number below n once, in any order.
func (l *Log) ExpectEach(t *testing.T, n int) {
	t.Helper()
	times := map[string]int{}
	for _, item := range l.Items() {
		times[item]++
	}
	for i := range n {
		if got := times[strconv.Itoa(i)]; got != 1 {
			t.Errorf("item %d is there %d times", i, got)
		}
	}
	if len(times) != n {
		t.Errorf("%d different items, want %d", len(times), n)
	}
}

// Items are Log's.
func (l *Live) Items() []string { return l.Log.Items() }

// Items are the raw_data of the topic's records; before that of a malformed one is "!".
func (l *Log) Items() (items []string) {
	for _, r := range l.Records() {
		v, err := envelope.Parse(r.Value)
		if err != nil {
			items = append(items, fmt.Sprintf("no envelope: %v", err))
			continue
		}
		text := string(v.RawData)
		if _, is := envelope.MetadataMalformed(v.Metadata); is {
			text = "!" + text
		}
		items = append(items, text)
	}
	return items
}

// Await waits until the topic has so many records.
func (l *Live) Await(records int) {
	l.t.Helper()
	l.Until(func() bool { return len(l.Log.Records()) >= records })
}

// Until waits for what the source does in its own time.
func (l *Live) Until(done func() bool) {
	l.t.Helper()
	for until := time.Now().Add(3 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			l.t.Fatalf("three minutes have passed: %d records, %+v", len(l.Log.Records()), l.Status())
		}
	}
}

// AwaitError waits until the source has failed with an error that says so, and gives the whole of it.
func (l *Live) AwaitError(words ...string) string {
	l.t.Helper()
	why := ""
	l.Until(func() bool {
		why = l.Status().LastError
		for _, word := range words {
			if !strings.Contains(why, word) {
				return false
			}
		}
		return true
	})
	return why
}

// ExpectFaults fails unless the faults of a configuration say what is wanted, or there are none and "" is; and if they give away a password, which tests
// begin with hunter.
func ExpectFaults(t *testing.T, faults setting.Faults, want string) {
	t.Helper()
	var texts []string
	for _, f := range faults {
		texts = append(texts, f.String())
	}
	got := strings.Join(texts, "\n")
	if (want == "") != (got == "") || !strings.Contains(got, want) || strings.Contains(got, "hunter") {
		t.Errorf("got %q, want %q", got, want)
	}
}
