package land

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/internal/retry"
	"headwater/kafka"
)

// start is where the landing of one Kafka partition begins, and what Kafka says of it.
type start struct {
	log       string // the topic's id
	member    string // this member's id in the group when Kafka was asked
	offset    int64  // the first one to read
	end       int64  // of the log, when this was asked
	committed int64  // -1 if there is no commit
	// fresh: what has landed is to be found out from the objects alone.
	fresh bool
	// moved: another configuration noted the commit.
	moved bool
	// intent is what a writer was about to put, with Wallclock.
	intent intent
	// dirs are the topics.dirs in which other configurations may have left objects beyond the commit.
	dirs []string
	// err, if not nil, says why landing cannot begin: a person has to decide first, or Kafka to answer.
	err error
	// lostFrom to lostTo, which is excluded, are the records that Kafka no longer has although they were not landed.
	lostFrom, lostTo int64
	// generation counts the logs that the topic has had under this name, from 1; 0 while only the objects can tell.
	generation int
}

// lost names the records that were deleted before they were landed, empty for none.
func (s *start) lost() string {
	if s.lostTo == 0 {
		return ""
	}
	return fmt.Sprintf("records %d to %d are no longer in Kafka and were not committed as landed", s.lostFrom, s.lostTo-1)
}

// commitNote is stored in Kafka with a committed offset. It tells a later process whether the offset is of this log, and
// whether the objects that may exist beyond it lie where it would look for them.
type commitNote struct {
	Log    string `json:"log"`
	Dir    string `json:"dir"`
	Layout string `json:"layout"`
	// Generation counts the logs that the topic has had under this name, from 2; without it is the first.
	Generation int `json:"generation,omitempty"`
	// Dirs are those of earlier configurations with objects beyond the offset, if there are any.
	Dirs []string `json:"dirs,omitempty"`
	// Intent is what is about to be put, with Wallclock.
	Intent *intent `json:"intent,omitempty"`
}

// layout is a digest of what decides about a record's folder.
func (c *Config) layout(zone *time.Location) string {
	var all []string
	switch class := simpleName(c.PartitionerClass); class {
	case byPartition, byField:
		all = append([]string{class}, c.PartitionFieldName...)
	default:
		format, millis := c.timeFolders()
		all = []string{format, fmt.Sprint(millis), zone.String(), simpleName(c.TimestampExtractor), c.TimestampField}
	}
	return digest(all)
}

func digest(all []string) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q", all)))[:16]
}

// layoutOf is the same digest of a topic, whose shape decides too.
func (l *Lander) layoutOf(topic string) string {
	shape, declared := l.declared.Shapes[topic]
	if !declared {
		return l.of(topic).layout
	}
	return digest(append(shape.TimePath(), l.of(topic).layout, string(shape.Unit)))
}

func (l *Lander) noteOf(topic, log string) commitNote {
	return commitNote{Log: log, Dir: l.conf.TopicsDir, Layout: l.layoutOf(topic)}
}

// starts asks Kafka where to begin. What is wrong with one Kafka partition is that one's error and no other's.
func (l *Lander) starts(ctx context.Context, cl *kgo.Client, wanted map[string][]int32) (map[topicPartition]start, error) {
	var topics []string
	for topic := range wanted {
		topics = append(topics, topic)
	}
	member, _ := cl.GroupMetadata() // before the rest: what is true of it later may not be true of another
	ids, err := kafka.TopicIDs(ctx, cl, topics...)
	if err != nil {
		return nil, err
	}
	// The commits before the ends: an end that is asked for later is not smaller.
	adm := kadm.NewClient(cl)
	committed, err := adm.FetchOffsets(ctx, l.opts.Group)
	if err != nil {
		return nil, fmt.Errorf("asking Kafka for the offsets of group %s: %w", l.opts.Group, err)
	}
	first, err := kafka.StartOffsets(ctx, cl, topics...)
	firstErrs, err := onlyTheirs(err, func() (kadm.ListedOffsets, error) { return adm.ListStartOffsets(ctx, topics...) }, &first)
	if err != nil {
		return nil, err
	}
	ends, err := kafka.EndOffsets(ctx, cl, topics...)
	endErrs, err := onlyTheirs(err, func() (kadm.ListedOffsets, error) { return adm.ListCommittedOffsets(ctx, topics...) }, &ends)
	if err != nil {
		return nil, err
	}
	all := map[topicPartition]start{}
	for topic, partitions := range wanted {
		for _, p := range partitions {
			from := start{log: ids[topic], member: member, committed: -1}
			begin, known := first[topic][p]
			end, exists := ends[topic][p]
			c, found := committed.Lookup(topic, p)
			switch {
			case cmp.Or(firstErrs, endErrs) != nil && (!known || !exists):
				from.err = cmp.Or(firstErrs, endErrs)
			case !known || !exists || from.log == "":
				from.err = fmt.Errorf("asking Kafka for topic %s partition %d: it does not exist (yet)", topic, p)
			case found && c.Err != nil:
				from.err = fmt.Errorf("asking Kafka for the offset of topic %s partition %d: %w", topic, p, c.Err)
			default:
				from.end = end
				if found && c.At >= 0 {
					from.committed = c.At
				}
				from.decide(topicPartition{topic, p}, l.noteOf(topic, from.log), c.Metadata, begin, l.conf.OnLostRecords)
				if l.byClock(topic) {
					from.recall(l.noteOf(topic, from.log), c.Metadata)
				}
			}
			all[topicPartition{topic, p}] = from
		}
	}
	return all, nil
}

// onlyTheirs asks again after an error, which one Kafka partition without a leader is enough for, and keeps the answers
// there are. The error is then only of those without one. Where there is no answer at all it is everybody's.
func onlyTheirs(why error, list func() (kadm.ListedOffsets, error), offsets *kafka.Offsets) (theirs, everybodys error) {
	if why == nil {
		return nil, nil
	}
	listed, _ := list() // what it gives beside an error is true
	*offsets = kafka.Offsets{}
	listed.Each(func(o kadm.ListedOffset) {
		if o.Err != nil || o.Partition < 0 {
			return
		}
		if (*offsets)[o.Topic] == nil {
			(*offsets)[o.Topic] = map[int32]int64{}
		}
		(*offsets)[o.Topic][o.Partition] = o.Offset
	})
	if len(*offsets) == 0 {
		return nil, why
	}
	return why, nil
}

// decide fills in what follows from the commit, what was noted with it and the first offset of the log.
func (s *start) decide(tp topicPartition, now commitNote, noted string, first int64, onLost string) {
	s.offset = max(s.committed, first)
	s.fresh = s.committed < first
	if s.committed < 0 {
		return
	}
	note := readNote(noted)
	if note.Log != "" {
		s.generation = max(1, note.Generation)
	}
	switch {
	case note.Log != "" && note.Log != now.Log:
		s.err = fmt.Errorf("landing topic %s partition %d: the committed offset %d is of log %s, but the topic is now log %s: it was deleted and made anew, or this is another cluster. "+
			"Land it under another topic name, or %s", tp.topic, tp.partition, s.committed, note.Log, now.Log, tp.accept("go on with the log that is there"))
	case s.committed > s.end:
		s.err = fmt.Errorf("landing topic %s partition %d: the committed offset %d is beyond the end %d of the log, which has lost records or was made anew. "+
			"If nothing is missing in the lake, %s", tp.topic, tp.partition, s.committed, s.end, tp.accept("go on at its end"))
	case s.fresh:
		s.lostFrom, s.lostTo = s.committed, first
		if onLost != goOn {
			s.err = retry.Stop(fmt.Errorf("landing topic %s partition %d: %s. To land what is behind them, %s, or set land.on.lost.records to %s", tp.topic, tp.partition, s.lost(), tp.accept("accept that"), goOn))
			return
		}
	}
	if s.err != nil {
		s.err = retry.Stop(s.err)
		s.committed = -1 // of this log nothing is
		return
	}
	s.dirs = note.Dirs
	if s.moved = note.Log != "" && (note.Dir != now.Dir || note.Layout != now.Layout); s.moved {
		s.dirs = append(s.dirs, note.Dir)
	}
	slices.Sort(s.dirs)
	s.dirs = slices.Compact(s.dirs)
}

// accept says how a person has a Kafka partition go on that has stopped.
func (tp topicPartition) accept(what string) string {
	return fmt.Sprintf("%s by `headwater land accept FILE %s %d`, with all processes that land stopped", what, tp.topic, tp.partition)
}
