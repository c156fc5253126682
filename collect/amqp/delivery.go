package amqp

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"headwater/collect/message"
)

// headersOf are a delivery's properties, by the names that AMQP has for them, and after them the headers that the sender made.
func headersOf(d *amqp.Delivery) *message.Headers {
	h := &message.Headers{}
	h.AddProperty("exchange", d.Exchange)
	h.AddProperty("routing-key", d.RoutingKey)
	h.AddProperty("message-id", d.MessageId)
	if d.Redelivered {
		h.AddProperty("redelivered", "true")
	}
	h.AddProperty("content-type", d.ContentType)
	h.AddProperty("content-encoding", d.ContentEncoding)
	h.AddProperty("correlation-id", d.CorrelationId)
	h.AddProperty("reply-to", d.ReplyTo)
	h.AddProperty("type", d.Type)
	h.AddProperty("app-id", d.AppId)
	h.AddProperty("user-id", d.UserId)
	h.AddProperty("expiration", d.Expiration)
	if d.Priority > 0 {
		h.AddProperty("priority", strconv.Itoa(int(d.Priority)))
	}
	if !d.Timestamp.IsZero() {
		h.AddProperty("timestamp", textOf(d.Timestamp))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		h.Add(name, textOf(d.Headers[name]))
	}
	return h
}

// textOf is a value of a table as text; tables and arrays become JSON.
func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v) // a number that JSON does not have
	}
	return string(text)
}
