package land

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"headwater/internal/retry"
	"headwater/kafka"
	"headwater/lake"
)

// coverage is which records of one path are in objects already.
type coverage struct {
	floor int64       // everything below, on a fresh start
	tails []lake.Tail // of objects that end beyond the offset landing began at, ascending
}

func (c *coverage) has(offset int64) bool {
	for len(c.tails) > 0 && c.tails[0].Next <= offset {
		c.tails = c.tails[1:]
	}
	return offset < c.floor || slices.ContainsFunc(c.tails, func(t lake.Tail) bool { return t.Has(offset) })
}

// foundObject is an entry of a listing with what its key says.
type foundObject struct {
	lake.Object
	partition  int32
	generation int
	offset     int64
}

// parseFound reads the key of an entry below the prefix of a topic. Files that are not named as raw objects are none of ours.
func parseFound(o lake.Object, prefix, topic string) (path string, found foundObject, is bool) {
	key := o.Key
	if strings.HasSuffix(key, ".json") {
		key += ".gz" // as Kafka Connect names objects that are not compressed
	}
	name, err := lake.ParseRawKey(key)
	if err != nil || name.Topic != topic {
		return "", found, false
	}
	// Not name.Path: a folder may have the topic's name too.
	path = strings.TrimSuffix(o.Key[len(prefix):strings.LastIndexByte(o.Key, '/')+1], "/")
	return path, foundObject{o, name.Partition, name.Generation, name.Offset}, true
}

func byOffset(a, b foundObject) int { return cmp.Compare(a.offset, b.offset) }

// list finds this Kafka partition's objects below dir whose keys go on with within, by path and in order of their offsets.
func (p *partition) list(ctx context.Context, dir, within string) (map[string][]foundObject, error) {
	found := map[string][]foundObject{}
	topic := topicPrefix(dir, p.topic)
	prefix := topic + within
	err := p.insist(ctx, "listing "+prefix, func() error {
		clear(found)
		for o, err := range p.opts.Store.List(ctx, prefix, "") {
			if err != nil {
				return fmt.Errorf("listing %s: %w", prefix, err)
			}
			if path, o, is := parseFound(o, topic, p.topic); is && o.partition == p.partition && (p.from.generation == 0 || o.generation == p.from.generation) {
				found[path] = append(found[path], o)
			}
		}
		return nil
	})
	for _, objects := range found {
		slices.SortFunc(objects, byOffset)
	}
	return found, err
}

// survey looks at the whole topic where the commit does not say all: on a fresh start, and after a change of the
// configuration that moves records to other folders.
func (p *partition) survey(ctx context.Context) error {
	if p.from.fresh || p.from.generation == 0 {
		found, err := p.list(ctx, p.conf.TopicsDir, "")
		if err != nil {
			return err
		}
		found = p.latest(found)
		if p.from.fresh {
			err = p.surveyFresh(ctx, found)
		}
		if err != nil {
			return err
		}
	}
	if len(p.from.dirs) > 0 {
		return p.surveyMoved(ctx)
	}
	if p.from.committed < 0 {
		// With the note of this configuration, before anything is put under it: another one that comes after it knows where to look.
		return p.commitOffset(ctx, p.cut, nil)
	}
	return nil
}

// latest finds out from the objects which log of the topic's name this is, where no commit says it, and leaves those of others away. Should it be
// another one still, the tails tell.
func (p *partition) latest(found map[string][]foundObject) map[string][]foundObject {
	if p.from.generation == 0 {
		p.from.generation = 1
		for _, objects := range found {
			for _, o := range objects {
				p.from.generation = max(p.from.generation, o.generation)
			}
		}
	}
	of := map[string][]foundObject{}
	for path, objects := range found {
		objects = slices.DeleteFunc(objects, func(o foundObject) bool { return o.generation != p.from.generation })
		if len(objects) > 0 {
			of[path] = objects
		}
	}
	return of
}

// surveyFresh remembers the last object of each path, and looks at the newest of all to see whether it is of this log.
func (p *partition) surveyFresh(ctx context.Context, found map[string][]foundObject) error {
	p.newest = map[string]foundObject{}
	var newest *foundObject
	for path, objects := range found {
		o := objects[len(objects)-1]
		p.newest[path] = o
		if newest == nil || o.offset > newest.offset {
			newest = &o
		}
	}
	if newest == nil {
		return nil
	}
	_, exists, err := p.tailOf(ctx, *newest)
	if err == nil && !exists {
		return p.noTail(*newest)
	}
	return err
}

// surveyMoved finds what objects of earlier configurations have beyond the commit, and notes the new configuration with
// the commit before anything is written under it. The note names the earlier dirs until a commit is beyond their objects,
// so that after a crash every configuration, the new one too, surveys again.
func (p *partition) surveyMoved(ctx context.Context) error {
	for _, dir := range p.from.dirs {
		if err := p.surveyDir(ctx, dir); err != nil {
			return err
		}
	}
	var dirs []string
	if len(p.elsewhere.tails) > 0 {
		dirs = p.from.dirs
	}
	p.dirs = dirs
	slices.SortFunc(p.elsewhere.tails, func(a, b lake.Tail) int { return cmp.Compare(a.Next, b.Next) })
	return p.commitOffset(ctx, p.cut, dirs)
}

func (p *partition) surveyDir(ctx context.Context, dir string) error {
	found, err := p.list(ctx, dir, "")
	if err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		tails, err := p.tailsBeyond(ctx, found[path])
		if err != nil {
			return err
		}
		for _, t := range tails {
			p.hold = max(p.hold, t.Next)
			if len(t.Runs) == 0 && t.Count != t.Next-t.First {
				if !p.from.moved {
					continue // it is this configuration's: there was none when it began, and its own path covers it
				}
				return retry.Stop(fmt.Errorf("landing topic %s partition %d: an object in %s has some of the offsets %d to %d, which are not committed, and does not say which. "+
					"Start once with the former partitioner.class, path.format, timezone, timestamp settings and padding, and change them when it has committed", p.topic, p.partition, path, t.First, t.Next-1))
			}
			p.elsewhere.tails = append(p.elsewhere.tails, t)
		}
	}
	return nil
}

// covered is what exists of a path, found out when the path is first met.
func (p *partition) covered(ctx context.Context, path string) (*coverage, error) {
	if c := p.coverages[path]; c != nil {
		return c, nil
	}
	if len(p.coverages) >= 10_000 {
		clear(p.coverages) // finding out again is only slower
	}
	c, err := p.findCoverage(ctx, path)
	if err != nil {
		return nil, err
	}
	p.coverages[path] = c
	return c, nil
}

func (p *partition) findCoverage(ctx context.Context, path string) (*coverage, error) {
	c := &coverage{}
	if p.from.fresh {
		o, exists := p.newest[path]
		if !exists {
			return c, nil
		}
		t, found, err := p.tailOf(ctx, o)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, p.noTail(o)
		}
		c.floor = t.Next
		p.hold = max(p.hold, t.Next)
		return c, nil
	}
	found, err := p.list(ctx, p.conf.TopicsDir, fmt.Sprintf("%s/%s+%d+", path, p.topic, p.partition))
	if err != nil {
		return nil, err
	}
	if c.tails, err = p.tailsBeyond(ctx, found[path]); err != nil {
		return nil, err
	}
	for _, t := range c.tails {
		p.hold = max(p.hold, t.Next)
	}
	return c, nil
}

// tailsBeyond reads the tails of objects that may reach beyond the offset landing began at. Objects of a path do not
// overlap, so that of those that begin before it only the last one can.
func (p *partition) tailsBeyond(ctx context.Context, objects []foundObject) (tails []lake.Tail, err error) {
	before, _ := slices.BinarySearchFunc(objects, p.from.offset, func(o foundObject, offset int64) int { return cmp.Compare(o.offset, offset) })
	for _, o := range objects[max(0, before-1):] {
		t, found, err := p.tailOf(ctx, o)
		switch {
		case err != nil:
			return nil, err
		case !found && o.offset >= p.from.offset:
			return nil, p.noTail(o)
		case found && t.Next > p.from.offset:
			tails = append(tails, t)
		}
	}
	return tails, nil
}

// tailOf reads an object's tail and refuses one that cannot be of this log.
func (p *partition) tailOf(ctx context.Context, o foundObject) (t lake.Tail, found bool, err error) {
	err = p.insist(ctx, "reading the tail of "+o.Key, func() (err error) {
		t, found, err = lake.ReadTail(ctx, p.opts.Store, o.Object)
		return err
	})
	if err != nil || !found {
		return t, found, err
	}
	if t.Log != p.from.log {
		return t, found, retry.Stop(fmt.Errorf("landing topic %s partition %d: object %s was made from log %s, but the topic is now log %s: it was deleted and made anew, or this is another cluster. "+
			"Land it under another topic name, or %s", p.topic, p.partition, o.Key, t.Log, p.from.log, p.accept("go on with the log that is there")))
	}
	return t, found, p.checkEnd(ctx, o, t)
}

// checkEnd refuses an object that ends beyond the log: the offsets that are missing would be given to other records,
// and these would be taken for landed.
func (p *partition) checkEnd(ctx context.Context, o foundObject, t lake.Tail) error {
	if t.Next <= p.from.end {
		return nil
	}
	err := p.insist(ctx, "asking Kafka for the end offset", func() error {
		ends, err := kafka.EndOffsets(ctx, p.cl, p.topic)
		p.from.end = max(p.from.end, ends[p.topic][p.partition])
		return err
	})
	if err != nil || t.Next <= p.from.end {
		return err
	}
	return retry.Stop(fmt.Errorf("landing topic %s partition %d: object %s reaches to offset %d, beyond the end %d of the log, which has lost records. "+
		"Land the topic under another name, or move the object out of topics.dir", p.topic, p.partition, o.Key, t.Next-1, p.from.end))
}

func (p *partition) noTail(o foundObject) error {
	return retry.Stop(fmt.Errorf("landing topic %s partition %d: object %s does not say which offsets it has, as objects of Kafka Connect do not, and offsets from %d on are not committed. "+
		"Take over from the connector with `headwater land adopt`, and start again", p.topic, p.partition, o.Key, p.from.offset))
}

// topicPrefix is the beginning of all keys of a topic.
func topicPrefix(dir, topic string) string {
	if dir == "" {
		return topic + "/"
	}
	return dir + "/" + topic + "/"
}
