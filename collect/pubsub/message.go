package pubsub

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"headwater/collect/lease"
	"headwater/collect/message"
)

// headersOf are what Pub/Sub says of a message, and after it the attributes that the publisher made.
func headersOf(received *pubsubpb.ReceivedMessage) *message.Headers {
	m, h := received.GetMessage(), &message.Headers{}
	h.AddProperty(lease.MessageID, m.GetMessageId())
	h.AddProperty("publish-time", m.GetPublishTime().AsTime().Format(time.RFC3339Nano))
	h.AddProperty("ordering-key", m.GetOrderingKey())
	if n := received.GetDeliveryAttempt(); n > 0 { // of subscriptions with a dead letter topic
		h.AddProperty("delivery-attempt", strconv.Itoa(int(n)))
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetAttributes())) {
		h.Add(name, m.GetAttributes()[name])
	}
	return h
}
