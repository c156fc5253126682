package sqs

import (
	"encoding/base64"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"headwater/collect/lease"
	"headwater/collect/message"
)

// headersOf are what SQS says of a message, and after it the attributes that the sender made, those of bytes as base64.
func headersOf(m *types.Message) *message.Headers {
	h := &message.Headers{}
	h.AddProperty(lease.MessageID, aws.ToString(m.MessageId))
	for _, name := range []struct {
		header string
		is     types.MessageSystemAttributeName
	}{
		{"message-group-id", types.MessageSystemAttributeNameMessageGroupId},
		{"message-deduplication-id", types.MessageSystemAttributeNameMessageDeduplicationId},
		{"sequence-number", types.MessageSystemAttributeNameSequenceNumber},
		{"sent-timestamp", types.MessageSystemAttributeNameSentTimestamp},
		{"receive-count", types.MessageSystemAttributeNameApproximateReceiveCount},
		{"sender-id", types.MessageSystemAttributeNameSenderId},
		{"dead-letter-queue-source", types.MessageSystemAttributeNameDeadLetterQueueSourceArn},
		{"trace", types.MessageSystemAttributeNameAWSTraceHeader},
	} {
		h.AddProperty(name.header, m.Attributes[string(name.is)])
	}
	for _, name := range slices.Sorted(maps.Keys(m.MessageAttributes)) {
		v := m.MessageAttributes[name]
		if v.StringValue != nil {
			h.Add(name, *v.StringValue)
		} else {
			h.Add(name, base64.StdEncoding.EncodeToString(v.BinaryValue))
		}
	}
	return h
}
