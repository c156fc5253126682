package pubsub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"headwater/collect/lease"
	"headwater/internal/retry"
)

// queue is the subscription of one Run.
type queue struct {
	s      *Source
	client *pubsub.SubscriptionAdminClient
	name   string        // with its project
	wait   time.Duration // how long the server is let wait for messages
}

// silence is the error of a server that did not answer within that time.
type silence time.Duration

func (s silence) Error() string {
	return fmt.Sprintf("the server did not answer within %s", time.Duration(s))
}

// call makes a request, again if the server could not take it for a moment, and bounds how long its answer may take.
func (q *queue) call(ctx context.Context, limit time.Duration, request func(context.Context) error) error {
	for try := 1; ; try++ {
		within, cancel := context.WithTimeout(ctx, limit)
		err := request(within)
		late := within.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil {
			return nil
		}
		if late || status.Code(err) == codes.DeadlineExceeded { // the server's clock may be the first
			return silence(limit)
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.Aborted, codes.Internal, codes.Unknown, codes.ResourceExhausted:
			if try < tries && len(refused(err)) == 0 && retry.Wait(ctx, time.Duration(try)*200*time.Millisecond) == nil {
				continue
			}
		}
		return err
	}
}

// Receive implements lease.Queue. Google's servers answer nothing when there are no messages, and so does a server that has gone: there are none if one
// answers something else.
func (q *queue) Receive(ctx context.Context, most int) (all []lease.Message, err error) {
	var got *pubsubpb.PullResponse
	err = q.call(ctx, q.wait, func(ctx context.Context) (err error) {
		got, err = q.client.Pull(ctx, &pubsubpb.PullRequest{Subscription: q.name, MaxMessages: int32(most)})
		return err
	})
	if _, silent := errors.AsType[silence](err); silent {
		err = q.call(ctx, q.s.c.Timeout, func(ctx context.Context) error {
			_, err := q.client.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: q.name})
			return err
		})
		if status.Code(err) == codes.PermissionDenied {
			err = nil // it answers; who reads need not have the right to look
		}
	}
	if err != nil {
		return nil, q.s.explain("reading", err)
	}
	for _, m := range got.GetReceivedMessages() {
		held := lease.Held{ID: m.GetMessage().GetMessageId(), Receipt: m.GetAckId()}
		all = append(all, lease.Message{Held: held, Body: m.GetMessage().GetData(), Headers: headersOf(m)})
	}
	if len(all) == 0 { // not every server waits
		_ = retry.Wait(ctx, 100*time.Millisecond) // its end is seen by who called
	}
	return all, nil
}

// Settle implements lease.Queue. Of a subscription without exactly-once delivery the server refuses none.
func (q *queue) Settle(ctx context.Context, held []lease.Held) (map[string]lease.Refusal, error) {
	acks := receipts(held)
	err := q.call(ctx, q.s.c.Timeout, func(ctx context.Context) error {
		return q.client.Acknowledge(ctx, &pubsubpb.AcknowledgeRequest{Subscription: q.name, AckIds: acks})
	})
	reasons := refused(err)
	if err != nil && len(reasons) == 0 {
		return nil, q.s.explain("acknowledging messages of", err)
	}
	all := map[string]lease.Refusal{}
	for _, h := range held {
		if reason, is := reasons[h.Receipt]; is {
			all[h.ID] = lease.Refusal{Reason: reason, Again: strings.HasPrefix(reason, "TRANSIENT_")}
		}
	}
	return all, nil
}

// Keep implements lease.Queue.
func (q *queue) Keep(ctx context.Context, held []lease.Held, long time.Duration) error {
	in := &pubsubpb.ModifyAckDeadlineRequest{Subscription: q.name, AckIds: receipts(held), AckDeadlineSeconds: int32(long / time.Second)}
	err := q.call(ctx, q.s.c.Timeout, func(ctx context.Context) error { return q.client.ModifyAckDeadline(ctx, in) })
	if len(refused(err)) > 0 {
		return nil
	}
	return q.s.explain("keeping messages of", err)
}

// Empty implements lease.Queue.
func (q *queue) Empty(context.Context, time.Duration) (bool, error) { return true, nil }

func receipts(held []lease.Held) (all []string) {
	for _, h := range held {
		all = append(all, h.Receipt)
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

var _ lease.Queue = (*queue)(nil)
