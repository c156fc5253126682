// Package sqs reads a queue of Amazon SQS, or of a server that speaks its protocol.
//
// What enters: the messages of one queue. What leaves: each as an item of the stream queue/<name>, in the order in which they were received,
// which for the messages of a group of a FIFO queue is the order in which they were sent. Rules: docs/sources/sqs.md.
//
// A Run is that of package lease, with its invariants and goroutines.
package sqs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"headwater/collect"
	"headwater/collect/lease"
	"headwater/internal/retry"
)

const (
	// batch is how many messages SQS has in one request.
	batch = 10
	// longest is how long SQS waits for messages.
	longest = 20 * time.Second
	// longestKept is how long SQS keeps a message.
	longestKept = 14 * 24 * time.Hour
)

// Source reads the queue of one configuration.
type Source struct {
	c      Config
	stream string
	log    *slog.Logger
	wait   time.Duration // how long the queue waits for messages
	idle   time.Duration // how long nothing must come before a Run with once ends
}

// New makes the source.
func New(c Config, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{c: c, stream: "queue/" + c.queue(), log: log, wait: longest, idle: 2 * time.Second}
}

// Run implements collect.Source. With once it ends when no message has come for two seconds, and nobody has received one that may come again.
func (s *Source) Run(ctx context.Context, out collect.Out, once bool) error {
	client, leave, err := s.client(ctx)
	if err != nil {
		return err
	}
	defer leave()
	q := &queue{s: s, client: client, wait: s.wait}
	if once {
		q.wait = min(s.wait, s.idle)
	}
	return lease.Run(ctx, q, out, lease.Options{
		Once: once, Idle: s.idle, Look: s.c.look, Stream: s.stream, Origin: s.c.QueueURL, Format: s.c.Format, Dedupe: s.c.Dedupe, Kept: longestKept, Again: 2 * s.c.Visibility,
		Receivers: s.c.Receivers, Prefetch: s.c.Prefetch, Most: batch, Batch: batch, Lease: s.c.Visibility, Every: s.c.Visibility / 3, Log: s.log,
	})
}

// client makes a client, and what closes its connections.
func (s *Source) client(ctx context.Context) (client *sqs.Client, leave func(), err error) {
	endpoint, region := s.c.at()
	own := awshttp.NewBuildableClient()
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(own),
		// What it warns of is in the errors, too, that it returns.
		config.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, v ...any) { s.log.Debug(fmt.Sprintf(format, v...)) })),
		config.WithDefaultRegion("us-east-1"), // other servers need one and mean nothing by it
	}
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	if s.c.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(s.c.Profile))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("configuring SQS: %w", err)
	}
	if with, is := cfg.HTTPClient.(*awshttp.BuildableClient); is {
		own = with // it trusts AWS_CA_BUNDLE
	}
	transport := own.GetTransport()
	// A connection that was being made for a request that is called off comes into the pool when this may have been emptied already.
	transport.IdleConnTimeout = 10 * time.Second
	transport.MaxIdleConnsPerHost = 2*s.c.Receivers + 2 // all that are at work
	return sqs.NewFromConfig(cfg, func(o *sqs.Options) {
		o.BaseEndpoint, o.HTTPClient = aws.String(endpoint), &http.Client{Transport: transport}
	}), transport.CloseIdleConnections, nil
}

// explain says what the server did not do, and whether only a person can help.
func (s *Source) explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	text := fmt.Errorf("%s %s: %w", doing, s.c.QueueURL, err)
	var api smithy.APIError
	if errors.As(err, &api) {
		switch code := api.ErrorCode(); {
		case strings.HasSuffix(code, "QueueDoesNotExist") || strings.HasSuffix(code, "NonExistentQueue"):
			return retry.Stop(fmt.Errorf("%w: there is no such queue in the region %s: make it first, or correct queue_url", text, s.regionText()))
		case code == "InvalidClientTokenId" || code == "UnrecognizedClientException" || code == "SignatureDoesNotMatch" || code == "InvalidSecurity":
			return retry.Stop(fmt.Errorf("%w: check the credentials and the region", text))
		}
	}
	var response *awshttp.ResponseError
	if errors.As(err, &response) && (response.HTTPStatusCode() == http.StatusForbidden || response.HTTPStatusCode() == http.StatusUnauthorized) {
		return retry.Stop(fmt.Errorf("%w: check the credentials and the rights that they have", text))
	}
	return text
}

func (s *Source) regionText() string {
	if _, region := s.c.at(); region != "" {
		return region
	}
	return "that the environment or the profile says"
}

var _ collect.Source = (*Source)(nil)
