package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/config"
	"headwater/internal/web"
	"headwater/kafka"
	"headwater/land"
)

// TestRetentionLeft: of topics that land, the one that Kafka deletes from and that lags is told, until it has landed.
func TestRetentionLeft(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1)) // the embedded broker keeps everything
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	cfg := kafka.DefaultConfig()
	cfg.Brokers = cluster.ListenAddrs()
	cl, err := kafka.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	var specs []kafka.TopicSpec
	for topic, millis := range map[string]string{"hour_raw": "3600000", "ever_raw": "-1", "other": "3600000"} {
		specs = append(specs, kafka.TopicSpec{Name: topic, Partitions: 1, Configs: map[string]string{"retention.ms": millis}})
	}
	if err := kafka.EnsureTopics(t.Context(), cl, specs); err != nil {
		t.Fatal(err)
	}
	p := newPipeline(&config.Pipeline{}, allParts, slog.New(slog.DiscardHandler))
	p.broker = &broker{config: cfg, client: cl}
	if p.lander, err = land.New(land.Options{Config: land.DefaultConfig(), Kafka: cfg}); err != nil {
		t.Fatal(err)
	}
	look := func() []web.Retention {
		t.Helper()
		if err := p.retention.look(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		return p.retention.list()
	}
	if got := look(); len(got) > 0 {
		t.Errorf("of topics without records %+v", got)
	}
	read := time.Now().Add(-20 * time.Minute).Truncate(time.Millisecond)
	for i := range 2 {
		for _, spec := range specs {
			record := &kgo.Record{Topic: spec.Name, Value: []byte("{}"), Timestamp: read.Add(time.Duration(i) * time.Minute)}
			if err := cl.ProduceSync(t.Context(), record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for committed, want := range []time.Time{read.Add(time.Hour), read.Add(61 * time.Minute), {}} {
		if err := kafka.SetCommits(t.Context(), cl, land.DefaultGroup, map[string]map[int32]kafka.Commit{"hour_raw": {0: {Offset: int64(committed)}}}); err != nil {
			t.Fatal(err)
		}
		got := look()
		if want.IsZero() {
			if len(got) > 0 {
				t.Errorf("all has landed, and it tells %+v", got)
			}
			continue
		}
		if len(got) != 1 || got[0].Topic != "hour_raw" || got[0].Kept != 3600 || !got[0].DeletedFrom.Equal(want) {
			t.Errorf("%+v, want until %v", got, want)
		}
		var text strings.Builder
		if err := printCounts(&text, web.Status{Retention: got}); err != nil || !strings.Contains(text.String(), "hour_raw  1.0 h        in 0.7 h") {
			t.Errorf("%v in\n%s", err, &text)
		}
	}
}
