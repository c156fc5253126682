package metrics

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headwater/internal/access"
)

// Recorder has what cannot be read from a status: how long things took, how large they were, and what failed. NewRecorder makes one; its methods may
// be called from several goroutines.
type Recorder struct {
	produce, record, lake, object, metastore, run, publish *prometheus.HistogramVec

	lakeErrors, metastoreErrors, quarantined, refused *prometheus.CounterVec

	mu      sync.Mutex
	reasons map[[2]string]map[string]bool // by stage and source
}

var (
	fast  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	slow  = []float64{.1, .5, 1, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200}
	sizes = prometheus.ExponentialBuckets(256, 8, 8) // to 512 MiB
)

// The operations of a store and of a metastore, so that what never failed is a zero and not missing: increase() sees no first sample.
var (
	lakeOperations      = []string{"put", "get", "stat", "list", "delete"}
	lakeLayers          = []string{"raw", "tables"}
	metastoreOperations = []string{"ensure", "set_partitions", "drop_partitions", "drop"}
)

// NewRecorder makes one that has recorded nothing.
func NewRecorder() *Recorder {
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "headwater_" + name, Help: help, Buckets: buckets}, labels)
	}
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "headwater_" + name, Help: help}, labels)
	}
	r := &Recorder{
		produce:         histogram("collect_produce_seconds", "How long it took from when a record was handed to Kafka until Kafka had acknowledged it.", fast, "source"),
		record:          histogram("collect_record_bytes", "Sizes of the acknowledged records.", sizes, "source"),
		lake:            histogram("lake_seconds", "How long a store took for an operation that did not fail; a put of raw is a flush of land.", fast, "layer", "operation"),
		object:          histogram("lake_put_bytes", "Sizes of the objects that were put.", sizes, "layer"),
		metastore:       histogram("metastore_seconds", "How long the Hive Metastore took for a call that did not fail.", fast, "operation"),
		run:             histogram("serialize_run_seconds", "How long runs took that made tables of a day and succeeded.", slow, "source"),
		publish:         histogram("serialize_publish_seconds", "How long of that the publishing of both tables took, registration included.", fast, "source"),
		lakeErrors:      count("lake_errors_total", "Operations of a store that failed; that an object is there, or is not, or was changed is an answer and no failure.", "layer", "operation"),
		metastoreErrors: count("metastore_errors_total", "Calls of the Hive Metastore that failed.", "operation"),
		quarantined:     count("quarantined_records_total", "Records that went to quarantine, by the beginning of the reason; the 21st reason of a stage and source is other.", "stage", "source", "reason"),
		refused:         count("access_refused_total", "Requests that a door refused: of somebody who did not say who they are (unnamed), could not prove it (unproved), or may not do that (forbidden).", "door", "reason"),
		reasons:         map[[2]string]map[string]bool{},
	}
	for _, door := range access.Doors {
		for _, reason := range access.Reasons {
			r.refused.WithLabelValues(string(door), string(reason))
		}
	}
	for _, layer := range lakeLayers {
		for _, operation := range lakeOperations {
			r.lakeErrors.WithLabelValues(layer, operation)
		}
	}
	for _, operation := range metastoreOperations {
		r.metastoreErrors.WithLabelValues(operation)
	}
	return r
}

// all are the metrics in the order of docs/metrics.md.
func (r *Recorder) all() []prometheus.Collector {
	return []prometheus.Collector{r.produce, r.record, r.lake, r.object, r.lakeErrors, r.metastore, r.metastoreErrors, r.run, r.publish, r.quarantined, r.refused}
}

// Produced gives what records, of a source, that Kafka has acknowledged a record of so many bytes.
func (r *Recorder) Produced(source string) func(took time.Duration, bytes int) {
	produce, record := r.produce.WithLabelValues(source), r.record.WithLabelValues(source) // looked up once, and not for each record
	return func(took time.Duration, bytes int) {
		produce.Observe(took.Seconds())
		record.Observe(float64(bytes))
	}
}

// Stored records an operation of a store.
func (r *Recorder) Stored(layer, operation string, took time.Duration, failed bool) {
	if failed {
		r.lakeErrors.WithLabelValues(layer, operation).Inc()
		return
	}
	r.lake.WithLabelValues(layer, operation).Observe(took.Seconds())
}

// Put records the size of an object that was put.
func (r *Recorder) Put(layer string, bytes int64) {
	r.object.WithLabelValues(layer).Observe(float64(bytes))
}

// Told records a call of the Hive Metastore.
func (r *Recorder) Told(operation string, took time.Duration, failed bool) {
	if failed {
		r.metastoreErrors.WithLabelValues(operation).Inc()
		return
	}
	r.metastore.WithLabelValues(operation).Observe(took.Seconds())
}

// Serialized records a run that made tables of a source's day, and how long of it the publishing took.
func (r *Recorder) Serialized(source string, took, publishing time.Duration) {
	r.run.WithLabelValues(source).Observe(took.Seconds())
	r.publish.WithLabelValues(source).Observe(publishing.Seconds())
}

// mostReasons bounds the reasons of a stage and source that have a series of their own.
const mostReasons = 20

// Quarantined records n records that went to quarantine.
func (r *Recorder) Quarantined(stage, source, reason string, n int64) {
	reason, _, _ = strings.Cut(reason, ":") // what follows may have data in it
	r.mu.Lock()
	key := [2]string{stage, source}
	if r.reasons[key] == nil {
		r.reasons[key] = map[string]bool{}
	}
	if known := r.reasons[key]; !known[reason] && len(known) >= mostReasons {
		reason = "other"
	} else {
		known[reason] = true
	}
	r.mu.Unlock()
	r.quarantined.WithLabelValues(stage, source, reason).Add(float64(n))
}

// Refused records somebody whom a door has refused.
func (r *Recorder) Refused(door access.Door, reason access.Reason) {
	r.refused.WithLabelValues(string(door), string(reason)).Inc()
}
