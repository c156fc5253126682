package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"headwater/collect"
	"headwater/collect/message"
)

// The items of a list are counted. Those that are not known to be in Kafka are in a list of ours, in the order in which they were taken, and
// beside it is how many were removed from there: the number of the first that is in it. An item's number is its record's, too. Scripts keep
// the two together, whoever is killed when and whoever else takes himself for this source. They pop and push, and do not LMOVE: a server
// whose memory is full lets a script go on that has begun with what frees some, and it must be possible to empty a list that has filled it.

// settleScript makes our list begin with the item of a number, and counts from it. It returns the number that it began with before, empty
// if the server knew of none, and how many items it had.
var settleScript = redis.NewScript(`
redis.call('LTRIM', KEYS[1], 0, -1)
local removed, there = redis.call('GET', KEYS[2]), redis.call('LLEN', KEYS[1])
local done = tonumber(ARGV[1]) - (removed and tonumber(removed) or math.huge)
if done > 0 and done <= there then
  redis.call('LTRIM', KEYS[1], done, -1)
end
redis.call('SET', KEYS[2], ARGV[1])
return {removed or '', there}`)

// takeScript removes the items below a number from our list, and returns those from another one on: first those that our list has, then
// those that it takes. They are no more than so many, and end with the one that makes them so many bytes.
var takeScript = redis.NewScript(`
local removed, from, most, bytes = tonumber(redis.call('GET', KEYS[2]) or '-1'), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if removed < 0 or from < removed or from > removed + redis.call('LLEN', KEYS[1]) then
  return redis.error_reply('ERR the list of items on their way to Kafka was changed by somebody else')
end
if tonumber(ARGV[1]) > removed then
  redis.call('LTRIM', KEYS[1], tonumber(ARGV[1]) - removed, -1)
  redis.call('SET', KEYS[2], ARGV[1])
  removed = tonumber(ARGV[1])
end
local items, size = {}, 0
if most == 0 then
  return items
end
for _, item in ipairs(redis.call('LRANGE', KEYS[1], from - removed, from - removed + most - 1)) do
  if size >= bytes then
    return items
  end
  items[#items + 1], size = item, size + #item
end
while #items < most and size < bytes do
  local item = redis.call(ARGV[5], KEYS[3])
  if not item then
    return items
  end
  redis.call('RPUSH', KEYS[1], item)
  items[#items + 1], size = item, size + #item
end
return items`)

// batchBytes bounds what an answer has of items.
const batchBytes = 8 << 20

// listReader is one Run on a list.
type listReader struct {
	s      *Source
	client *redis.Client
	out    collect.Out
	keys   []string // our list, the number of its first item, and what is read

	next    int64         // the number of the next item
	done    atomic.Int64  // items below it are in Kafka
	settled chan struct{} // says that done has moved
}

func (s *Source) runList(ctx context.Context, out collect.Out, once bool) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	defer client.Close()
	// A call that waits for items does not hear of a context; it ends with its connection.
	defer context.AfterFunc(ctx, func() { _ = client.Close() })()
	ours := s.c.List + ":" + s.group
	r := &listReader{s: s, client: client, out: out, keys: []string{ours, ours + ":removed", s.c.List}, settled: make(chan struct{}, 1)}
	if s.c.look {
		err = r.look(ctx)
	} else {
		err = r.read(ctx, once)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// read takes items until ctx ends or, with once, none come.
func (r *listReader) read(ctx context.Context, once bool) error {
	if at, known := r.out.Streams()[r.s.listed]; known {
		r.next = at.Seq + 1
	}
	r.done.Store(r.next)
	if err := r.settle(ctx); err != nil {
		return err
	}
	defer func() { r.finish(ctx) }()
	for told := time.Now(); ; {
		items, err := r.take(ctx, r.client, r.s.c.Count)
		if err != nil {
			return err
		}
		for _, item := range items {
			if err := r.emit(ctx, item); err != nil {
				return err
			}
		}
		if err := r.room(ctx); err != nil {
			return err
		}
		if len(items) > 0 {
			told = time.Now()
			continue
		}
		if once && time.Since(told) >= r.s.idle {
			return nil
		}
		if err := r.wait(ctx, once); err != nil {
			return err
		}
	}
}

// settle finds out what of our list is in Kafka. Invariant 2.
func (r *listReader) settle(ctx context.Context) error {
	reply, err := settleScript.Eval(ctx, r.client, r.keys[:2], r.next).Slice()
	if err != nil || len(reply) != 2 {
		return r.s.explain("reading", err)
	}
	text, _ := reply[0].(string)
	there, _ := reply[1].(int64)
	removed, err := strconv.ParseInt(text, 10, 64)
	attrs := []any{"list", r.keys[0], "items in it", there}
	switch {
	case text == "" && r.next == 0 && there == 0: // the first time
	case err != nil:
		r.s.log.Warn("the server does not know how many items were taken: those on their way, or what it has lost and somebody has put in again, may come twice", attrs...)
	case removed > r.next:
		r.s.log.Error("items were removed from the server that Kafka does not have now", append(attrs, "first", r.next, "last", removed-1)...)
	case removed+there < r.next:
		r.s.log.Warn("the server has forgotten that items were taken, and they may come twice", append(attrs, "first", removed, "last", r.next-1)...)
	}
	return nil
}

// take gives the next items, and has those removed that are in Kafka. Invariant 1.
func (r *listReader) take(ctx context.Context, client *redis.Client, most int) ([]string, error) {
	pop := "LPOP"
	if r.s.c.Pop == popRight {
		pop = "RPOP"
	}
	items, err := takeScript.Eval(ctx, client, r.keys, r.done.Load(), r.next, most, batchBytes, pop).StringSlice()
	return items, r.s.explain("reading", err)
}

func (r *listReader) emit(ctx context.Context, item string) error {
	it := r.s.listItem(item, strconv.FormatInt(r.next, 10))
	r.next++
	next := r.next
	it.Done = func() { r.done.Store(next); signal(r.settled) }
	return r.out.Emit(ctx, it)
}

func (s *Source) listItem(item, position string) collect.Item {
	return collect.Item{
		Stream: s.listed, Resume: fmt.Appendf(nil, `{"at":%d}`, time.Now().UnixMilli()), // the number is in the record; it is for people
		Item: message.Item(s.c.Format, []byte(item)), Origin: s.origin, Position: position,
	}
}

// room waits until no more than count items are on their way. Invariant 4.
func (r *listReader) room(ctx context.Context) error {
	for r.next-r.done.Load() > int64(r.s.c.Count) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.settled:
		}
	}
	return nil
}

// wait returns when there is something to take, or after a second, so that what is in Kafka by then is removed.
func (r *listReader) wait(ctx context.Context, once bool) error {
	wait := min(time.Second, r.s.c.Timeout/2)
	if once {
		wait = min(wait, r.s.idle)
	}
	from := "left"
	if r.s.c.Pop == popRight {
		from = "right"
	}
	err := r.client.Do(ctx, "blmove", r.keys[2], r.keys[0], from, "right", wait.Seconds()).Err() // take finds it in our list
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return r.s.explain("reading", err)
}

// finish has what Kafka still takes removed. What is not removed is found by the next Run.
func (r *listReader) finish(ctx context.Context) {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	_ = r.out.Drain(grace) // what it says is found by our Runner, too
	client, err := r.s.client()
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := r.take(grace, client, 0); err != nil {
		r.s.log.Info("items that are in Kafka are still in the list of those on their way, and are removed by the next start", "reason", err)
	}
}

// look emits what is there now and changes nothing.
func (r *listReader) look(ctx context.Context) error {
	const window = 10
	for _, key := range []string{r.keys[0], r.keys[2]} {
		backward := key == r.s.c.List && r.s.c.Pop == popRight
		for at := int64(0); ; at += window {
			first, last := at, at+window-1
			if backward {
				first, last = -at-window, -at-1
			}
			items, err := r.client.LRange(ctx, key, first, last).Result()
			if err != nil {
				return r.s.explain("reading", err)
			}
			if len(items) == 0 {
				break
			}
			if backward {
				slices.Reverse(items)
			}
			for _, item := range items {
				if err := r.out.Emit(ctx, r.s.listItem(item, "")); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
