// Package pubsub reads a subscription of Google Cloud Pub/Sub.
//
// What enters: the messages of one subscription. What leaves: each as an item of the stream subscription/<project>/<name>, in the order in
// which they were received, which for the messages of an ordering key is the order in which they were published, if the subscription has
// message ordering: it then gives those of a key to one who asks, and the next when they are acknowledged. Rules: docs/sources/pubsub.md.
//
// Messages are pulled, each time as many as there is room for. A stream would bring those of a single ordering key faster, and needs to be
// opened again, kept from silence and held back by a window of its own; Google's client for it gives messages back in any order, and tells
// nobody that it does not come through.
//
// A Run is that of package lease, with its invariants and goroutines.
package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"headwater/collect"
	"headwater/collect/lease"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

const (
	// batch is how many messages are in one request: Pub/Sub bounds it by bytes, at about 2500.
	batch = 1000
	// longest is how long the server is let wait for messages, and brief how long with once.
	longest = 20 * time.Second
	brief   = 2 * time.Second
	// often is how long a lease goes unrenewed. No subscription has one shorter than ten seconds.
	often = 3 * time.Second
	// longestLease is that of any subscription, with a little more.
	longestLease = 11 * time.Minute
	// longestKept is how long a subscription keeps a message.
	longestKept = 31 * 24 * time.Hour
	// tries is how often a request is made that the server could not take for a moment.
	tries = 3
)

// Source reads the subscription of one configuration.
type Source struct {
	c      Config
	base   string
	origin string
	stream string
	log    *slog.Logger
	wait   time.Duration // how long the server is let wait for messages
	idle   time.Duration // how long nothing must come before a Run with once ends
}

// New makes the source; the path of its credentials is relative to the folder base.
func New(c Config, base string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Source{
		c: c, base: base, log: log, wait: longest, idle: 2 * time.Second,
		origin: "pubsub://" + c.Project + "/" + c.Subscription, stream: "subscription/" + c.Project + "/" + c.Subscription,
	}
	if !c.look {
		s.idle += c.Lease
	}
	return s
}

// Run implements collect.Source. With once it ends when no message has come for so long that what a killed process had would have come again.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	q := &queue{s: s, client: client, name: "projects/" + s.c.Project + "/subscriptions/" + s.c.Subscription, wait: s.wait}
	if once {
		q.wait = min(s.wait, brief)
	}
	return lease.Run(ctx, q, out, lease.Options{
		Once: once, Idle: s.idle, Look: s.c.look, Stream: s.stream, Origin: s.origin, Format: s.c.Format, Dedupe: s.c.Dedupe, Kept: longestKept, Again: longestLease,
		Receivers: s.c.Receivers, Prefetch: s.c.Prefetch, Most: max(1, min(batch, s.c.Prefetch/s.c.Receivers/2)), // half is for what is on its way to Kafka
		Batch: batch, Lease: s.c.Lease, Every: often, Log: s.log,
	})
}

// client makes a client, which connects when it is asked for something.
func (s *Source) client(ctx context.Context) (*pubsub.SubscriptionAdminClient, error) {
	options := []option.ClientOption{
		// A server that has gone without a word is known by the kernel when it does not take a request, and by this when there is none.
		option.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: s.c.Timeout})),
	}
	if s.c.Endpoint != "" {
		options = append(options, option.WithEndpoint(s.c.address()))
	}
	switch {
	case s.c.emulator():
		options = append(options, option.WithoutAuthentication(), option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	case s.c.Credentials != "":
		options = append(options, option.WithAuthCredentialsFile(option.ServiceAccount, setting.At(s.base, s.c.Credentials)))
	}
	client, err := pubsub.NewSubscriptionAdminClient(ctx, options...)
	if err != nil {
		return nil, retry.Stop(fmt.Errorf("connecting to %s: %w: check the credentials", s.origin, err))
	}
	client.CallOptions = &pubsub.SubscriptionAdminCallOptions{} // its own try again until the time is over, and do not say why
	return client, nil
}

// explain says what the server did not do, and whether only a person can help.
func (s *Source) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s %s: %w", doing, s.origin, err)
	switch status.Code(err) {
	case codes.NotFound:
		return retry.Stop(fmt.Errorf("%w: make the subscription first, or correct project and subscription", err))
	case codes.PermissionDenied, codes.Unauthenticated:
		return retry.Stop(fmt.Errorf("%w: check project and subscription, the credentials, and that they have the role Pub/Sub Subscriber", err))
	case codes.FailedPrecondition:
		return retry.Stop(fmt.Errorf("%w: it must be a subscription that is pulled and attached to its topic", err))
	case codes.InvalidArgument:
		return retry.Stop(err)
	}
	return err
}

var _ collect.Source = (*Source)(nil)
