package pubsub

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"headwater/internal/retry"
)

// settle acknowledges what is due, until nothing more becomes so.
func (r *reader) settle(ctx context.Context) error {
	for {
		var ids []string
		select {
		case id := <-r.due:
			ids = append(ids, id)
		case <-r.over:
			select {
			case id := <-r.due:
				ids = append(ids, id)
			default:
				return nil
			}
		}
		for more := true; more && len(ids) < batch; {
			select {
			case id := <-r.due:
				ids = append(ids, id)
			default:
				more = false
			}
		}
		if err := r.acknowledge(ctx, ids); err != nil {
			return err
		}
	}
}

// acknowledge acknowledges messages; those again that the server could not, or that have come again meanwhile. Who is left comes again, and
// adds nothing. Of a subscription without exactly-once delivery the server refuses none.
func (r *reader) acknowledge(ctx context.Context, ids []string) error {
	left := ids
	for try := 1; len(left) > 0; try++ {
		acks := r.acks(left)
		err := r.call(ctx, r.s.c.Timeout, func(ctx context.Context) error {
			return r.client.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: r.name, AckIds: acks})
		})
		reasons := refused(err)
		if err != nil && len(reasons) == 0 {
			return r.s.explain("acknowledging messages of", err)
		}
		var again []string
		for i, id := range left {
			reason := reasons[acks[i]]
			if !r.leave(id, acks[i], reason, try == tries) {
				again = append(again, id)
			} else if reason != "" {
				r.s.log.Warn("a message that is in Kafka was not acknowledged: it comes again, and adds nothing with dedupe", "message", id, "reason", reason)
			}
		}
		r.room.Release(int64(len(left) - len(again)))
		if left = again; len(left) > 0 && retry.Wait(ctx, time.Duration(try)*200*time.Millisecond) != nil {
			return nil // the end of the Run, which gives them back
		}
	}
	return nil
}

// leave takes a message off the way, unless it is to be acknowledged again.
func (r *reader) leave(id, ack, reason string, last bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !last && (r.way[id].ack != ack || strings.HasPrefix(reason, "TRANSIENT_")) {
		return false
	}
	delete(r.way, id)
	return true
}

// acks are those of messages as they are now.
func (r *reader) acks(ids []string) (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		all = append(all, r.way[id].ack)
	}
	return all
}

// refused are the reasons of an exactly-once subscription, by what should have acknowledged a message; none if the request failed as a whole.
func refused(err error) map[string]string {
	for _, detail := range status.Convert(err).Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			reasons := maps.Clone(info.GetMetadata())
			maps.DeleteFunc(reasons, func(_, reason string) bool {
				return !strings.HasPrefix(reason, "TRANSIENT_FAILURE") && !strings.HasPrefix(reason, "PERMANENT_FAILURE")
			})
			return reasons
		}
	}
	return nil
}

// keep renews leases. Invariant 3.
func (r *reader) keep(ctx context.Context) error {
	tick := time.NewTicker(often)
	defer tick.Stop()
	for {
		select {
		case <-r.over:
			return nil
		case <-tick.C:
		}
		if err := r.extend(ctx, r.s.c.Lease); err != nil {
			return r.s.explain("keeping messages of", err)
		}
	}
}

// extend has all that is received and not acknowledged come again no earlier than after that time, in the order in which it came.
func (r *reader) extend(ctx context.Context, lease time.Duration) error {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.way))
	r.mu.Unlock()
	slices.SortFunc(all, byArrival)
	for some := range slices.Chunk(all, batch) {
		in := &pubsubpb.ModifyAckDeadlineRequest{Subscription: r.name, AckDeadlineSeconds: int32(lease / time.Second)}
		for _, l := range some {
			in.AckIds = append(in.AckIds, l.ack)
		}
		err := r.call(ctx, r.s.c.Timeout, func(ctx context.Context) error { return r.client.ModifyAckDeadline(ctx, in) })
		// Of the messages that it refuses one was acknowledged meanwhile, and another comes again and is known.
		if err != nil && len(refused(err)) == 0 {
			return err
		}
	}
	return nil
}

func byArrival(a, b lease) int { return cmp.Compare(a.nth, b.nth) }

// giveBack lets others have at once what was not acknowledged.
func (r *reader) giveBack(ctx context.Context) {
	if err := r.extend(ctx, 0); err != nil {
		r.s.log.Info("messages that were not taken come again later", "within", r.s.c.Lease, "reason", err)
	}
}
