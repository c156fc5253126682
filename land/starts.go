package land

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/retry"
	"headwater/kafka"
)

// start is where the landing of one Kafka partition begins, and what Kafka says of it.
type start struct {
	log       string // the topic's id
	offset    int64  // the first one to read
	end       int64  // of the log, when this was asked
	committed int64  // -1 if there is no commit
	// fresh: what has landed is to be found out from the objects alone.
	fresh bool
	// before, if not nil, is what another configuration noted with the commit.
	before *commitNote
	// stop, if not nil, says why a person has to decide first.
	stop error
	// lost says which records Kafka no longer has although they were not landed.
	lost string
}

// commitNote is stored in Kafka with a committed offset. It tells a later process whether the offset is of this log, and
// whether the objects that may exist beyond it lie where it would look for them.
type commitNote struct {
	Log    string `json:"log"`
	Dir    string `json:"dir"`
	Layout string `json:"layout"`
}

// layout is a digest of what decides about a record's folder.
func (c *Config) layout(zone *time.Location) string {
	all := fmt.Sprintf("%q", []string{
		c.PathFormat, fmt.Sprint(c.PartitionDurationMs), zone.String(), simpleName(c.TimestampExtractor), c.TimestampField,
	})
	return fmt.Sprintf("%x", sha256.Sum256([]byte(all)))[:16]
}

func (l *Lander) noteOf(log string) commitNote {
	return commitNote{Log: log, Dir: l.conf.TopicsDir, Layout: l.layout}
}

// starts asks Kafka where to begin. What it finds wrong with one Kafka partition is no error but that one's stop.
func (l *Lander) starts(ctx context.Context, cl *kgo.Client, wanted map[string][]int32) (map[topicPartition]start, error) {
	var topics []string
	for topic := range wanted {
		topics = append(topics, topic)
	}
	ids, err := kafka.TopicIDs(ctx, cl, topics...)
	if err != nil {
		return nil, err
	}
	// The commits before the ends: an end that is asked for later is not smaller.
	committed, err := kadm.NewClient(cl).FetchOffsets(ctx, l.opts.Group)
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for the offsets of group %s: %w", l.opts.Group, err)
	}
	first, err := kafka.StartOffsets(ctx, cl, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := kafka.EndOffsets(ctx, cl, topics...)
	if err != nil {
		return nil, err
	}
	all := map[topicPartition]start{}
	for topic, partitions := range wanted {
		for _, p := range partitions {
			end, exists := ends[topic][p]
			if !exists || ids[topic] == "" {
				return nil, fmt.Errorf("asking Kafka for topic %s partition %d: it does not exist (yet)", topic, p)
			}
			c, found := committed.Lookup(topic, p)
			if found && c.Err != nil {
				return nil, fmt.Errorf("asking Kafka for the offset of topic %s partition %d: %w", topic, p, c.Err)
			}
			from := start{log: ids[topic], end: end, committed: -1}
			if found && c.At >= 0 {
				from.committed = c.At
			}
			from.decide(topicPartition{topic, p}, l.noteOf(ids[topic]), c.Metadata, first[topic][p])
			all[topicPartition{topic, p}] = from
		}
	}
	return all, nil
}

// decide fills in what follows from the commit, what was noted with it and the first offset of the log.
func (s *start) decide(tp topicPartition, now commitNote, noted string, first int64) {
	s.offset = max(s.committed, first)
	s.fresh = s.committed < first
	if s.committed < 0 {
		return
	}
	var note commitNote
	if json.Unmarshal([]byte(noted), &note) != nil {
		note = commitNote{} // set by hand, with Kafka's tools
	}
	switch {
	case note.Log != "" && note.Log != now.Log:
		s.stop = fmt.Errorf("landing topic %s partition %d: the committed offset %d is of log %s, but the topic is now log %s: it was deleted and made anew, or this is another cluster. "+
			"Land it under another topic name, or move the old log's objects out of topics.dir and delete the group's offsets of the topic", tp.topic, tp.partition, s.committed, note.Log, now.Log)
	case s.committed > s.end:
		s.stop = fmt.Errorf("landing topic %s partition %d: the committed offset %d is beyond the end %d of the log, which has lost records or was made anew. "+
			"If it is the same log and nothing is missing in the lake, set the group's offset to %d", tp.topic, tp.partition, s.committed, s.end, s.end)
	case s.fresh:
		s.lost = fmt.Sprintf("records %d to %d are no longer in Kafka and were not committed as landed", s.committed, first-1)
	case note.Log != "" && (note.Dir != now.Dir || note.Layout != now.Layout):
		s.before = &note
	}
	if s.stop != nil {
		s.stop = retry.Stop(s.stop)
	}
}
