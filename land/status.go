package land

import (
	"cmp"
	"slices"

	"headwater/kafka"
)

// Status is what a Lander has done and is doing.
type Status struct {
	// Partitions are those that this Lander has been given since it was made, by topic and number.
	Partitions []PartitionStatus
	// LastError is of the Kafka client or the group; empty if there was none.
	LastError string
}

// PartitionStatus is about one Kafka partition. The counts are this process's own, from its start.
type PartitionStatus struct {
	Topic     string
	Partition int32
	// Assigned: this member of the group has it now.
	Assigned bool
	// Position is the offset before which everything is written or open; Committed is -1 where nothing is.
	Position, Committed int64
	// End is the end of the log as far as it was heard of.
	End int64
	// OpenObjects are not yet in the store.
	OpenObjects int
	// Objects, Records and Bytes (of text) are in the store; a conflict with another writer may count records twice that are
	// landed once.
	Objects, Records, Bytes int64
	// Quarantined counts records that went there; Skipped those that an object had already.
	Quarantined, Skipped int64
	// NoDeadLetter counts those of Quarantined that the topic of dead letters does not take.
	NoDeadLetter int64
	// LostFrom to LostTo, which is excluded, are the offsets whose records were deleted from Kafka before they were landed. LostTo is 0 if there are none.
	LostFrom, LostTo int64
	// Errors is how often there was an error after which there was another try.
	Errors int64
	// Stopped: a person has to do what LastError says, and start again.
	Stopped   bool
	LastError string
}

// Lag is how many offsets are not committed yet.
func (s PartitionStatus) Lag() int64 { return max(0, s.End-max(s.Committed, 0)) }

// Status is a copy.
func (l *Lander) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{LastError: l.lastErr}
	for _, p := range l.progress {
		s.Partitions = append(s.Partitions, *p)
	}
	slices.SortFunc(s.Partitions, func(a, b PartitionStatus) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return s
}

// Committed is, for each Kafka partition that this Lander has been given, an offset below which everything is landed:
// what may be trimmed. Those that have stopped are left out, because the offset may be of another log.
func (l *Lander) Committed() kafka.Offsets {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := kafka.Offsets{}
	for tp, p := range l.progress {
		if p.Committed < 0 || p.Stopped {
			continue
		}
		if all[tp.topic] == nil {
			all[tp.topic] = map[int32]int64{}
		}
		all[tp.topic][tp.partition] = p.Committed
	}
	return all
}

func (l *Lander) statusOf(tp topicPartition) PartitionStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.progress[tp]; p != nil {
		return *p
	}
	return PartitionStatus{Topic: tp.topic, Partition: tp.partition, Committed: -1}
}

func (l *Lander) update(tp topicPartition, change func(*PartitionStatus)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.progress[tp]
	if p == nil {
		p = &PartitionStatus{Topic: tp.topic, Partition: tp.partition, Committed: -1}
		l.progress[tp] = p
	}
	change(p)
}

// note shows and logs an error after which there will be another try; p is nil if it is about no Kafka partition.
func (l *Lander) note(p *partition, err error) {
	if p == nil {
		l.opts.Logger.Warn("landing meets an error and tries again", "err", err)
		l.mu.Lock()
		l.lastErr = err.Error()
		l.mu.Unlock()
		return
	}
	l.opts.Logger.Warn("landing of a Kafka partition meets an error and tries again", "topic", p.topic, "partition", p.partition, "err", err)
	p.report(func(s *PartitionStatus) { s.Errors++; s.LastError = err.Error() })
}
