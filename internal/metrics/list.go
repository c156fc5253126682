package metrics

import (
	"strconv"
	"time"

	"headwater/internal/web"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// ofRuns are what a status says of runs.
func ofRuns(s *web.Status) web.Runs {
	if s.Runs == nil {
		return web.Runs{}
	}
	return *s.Runs
}

// all are the metrics, in the order of docs/metrics.md.
func all() []metric {
	return []metric{
		gauge("build_info", "Always 1; the label says which build this is.", []string{"version"}, func(s *web.Status, put func(float64, ...string)) { put(1, s.Version) }),
		gauge("ready", "1 if the process does its work, 0 while it starts, drains or cannot.", nil, func(s *web.Status, put func(float64, ...string)) { put(oneIf(len(s.NotReady) == 0)) }),
		gauge("disk_free_bytes", "Bytes that are free on the disk of data_dir.", nil, func(s *web.Status, put func(float64, ...string)) { put(float64(s.FreeBytes)) }),
		gauge("disk_min_free_bytes", "Bytes that must be free there for items to be collected (min_free).", nil, func(s *web.Status, put func(float64, ...string)) { put(float64(s.MinFreeBytes)) }),
		gauge("wedged", "1 if something of the stage has work to do and does not move (stuck_after); /healthz says what it is.", byStage, func(s *web.Status, put func(float64, ...string)) {
			for stage, is := range s.Wedged {
				put(oneIf(is), stage)
			}
		}),
		gauge("memory_limit_bytes", "Bytes of memory that a part of the process may use, as it is configured: of land the texts of open objects, of serialize a run, of kafka what each source has on its way.", byPart, func(s *web.Status, put func(float64, ...string)) {
			for part, bytes := range s.MemoryLimits {
				put(float64(bytes), part)
			}
		}),
		gauge("config_last_reload_successful", "1 if the pipeline file as it is now is taken, 0 if it cannot be.", nil, func(s *web.Status, put func(float64, ...string)) { put(oneIf(s.File == nil || s.File.Fault == "")) }),
		gauge("config_last_reload_success_timestamp_seconds", "When the sources were last taken from the pipeline file.", nil, func(s *web.Status, put func(float64, ...string)) {
			if s.File != nil && !s.File.Taken.IsZero() {
				put(seconds(s.File.Taken))
			}
		}),
		gauge("config_restart_needed", "1 if keys of the pipeline file but sources have other values than the process works with.", nil, func(s *web.Status, put func(float64, ...string)) {
			put(oneIf(s.File != nil && len(s.File.Restart) > 0))
		}),
		gauge("lake_best_effort", "1 if the layer's store does not keep to the conditions of writes: only one process may write to it.", byLayer, func(s *web.Status, put func(float64, ...string)) {
			for _, layer := range s.BestEffort {
				put(1, layer)
			}
		}),

		gauge("collect_running", "1 if the source is read at the moment.", bySource, ofSources(always(func(x web.Source) float64 { return oneIf(x.State == "running") }))),
		gauge("collect_failing_since_timestamp_seconds", "Since when the source fails, 0 if it does not: it is tried again and again, and has brought nothing since.", bySource, ofSources(always(func(x web.Source) float64 {
			if x.FailingSince.IsZero() {
				return 0
			}
			return seconds(x.FailingSince)
		}))),
		counter("collect_records_total", "Records that Kafka has acknowledged.", bySource, ofSources(always(func(x web.Source) float64 { return float64(x.Records) }))),
		counter("collect_bytes_total", "Bytes of these records.", bySource, ofSources(always(func(x web.Source) float64 { return float64(x.Bytes) }))),
		counter("collect_malformed_records_total", "Records whose item could not be read as what it should be.", bySource, ofSources(always(func(x web.Source) float64 { return float64(x.Malformed) }))),
		counter("collect_quarantined_records_total", "Records whose item was too large and is in quarantine.", bySource, ofSources(always(func(x web.Source) float64 { return float64(x.Quarantined) }))),
		gauge("collect_streams", "Streams that the source's cursor has.", bySource, ofSources(always(func(x web.Source) float64 { return float64(x.Streams) }))),
		gauge("collect_last_item_timestamp_seconds", "When the source last read an item.", bySource, ofSources(when(func(x web.Source) time.Time { return x.LastItem }))),
		gauge("collect_last_error_timestamp_seconds", "When the source last failed.", bySource, ofSources(when(func(x web.Source) time.Time { return x.LastErrorAt }))),

		counter("land_records_total", "Records that are in raw objects.", byPartition, ofTopics(always(func(x web.Topic) float64 { return float64(x.Records) }))),
		counter("land_bytes_total", "Bytes of their text.", byPartition, ofTopics(always(func(x web.Topic) float64 { return float64(x.Bytes) }))),
		counter("land_objects_total", "Raw objects that were made.", byPartition, ofTopics(always(func(x web.Topic) float64 { return float64(x.Objects) }))),
		counter("land_quarantined_records_total", "Records that no raw object could take.", byPartition, ofTopics(always(func(x web.Topic) float64 { return float64(x.Quarantined) }))),
		counter("land_errors_total", "Errors that landing met, after which it tries again.", byPartition, ofTopics(always(func(x web.Topic) float64 { return float64(x.Errors) }))),
		gauge("land_lag_records", "Offsets that are not committed as landed yet.", byPartition, ofTopics(always(func(x web.Topic) float64 { return float64(x.Lag) }))),
		gauge("land_open_objects", "Raw objects that are being filled.", byPartition, ofTopics(always(func(x web.Topic) float64 { return float64(x.OpenObjects) }))),
		gauge("land_until_timestamp_seconds", "All that the topic had then is landed.", byPartition, ofTopics(when(func(x web.Topic) time.Time { return x.LandedUntil }))),
		gauge("land_deleted_from_timestamp_seconds", "From when on Kafka, by the topic's retention.ms, may delete the oldest record that has not landed; only of topics that have one. (x - time()) / 3600 are the hours that are left.", byTopic, func(s *web.Status, put func(float64, ...string)) {
			for _, x := range s.Retention {
				put(seconds(x.DeletedFrom), x.Topic)
			}
		}),
		gauge("kafka_log_bytes", "Bytes of the topic's log on a broker's disk, if that is known.", byPartition, ofTopics(func(x web.Topic) (float64, bool) { return float64(x.LogBytes), x.LogBytes > 0 })),
		gauge("land_lost_records", "Offsets that Kafka deleted before they were landed, from the first one to the start of the log.", byPartition, ofTopics(func(x web.Topic) (float64, bool) { return float64(x.LostTo - x.LostFrom), x.LostTo > 0 })),
		gauge("land_stopped", "1 if a person has to do something before this Kafka partition lands again.", byPartition, ofTopics(always(func(x web.Topic) float64 { return oneIf(x.Stopped) }))),

		counter("serialize_runs_total", "Runs that made tables of a day.", bySource, ofJobs(always(func(x web.Jobs) float64 { return float64(x.Runs) }))),
		counter("serialize_failures_total", "Runs that failed.", bySource, ofJobs(always(func(x web.Jobs) float64 { return float64(x.Failures) }))),
		gauge("serialize_failing_partitions", "Table partitions, which are days, whose last run failed.", bySource, ofJobs(always(func(x web.Jobs) float64 { return float64(x.FailingDays) }))),
		counter("serialize_seconds_total", "Seconds that runs took, those that failed included.", bySource, ofJobs(always(func(x web.Jobs) float64 { return x.Seconds }))),
		counter("serialize_rows_total", "Rows that runs wrote into each of the two tables.", bySource, ofJobs(always(func(x web.Jobs) float64 { return float64(x.Rows) }))),
		counter("serialize_quarantined_records_total", "Records that runs put into quarantine.", bySource, ofJobs(always(func(x web.Jobs) float64 { return float64(x.Quarantined) }))),
		counter("serialize_late_records_total", "Records that runs have read and that came when their day had been closed.", bySource, ofJobs(always(func(x web.Jobs) float64 { return float64(x.Late) }))),
		gauge("serialize_last_success_timestamp_seconds", "When a run last ended well.", bySource, ofJobs(when(func(x web.Jobs) time.Time { return x.LastSuccess }))),
		gauge("serialize_last_error_timestamp_seconds", "When a run last failed.", bySource, ofJobs(when(func(x web.Jobs) time.Time { return x.LastErrorAt }))),

		gauge("audit_differences", "What the audits of days that the process has made have found to be missing, doubled or changed; headwater audit names it.", bySource, ofJobs(func(x web.Jobs) (float64, bool) { return float64(x.Differences), !x.Audited.IsZero() })),
		gauge("audit_last_timestamp_seconds", "When a day of the source was last audited.", bySource, ofJobs(when(func(x web.Jobs) time.Time { return x.Audited }))),
		gauge("serialize_until_timestamp_seconds", "All that the source's topic had then is in the tables or in quarantine.", bySource, ofJobs(when(func(x web.Jobs) time.Time { return x.TablesUntil }))),

		gauge("serialize_complete_through_timestamp_seconds", "The end of the last day with which the tables are complete: it and all days before it are closed, and published.", bySource, func(s *web.Status, put func(float64, ...string)) {
			for _, x := range s.Days {
				if !x.CompleteUntil.IsZero() {
					put(seconds(x.CompleteUntil), x.Source)
				}
			}
		}),
		gauge("slo_breached", "1 if an objective of the source's tables is not kept, 0 if it is.", byObjective, func(s *web.Status, put func(float64, ...string)) {
			for _, x := range s.SLO {
				put(oneIf(x.Breached), x.Source, x.Objective)
			}
		}),
		gauge("slo_breached_since_timestamp_seconds", "Since when it is not.", byObjective, func(s *web.Status, put func(float64, ...string)) {
			for _, x := range s.SLO {
				if x.Breached {
					put(seconds(x.Since), x.Source, x.Objective)
				}
			}
		}),
		gauge("notify_waiting_messages", "Messages that the webhook has not taken yet; its label is its place in the list of the pipeline file, beginning with 1.", byWebhook, ofWebhooks(always(func(x web.Webhook) float64 { return float64(x.Waiting) }))),
		gauge("notify_failing_since_timestamp_seconds", "Since when the webhook takes nothing, 0 if it does.", byWebhook, ofWebhooks(func(x web.Webhook) (float64, bool) {
			if x.FailingSince.IsZero() {
				return 0, true
			}
			return seconds(x.FailingSince), true
		})),
		counter("notify_given_up_messages_total", "Messages that the webhook has refused, or that were too many or too old, of all processes.", byWebhook, ofWebhooks(always(func(x web.Webhook) float64 { return float64(x.GivenUp) }))),
		gauge("runs", "Runs that the state database has, by state.", []string{"state"}, func(s *web.Status, put func(float64, ...string)) {
			for state, n := range ofRuns(s).States {
				put(float64(n), state)
			}
		}),
		gauge("runs_oldest_waiting_timestamp_seconds", "When the oldest of the runs that wait was planned.", nil, func(s *web.Status, put func(float64, ...string)) {
			if t := ofRuns(s).OldestWaiting; !t.IsZero() {
				put(seconds(t))
			}
		}),
		counter("runs_attempts_total", "Tries of runs that have ended.", nil, func(s *web.Status, put func(float64, ...string)) { put(float64(ofRuns(s).Attempts)) }),
		counter("runs_failures_total", "Runs that failed and are not tried again.", nil, func(s *web.Status, put func(float64, ...string)) { put(float64(ofRuns(s).Failures)) }),
		counter("runs_seconds_total", "Seconds that tries took.", nil, func(s *web.Status, put func(float64, ...string)) { put(ofRuns(s).Seconds) }),

		gauge("table_rows", "Rows of the table.", byTable, ofTables(func(x web.Table) float64 { return float64(x.Rows) })),
		gauge("table_bytes", "Bytes of its Parquet files.", byTable, ofTables(func(x web.Table) float64 { return float64(x.Bytes) })),
		gauge("table_partitions", "Table partitions, which are days, that it has.", byTable, ofTables(func(x web.Table) float64 { return float64(x.Days) })),
		gauge("table_columns", "Columns that it has.", byTable, ofTables(func(x web.Table) float64 { return float64(x.Columns) })),
	}
}
