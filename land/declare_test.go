package land

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headwater/envelope"
)

// TestDeclare changes what is said of topics while they land: a topic more, one whose time is elsewhere, and what makes no difference.
func TestDeclare(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "orders_raw", "theirs", "more")
	const seconds, day = 1751700000, "topics/theirs/date=2025-07-05/"
	value := func(n int) string { return fmt.Sprintf(`{"n":%d,"t":%d,"u":%d}`, n, seconds, seconds+86400) }
	shape := func(field string) map[string]envelope.Shape {
		return map[string]envelope.Shape{"theirs": {Bare: true, Field: field, Unit: envelope.Seconds}}
	}
	l := r.lander(func(o *Options) {
		o.Topics, o.Shapes = []string{"theirs"}, shape("t")
		o.Config.FlushSize = 1000 // only an end closes objects
		o.Config.RotateIntervalMs = -1
	})
	ctx, stop := context.WithCancel(t.Context())
	var ran sync.WaitGroup
	ran.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	open := func(topic string, offset int64) {
		t.Helper()
		eventually(t, "taking the records of "+topic, func() bool { return l.statusOf(topicPartition{topic, 0}).Position == offset })
	}
	r.produce("orders_raw", 0, at("a", "2025-07-05T00:00:00"))
	r.produce("theirs", 0, value(0))
	open("orders_raw", 1)
	open("theirs", 1)

	l.Declare(Declared{Topics: []string{"orders_raw", "theirs"}, Shapes: shape("t")}) // the expression has that topic already
	r.produce("orders_raw", 0, at("b", "2025-07-05T00:00:01"))
	open("orders_raw", 2)
	if len(r.objects("topics/")) != 0 {
		t.Fatal("what makes no difference made landing begin again")
	}

	l.Declare(Declared{Topics: []string{"theirs", "more"}, Shapes: shape("u")})
	if !l.Lands("more") {
		t.Error("a topic that was declared does not land")
	}
	r.produce("theirs", 0, value(1))
	r.produce("more", 0, at("c", "2025-07-05T00:00:02"))
	open("theirs", 2)
	open("more", 1)
	stop()
	ran.Wait()
	var got []string
	for key, o := range r.objects("topics/") {
		got = append(got, fmt.Sprintf("%s %d", key[:strings.LastIndex(key, "/")+1], len(o.lines)))
	}
	slices.Sort(got)
	want := []string{"topics/more/date=2025-07-05/ 1", "topics/orders_raw/date=2025-07-05/ 2", day + " 1", "topics/theirs/date=2025-07-06/ 1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	for _, tp := range l.Status().Partitions {
		if tp.Lag() != 0 {
			t.Errorf("%s has a lag of %d after the end", tp.Topic, tp.Lag())
		}
	}
}

// TestDeclareBeforeAndAfter has no Run to begin again.
func TestDeclareBeforeAndAfter(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1, "theirs")
	r.produce("theirs", 0, at("a", "2025-07-05T00:00:00"))
	l := r.lander(nil)
	if err := l.RunTo(t.Context(), r.made); err == nil {
		t.Fatal("a topic that nobody has declared landed")
	}
	l.Declare(Declared{Topics: []string{"theirs"}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.RunTo(ctx, r.made); err != nil {
		t.Fatal(err)
	}
	l.Declare(Declared{})
	if l.Lands("theirs") || len(r.objects("topics/theirs/")) != 1 {
		t.Error("it is still declared, or has not landed")
	}
}
