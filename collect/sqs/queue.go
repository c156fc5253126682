package sqs

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"headwater/collect/lease"
)

// queue is the queue of one Run.
type queue struct {
	s      *Source
	client *sqs.Client
	wait   time.Duration // how long the server waits for messages
}

// call bounds how long an answer may take.
func (q *queue) call(ctx context.Context, wait time.Duration, request func(context.Context) error) error {
	limit := wait + q.s.c.Timeout
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the server did not answer within %s", limit))
	defer cancel()
	if err := request(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

// Receive implements lease.Queue. Messages that were sent to somebody who has gone would stay hidden.
func (q *queue) Receive(ctx context.Context, most int) (all []lease.Message, err error) {
	in := &sqs.ReceiveMessageInput{
		QueueUrl: aws.String(q.s.c.QueueURL), MaxNumberOfMessages: int32(most), WaitTimeSeconds: int32(q.wait / time.Second), VisibilityTimeout: int32(q.s.c.Visibility / time.Second),
		MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	}
	if q.s.c.fifo() { // the SDK, when it asks again because an answer was lost, is given the same messages
		in.ReceiveRequestAttemptId = aws.String(rand.Text())
	}
	var got *sqs.ReceiveMessageOutput
	err = q.call(ctx, q.wait, func(ctx context.Context) (err error) {
		got, err = q.client.ReceiveMessage(ctx, in)
		return err
	})
	if err != nil {
		return nil, q.s.explain("reading", err)
	}
	for i := range got.Messages {
		m := &got.Messages[i]
		held := lease.Held{ID: aws.ToString(m.MessageId), Receipt: aws.ToString(m.ReceiptHandle)}
		all = append(all, lease.Message{Held: held, Body: []byte(aws.ToString(m.Body)), Headers: headersOf(m)})
	}
	return all, nil
}

// Settle implements lease.Queue.
func (q *queue) Settle(ctx context.Context, held []lease.Held) (map[string]lease.Refusal, error) {
	in := &sqs.DeleteMessageBatchInput{QueueUrl: aws.String(q.s.c.QueueURL)}
	for _, h := range held {
		in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(h.ID), ReceiptHandle: aws.String(h.Receipt)})
	}
	var got *sqs.DeleteMessageBatchOutput
	err := q.call(ctx, 0, func(ctx context.Context) (err error) {
		got, err = q.client.DeleteMessageBatch(ctx, in)
		return err
	})
	if err != nil {
		return nil, q.s.explain("deleting from", err)
	}
	refused := map[string]lease.Refusal{}
	for _, f := range got.Failed {
		refused[aws.ToString(f.Id)] = lease.Refusal{Reason: aws.ToString(f.Code) + ": " + aws.ToString(f.Message), Again: !f.SenderFault}
	}
	return refused, nil
}

// Keep implements lease.Queue.
func (q *queue) Keep(ctx context.Context, held []lease.Held, visibility time.Duration) error {
	in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: aws.String(q.s.c.QueueURL)}
	for _, h := range held {
		in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
			Id: aws.String(h.ID), ReceiptHandle: aws.String(h.Receipt), VisibilityTimeout: int32(visibility / time.Second),
		})
	}
	err := q.call(ctx, 0, func(ctx context.Context) error {
		_, err := q.client.ChangeMessageVisibilityBatch(ctx, in)
		return err
	})
	return q.s.explain("keeping messages of", err)
}

// Empty implements lease.Queue: the queue has no messages. What others have received would have come by now, if they are no more.
func (q *queue) Empty(ctx context.Context, quiet time.Duration) (bool, error) {
	if q.s.c.look || quiet >= q.s.c.Visibility+q.s.idle {
		return true, nil
	}
	var got *sqs.GetQueueAttributesOutput
	err := q.call(ctx, 0, func(ctx context.Context) (err error) {
		got, err = q.client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: aws.String(q.s.c.QueueURL), AttributeNames: []types.QueueAttributeName{
			types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,
		}})
		return err
	})
	if err != nil {
		return false, q.s.explain("asking for the size of", err)
	}
	for _, n := range got.Attributes {
		if n != "0" {
			return false, nil
		}
	}
	return true, nil
}

var _ lease.Queue = (*queue)(nil)
