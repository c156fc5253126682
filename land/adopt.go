package land

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"headwater/kafka"
	"headwater/lake"
)

// SupersededPrefix begins the keys of objects that were moved away, as they were, because their records land again.
const SupersededPrefix = "_superseded/"

// PlanAdoption finds out what it takes to go on where a Kafka Connect S3 sink has stopped, whose consumer group is from. It changes nothing.
// A Refusal says what is in the way.
func (l *Lander) PlanAdoption(ctx context.Context, from string) (h Handover, err error) {
	err = l.with(func(cl *kgo.Client) error {
		h, err = l.positions(ctx, cl, from)
		if err != nil {
			return err
		}
		return l.findSuperseded(ctx, &h)
	})
	return h, err
}

// Adopt does what PlanAdoption has found: it moves the objects away, and commits. After a kill half way it is planned and done again.
func (l *Lander) Adopt(ctx context.Context, h Handover) error {
	return l.with(func(cl *kgo.Client) error {
		if err := l.unchanged(ctx, cl, h); err != nil {
			return err
		}
		for _, p := range h.Partitions {
			for _, o := range p.Supersede {
				if err := l.supersede(ctx, o); err != nil {
					return err
				}
			}
		}
		// Moving takes its time, in which a connector may have been started again.
		if err := l.unchanged(ctx, cl, h); err != nil {
			return err
		}
		commits := map[string]map[int32]kafka.Commit{}
		for _, p := range h.Partitions {
			note, err := json.Marshal(l.noteOf(p.Topic, p.log))
			if err != nil {
				return err
			}
			if commits[p.Topic] == nil {
				commits[p.Topic] = map[int32]kafka.Commit{}
			}
			commits[p.Topic][p.Partition] = kafka.Commit{Offset: p.Offset, Note: string(note)}
		}
		return kafka.SetCommits(ctx, cl, h.To, commits)
	})
}

func (l *Lander) unchanged(ctx context.Context, cl *kgo.Client, h Handover) error {
	now, err := l.positions(ctx, cl, h.From)
	if err != nil {
		return err
	}
	same := slices.EqualFunc(now.Partitions, h.Partitions, func(a, b HandoverPartition) bool {
		return a.Topic == b.Topic && a.Partition == b.Partition && a.Offset == b.Offset && a.log == b.log
	})
	if !same {
		return Refusal{[]string{fmt.Sprintf("group %s has moved on meanwhile: stop who uses it, and do this again", h.From)}}
	}
	return nil
}

// positions are those of the connector's group, of every Kafka partition that lands. Nothing stands in for a commit that is not there: from the
// start of the log everything would land twice, and from its end nothing would.
func (l *Lander) positions(ctx context.Context, cl *kgo.Client, from string) (h Handover, err error) {
	h = Handover{From: from, To: l.opts.Group}
	g, err := l.askGroups(ctx, cl, from, h.To)
	if err != nil {
		return h, err
	}
	var missing []string
	g.each(func(topic string, p int32) {
		theirs, stands := g.fromCommits[topic][p]
		ours, begun := g.toCommits[topic][p]
		switch {
		case !stands && begun:
			h.Warnings = append(h.Warnings, fmt.Sprintf("topic %s partition %d goes on where group %s is, at offset %d: group %s has no offset of it", topic, p, h.To, ours.Offset, from))
			return
		case !stands && g.first[topic][p] == 0 && g.ends[topic][p] == 0:
			theirs.Offset = 0 // it has never had a record, so there is nothing to be decided
		case !stands:
			missing = append(missing, fmt.Sprintf("%s partition %d", topic, p))
			return
		case begun && (ours.Offset != theirs.Offset || cmp.Or(readNote(ours.Note).Log, g.ids[topic]) != g.ids[topic]):
			g.refuse("topic %s partition %d: group %s has landed it already, up to offset %d, where group %s has %d. Land what that group has not with `headwater land`, or have it forget its offsets of the topic",
				topic, p, h.To, ours.Offset, from, theirs.Offset)
			return
		}
		g.within(from, topic, p, theirs.Offset, "To go on at another offset: "+resetOffset(from))
		h.Partitions = append(h.Partitions, HandoverPartition{Topic: topic, Partition: p, Offset: theirs.Offset, End: g.ends[topic][p], log: g.ids[topic]})
	})
	if len(missing) > 0 {
		g.refuse("group %s has committed no offset of topic %s. Where the connector has landed nothing of it, or its offsets have expired, say where to begin: "+
			"%s, or leave the topic out of land.topics", from, strings.Join(missing, ", "), resetOffset(from))
	}
	for topic := range g.fromCommits {
		if !slices.Contains(g.topics, topic) {
			h.Warnings = append(h.Warnings, fmt.Sprintf("topic %s, of which group %s has offsets, is not landed: land: does not name it, or it does not exist", topic, from))
		}
	}
	slices.Sort(h.Warnings)
	return h, g.err()
}

// findSuperseded finds the connector's objects beyond its commit: those that it had put but not committed, and would have written again.
//
// What the connector commits is the last written offset + 1 of the files that it has closed, all of a Kafka partition's together and in order, so an object
// that begins below the commit is committed whole, and none of its records is at the commit or beyond it. Where the lines of one say otherwise,
// the commit was not the connector's.
func (l *Lander) findSuperseded(ctx context.Context, h *Handover) error {
	var faults []string
	found, listed := inventory{}, ""
	var below []reach
	for i := range h.Partitions {
		p := &h.Partitions[i]
		if p.Topic != listed {
			var err error
			if found, err = l.take(ctx, p.Topic); err != nil {
				return err
			}
			listed = p.Topic
		}
		for _, path := range slices.Sorted(maps.Keys(found[p.Partition])) {
			last, beyond := around(found[p.Partition][path], p.Offset)
			if last != nil {
				below = append(below, reach{*last, *p})
			}
			for _, o := range beyond {
				t, ours, err := lake.ReadTail(ctx, l.opts.Store, o.Object)
				switch {
				case err != nil:
					return err
				case ours && t.Log != p.log:
					faults = append(faults, fmt.Sprintf("object %s was made from log %s, but topic %s is now log %s: move it out of topics.dir", o.Key, t.Log, p.Topic, p.log))
				case !ours: // ours say what they cover, and landing skips that
					p.Supersede = append(p.Supersede, o.Object)
				}
			}
		}
	}
	if len(faults) > 0 {
		return Refusal{faults}
	}
	warnings := make([]string, len(below))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tailReaders)
	for i, r := range below {
		g.Go(func() (err error) {
			warnings[i], err = l.checkReach(ctx, r, h.From)
			return err
		})
	}
	err := g.Wait()
	h.Warnings = append(h.Warnings, slices.DeleteFunc(warnings, func(w string) bool { return w == "" })...)
	return err
}

// reach is the last object of a folder below the commit of its Kafka partition.
type reach struct {
	foundObject
	at HandoverPartition
}

// checkReach warns of an object whose lines go beyond the commit. None has more than flush.size of them, so that only the newest need to be read.
func (l *Lander) checkReach(ctx context.Context, o reach, from string) (warning string, err error) {
	p := o.at
	if o.offset+int64(l.conf.FlushSize) <= p.Offset {
		return "", nil
	}
	_, ours, err := lake.ReadTail(ctx, l.opts.Store, o.Object)
	if err != nil || ours {
		return "", err
	}
	n, err := l.countLines(ctx, o.Key)
	if damaged, is := errors.AsType[damagedError](err); is {
		return fmt.Sprintf("object %s cannot be read to its end: %v. It stays, and its day will make no tables", o.Key, damaged.error), nil
	}
	if err != nil {
		return "", err
	}
	if end := o.offset + n; end > p.Offset {
		return fmt.Sprintf("object %s has %d records from offset %d on, and so reaches to offset %d or beyond, but topic %s partition %d is committed up to %d: "+
			"its last records would land twice. See what it holds, and set the offset of group %s to where it ends", o.Key, n, o.offset, end-1, p.Topic, p.Partition, p.Offset, from), nil
	}
	return "", nil
}

// damagedError is of an object that is no gzip, or not whole.
type damagedError struct{ error }

func (l *Lander) countLines(ctx context.Context, key string) (n int64, err error) {
	body, _, err := l.opts.Store.Get(ctx, key, 0, -1)
	if err != nil {
		return 0, fmt.Errorf("counting the records of %s: %w", key, err)
	}
	defer body.Close()
	var text io.Reader = body
	if strings.HasSuffix(key, ".gz") {
		if text, err = gzip.NewReader(body); err != nil {
			return 0, damaged(key, err)
		}
	}
	buffer, last := make([]byte, 64<<10), byte('\n')
	for {
		got, err := text.Read(buffer)
		if got > 0 {
			n += int64(bytes.Count(buffer[:got], []byte{'\n'}))
			last = buffer[got-1]
		}
		switch {
		case errors.Is(err, io.EOF):
			if last != '\n' {
				n++
			}
			return n, nil
		case err != nil:
			return 0, damaged(key, err)
		}
	}
}

// damaged tells an object's own fault from one of reading it.
func damaged(key string, err error) error {
	if _, corrupt := errors.AsType[flate.CorruptInputError](err); corrupt || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damagedError{err}
	}
	return fmt.Errorf("counting the records of %s: %w", key, err)
}

// supersede moves an object away: it is copied where nothing is, and then deleted. A copy that a killed process has left is as good.
func (l *Lander) supersede(ctx context.Context, o lake.Object) error {
	to := SupersededPrefix + o.Key
	err := l.copy(ctx, o.Key, to)
	if err == nil {
		err = l.opts.Store.Delete(ctx, o.Key)
	}
	if errors.Is(err, lake.ErrNotExist) {
		_, err = l.opts.Store.Stat(ctx, to) // another process has moved it
	}
	if err != nil {
		return fmt.Errorf("moving %s to %s: %w", o.Key, to, err)
	}
	return nil
}

func (l *Lander) copy(ctx context.Context, from, to string) error {
	body, _, err := l.opts.Store.Get(ctx, from, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.CreateTemp(l.opts.Spool, "superseded-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer f.Close()
	if _, err := io.Copy(f, body); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := l.opts.Store.Put(ctx, to, f, lake.Condition{IfAbsent: true}); !errors.Is(err, lake.ErrExists) {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	there, _, err := l.opts.Store.Get(ctx, to, 0, -1)
	if err != nil {
		return err
	}
	defer there.Close()
	same, err := equal(f, there)
	if err == nil && !same {
		return Refusal{[]string{fmt.Sprintf("there is another object of that name: move %s elsewhere, and do this again", to)}}
	}
	return err
}

func equal(a, b io.Reader) (bool, error) {
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		ended := func(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
		switch {
		case ended(errA) && ended(errB):
			return true, nil
		case errA != nil && !ended(errA):
			return false, errA
		case errB != nil && !ended(errB):
			return false, errB
		}
	}
}
