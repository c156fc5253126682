package sqs

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"headwater/internal/retry"
)

// receipts are those of messages as they are now.
func (r *reader) receipts(ids []string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, id := range ids {
		all = append(all, r.way[id])
	}
	return all
}

// remove deletes what is due, until nothing more becomes so.
func (r *reader) remove(ctx context.Context) error {
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
		if err := r.delete(ctx, ids); err != nil {
			return err
		}
	}
}

// delete deletes messages, those that the server does not delete again. Who is left comes again, and adds nothing.
func (r *reader) delete(ctx context.Context, ids []string) error {
	left := ids
	var failed []types.BatchResultErrorEntry
	for try := 0; len(left) > 0 && try < 3; try++ {
		if try > 0 {
			if retry.Wait(ctx, time.Duration(try)*200*time.Millisecond) != nil {
				break
			}
		}
		in := &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(r.s.c.QueueURL)}
		for i, receipt := range r.receipts(left) {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(left[i]), ReceiptHandle: aws.String(receipt)})
		}
		var got *sqs.DeleteMessageBatchOutput
		err := r.call(ctx, 0, func(ctx context.Context) (err error) {
			got, err = r.client.DeleteMessageBatch(ctx, in)
			return err
		})
		if err != nil {
			return r.s.explain("deleting from", err)
		}
		failed, left = got.Failed, nil
		for _, f := range failed {
			if !f.SenderFault {
				left = append(left, aws.ToString(f.Id))
			}
		}
	}
	for _, f := range failed {
		r.s.log.Warn("a message that is in Kafka was not deleted: it comes again, and adds nothing with dedupe", "message", aws.ToString(f.Id), "code", aws.ToString(f.Code), "reason", aws.ToString(f.Message))
	}
	r.mu.Lock()
	for _, id := range ids {
		delete(r.way, id)
	}
	r.mu.Unlock()
	r.room.Release(int64(len(ids)))
	return nil
}

// keep keeps what was received hidden from others. Invariant 3.
func (r *reader) keep(ctx context.Context) error {
	often := time.NewTicker(r.s.c.Visibility / 3)
	defer often.Stop()
	for {
		select {
		case <-r.over:
			return nil
		case <-often.C:
		}
		if err := r.hide(ctx, r.s.c.Visibility); err != nil {
			return r.s.explain("keeping messages of", err)
		}
	}
}

// hide has all that is received and not deleted come again no earlier than after that time.
func (r *reader) hide(ctx context.Context, visibility time.Duration) error {
	r.mu.Lock()
	way := maps.Clone(r.way)
	r.mu.Unlock()
	for ids := range slices.Chunk(slices.Sorted(maps.Keys(way)), batch) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: aws.String(r.s.c.QueueURL)}
		for _, id := range ids {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
				Id: aws.String(id), ReceiptHandle: aws.String(way[id]), VisibilityTimeout: int32(visibility / time.Second),
			})
		}
		// Of the messages that it refuses one was deleted meanwhile, and another comes again and is known.
		err := r.call(ctx, 0, func(ctx context.Context) error {
			_, err := r.client.ChangeMessageVisibilityBatch(ctx, in)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// giveBack lets others have at once what was not deleted.
func (r *reader) giveBack(ctx context.Context) {
	if err := r.hide(ctx, 0); err != nil {
		r.s.log.Info("messages that were not taken come again later", "within", r.s.c.Visibility, "reason", err)
	}
}
