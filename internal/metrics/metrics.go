// Package metrics shows what a process does as Prometheus metrics.
//
// What enters: the process's status, asked for at each scrape, and what a Recorder is told. What leaves: the text of GET /metrics. Names and meanings:
// docs/metrics.md. It starts no goroutines.
package metrics

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"headwater/internal/web"
)

// Handler answers with the metrics of a process, of whose status it asks, and with what was recorded.
func Handler(status func(context.Context) (web.Status, error), recorded *Recorder, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(recorded.all()...)
	registry.MustRegister(collector{status}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)})
}

// metric is one metric, and how it is read from a status.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(s *web.Status, put func(value float64, labels ...string))
}

func counter(name, help string, labels []string, read func(s *web.Status, put func(float64, ...string))) metric {
	return metric{prometheus.NewDesc("headwater_"+name, help, labels, nil), prometheus.CounterValue, read}
}

func gauge(name, help string, labels []string, read func(s *web.Status, put func(float64, ...string))) metric {
	return metric{prometheus.NewDesc("headwater_"+name, help, labels, nil), prometheus.GaugeValue, read}
}

var (
	bySource    = []string{"source"}
	byPartition = []string{"topic", "partition"}
	byTopic     = []string{"topic"}
	byTable     = []string{"table"}
	byLayer     = []string{"layer"}
	byPart      = []string{"part"}
	byStage     = []string{"stage"}
	byObjective = []string{"source", "objective"}
	byWebhook   = []string{"webhook"}
)

// external is the state of a source that nothing is collected of: it would look as if it stood still.
const external = "external"

func ofSources(value func(web.Source) (float64, bool)) func(*web.Status, func(float64, ...string)) {
	return func(s *web.Status, put func(float64, ...string)) {
		for _, x := range s.Sources {
			if v, known := value(x); known && x.State != external {
				put(v, x.Name)
			}
		}
	}
}

func ofTopics(value func(web.Topic) (float64, bool)) func(*web.Status, func(float64, ...string)) {
	return func(s *web.Status, put func(float64, ...string)) {
		for _, x := range s.Topics {
			if v, known := value(x); known {
				put(v, x.Topic, itoa(x.Partition))
			}
		}
	}
}

func ofJobs(value func(web.Jobs) (float64, bool)) func(*web.Status, func(float64, ...string)) {
	return func(s *web.Status, put func(float64, ...string)) {
		for _, x := range s.Serialize {
			if v, known := value(x); known {
				put(v, x.Source)
			}
		}
	}
}

func ofTables(value func(web.Table) float64) func(*web.Status, func(float64, ...string)) {
	return func(s *web.Status, put func(float64, ...string)) {
		for _, x := range s.Tables {
			put(value(x), x.Name)
		}
	}
}

func ofWebhooks(value func(web.Webhook) (float64, bool)) func(*web.Status, func(float64, ...string)) {
	return func(s *web.Status, put func(float64, ...string)) {
		for _, x := range s.Notify {
			if v, known := value(x); known {
				put(v, strconv.Itoa(x.Webhook))
			}
		}
	}
}

func always[T any](value func(T) float64) func(T) (float64, bool) {
	return func(x T) (float64, bool) { return value(x), true }
}

// when is a time in seconds since 1970; one that never was is not shown.
func when[T any](value func(T) time.Time) func(T) (float64, bool) {
	return func(x T) (float64, bool) {
		t := value(x)
		return seconds(t), !t.IsZero()
	}
}

// seconds are those since 1970.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// collector is a prometheus.Collector.
type collector struct {
	status func(context.Context) (web.Status, error)
}

// Describe implements prometheus.Collector.
func (collector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range all() {
		descs <- m.desc
	}
}

// patience bounds a scrape.
const patience = 10 * time.Second

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := c.status(ctx)
	for _, m := range all() {
		if err != nil {
			out <- prometheus.NewInvalidMetric(m.desc, err)
			continue
		}
		m.read(&s, func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
		})
	}
}
