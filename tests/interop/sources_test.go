package interop

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// three are the items that every source gets.
var three = []string{`{"n":1,"updated_at":"2026-02-01T00:00:00Z"}`, `{"n":2,"updated_at":"2026-02-02T00:00:00Z"}`, `{"n":3,"updated_at":"2026-02-03T00:00:00Z"}`}

// TestExamples runs the example that begins each page of docs/sources, with the address of a server that is here and, where that has no TLS, without it.
// TestSFTP and TestFTP do so with the flights.
func TestExamples(t *testing.T) {
	for page, prepare := range map[string]func(t *testing.T, p binary.Pipeline) (change []string, send func()){
		"amqp": amqpExample, "file": fileExample, "kafka": kafkaExample, "mqtt": mqttExample, "nats": natsExample, "redis": redisExample, "rest": restExample,
		"sqs": sqsExample, "websocket": webSocketExample,
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			doc, err := os.ReadFile("../../docs/sources/" + page + ".md")
			must(t, err)
			example := string(regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(doc)[1])
			p := binary.New(t, binary.Build(t), "")
			change, send := prepare(t, p)
			for i := 0; i < len(change); i += 2 {
				if !strings.Contains(example, change[i]) {
					t.Errorf("the example has no %s", change[i])
				}
				example = strings.ReplaceAll(example, change[i], change[i+1])
			}
			p.Write(t, "pipeline.yaml", []byte("database: market\nlisten: {http: 127.0.0.1:0, kafka: 127.0.0.1:0}\n"+example))
			env := []string{"RABBIT_PASSWORD=guest", "MQTT_PASSWORD=secret", "REDIS_PASSWORD=secret", "SHOP_TOKEN=t0ken"}
			p.Run(t, env, "run", "--once").Must(t) // where an upstream keeps nothing for who was never there
			send()
			p.Run(t, env, "run", "--once").Must(t)
			source := regexp.MustCompile(`(?m)^  (\w+):`).FindStringSubmatch(example)[1]
			got := p.Run(t, env, "query", "select count(*) as n, sum(cast(n as bigint)) as s from market."+source, "--format", "csv").Must(t)
			if want := "n,s\n3,6\n"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

func amqpExample(t *testing.T, _ binary.Pipeline) ([]string, func()) {
	broker := fixture.NewRabbitMQ(t)
	conn, err := amqp.Dial("amqp://" + broker.Addr)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	must(t, err)
	_, err = ch.QueueDeclare("orders", true, false, false, false, nil)
	must(t, err)
	return []string{"amqps://headwater@rabbit.example/shop", "amqp://guest@" + broker.Addr}, func() {
		for n, item := range three {
			must(t, ch.Publish("", "orders", false, false, amqp.Publishing{MessageId: fmt.Sprint(n), Body: []byte(item)}))
		}
	}
}

func fileExample(t *testing.T, p binary.Pipeline) ([]string, func()) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := fmt.Fprint(z, "n\n1\n2\n3\n")
	must(t, err)
	must(t, z.Close())
	p.Write(t, "in/orders/2026/07/a.csv.gz", b.Bytes())
	return []string{"{path", "{settle: 10ms, path"}, func() {}
}

func kafkaExample(t *testing.T, _ binary.Pipeline) ([]string, func()) {
	broker := fixture.Kafka(t)
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr))
	must(t, err)
	t.Cleanup(cl.Close)
	_, err = kadm.NewClient(cl).CreateTopics(t.Context(), 1, 1, nil, "orders", "returns")
	must(t, err)
	secure := "      tls: {}\n      sasl: {mechanism: SCRAM-SHA-512, username: headwater, password: \"${OTHER_KAFKA_PASSWORD}\"}\n"
	return []string{"kafka.example:9092", broker.Addr, secure, ""}, func() {
		for n, item := range three {
			must(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: []string{"orders", "returns"}[n%2], Value: []byte(item)}).FirstErr())
		}
	}
}

func mqttExample(t *testing.T, _ binary.Pipeline) ([]string, func()) {
	broker := fixture.NewMosquitto(t)
	sender := fixture.NewMQTTSender(t, broker.Addr)
	return []string{"mqtts://headwater@broker.example", "mqtt://headwater@" + broker.Addr}, func() {
		for n, item := range three {
			sender.Text(t, fmt.Sprintf("plant/%d/sensor", n), item)
		}
	}
}

func natsExample(t *testing.T, _ binary.Pipeline) ([]string, func()) {
	server := fixture.NewNATS(t)
	conn, err := nats.Connect(server.Addr)
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "SHIPMENTS", Subjects: []string{"shipments.>"}})
	must(t, err)
	return []string{"tls://nats.example", "nats://" + server.Addr, "      creds: headwater.creds\n", ""}, func() {
		for _, item := range three {
			_, err := js.Publish(t.Context(), "shipments.eu.7", []byte(item))
			must(t, err)
		}
	}
}

func redisExample(t *testing.T, _ binary.Pipeline) ([]string, func()) {
	server := fixture.NewRedis(t)
	cl := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { _ = cl.Close() })
	return []string{"rediss://headwater@redis.example/0", "redis://reader@" + server.Addr + "/0"}, func() {
		for _, item := range three {
			must(t, cl.XAdd(t.Context(), &redis.XAddArgs{Stream: "events", Values: []any{"data", item}}).Err())
		}
	}
}

func restExample(t *testing.T, _ binary.Pipeline) ([]string, func()) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t0ken" || r.FormValue("limit") != "500" || r.FormValue("updated_since") == "" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if r.FormValue("after") == "" {
			_, _ = fmt.Fprintf(w, `{"data":[%s],"meta":{"next":"x"}}`, strings.Join(three[:2], ","))
			return
		}
		_, _ = fmt.Fprintf(w, `{"data":[%s],"meta":{"next":null}}`, three[2])
	}))
	t.Cleanup(api.Close)
	return []string{"https://api.shop.example", api.URL}, func() {}
}

func sqsExample(t *testing.T, _ binary.Pipeline) ([]string, func()) {
	fixture.SetAWS()
	server := fixture.NewElasticMQ(t)
	server.Create(t, "returns")
	return []string{"https://sqs.eu-west-1.amazonaws.com/123456789012", server.URL}, func() {
		for _, item := range three {
			server.Send(t, "returns", item)
		}
	}
}

func webSocketExample(t *testing.T, _ binary.Pipeline) ([]string, func()) {
	said := false
	feed := fixture.Feed(t, func(conn *websocket.Conn) {
		_, text, err := conn.ReadMessage()
		for _, item := range three {
			if !said && err == nil && string(text) == `{"subscribe":"trades"}` {
				_ = conn.WriteMessage(websocket.TextMessage, []byte(item))
			}
		}
		said = true
		_, _, _ = conn.ReadMessage()
	})
	return []string{"wss://feed.example", feed}, func() {}
}
