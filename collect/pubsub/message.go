package pubsub

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"cloud.google.com/go/pubsub/v2"

	"headwater/collect/message"
)

// messageID is the header that has what Pub/Sub calls a message.
const messageID = "message-id"

// headersOf are what Pub/Sub says of a message, and after it the attributes that the publisher made.
func headersOf(m *pubsub.Message) *message.Headers {
	h := &message.Headers{}
	h.AddProperty(messageID, m.ID)
	h.AddProperty("publish-time", m.PublishTime.UTC().Format(time.RFC3339Nano))
	h.AddProperty("ordering-key", m.OrderingKey)
	if m.DeliveryAttempt != nil {
		h.AddProperty("delivery-attempt", strconv.Itoa(*m.DeliveryAttempt))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Attributes)) {
		h.Add(name, m.Attributes[name])
	}
	return h
}
