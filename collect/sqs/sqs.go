// Package sqs reads a queue of Amazon SQS, or of a server that speaks its protocol.
//
// What enters: the messages of one queue. What leaves: each as an item of the stream queue/<name>, in the order in which they were received,
// which for the messages of a group of a FIFO queue is the order in which they were sent. Rules: docs/sources/sqs.md.
//
// Invariants:
//  1. A message is deleted when Kafka has its record, or has had it, never before.
//  2. With dedupe a message that comes again within the window adds nothing: its key is in the record itself, so that a kill between the
//     record and the deletion is known to the next process. One that comes again while it is on its way is the same message.
//  3. What was received stays hidden from others until it is deleted; what is not deleted when a Run ends is given back.
//  4. Memory is bounded by prefetch.
//
// Goroutines of Run: receivers, which end with its context or its first error; as many that delete, and one that keeps messages hidden,
// which end when Kafka has what it takes. All have ended when Run returns.
package sqs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"headwater/collect"
	"headwater/internal/retry"
)

const (
	// batch is how many messages SQS has in one request.
	batch = 10
	// longest is how long SQS waits for messages.
	longest = 20 * time.Second
	// lastAnswers is how long a Run that ends waits for what it has asked for: longer than one with once has the queue wait.
	lastAnswers = 3 * time.Second
	// longestKept is how long SQS keeps a message.
	longestKept = 14 * 24 * time.Hour
	// drain bounds how long a stop waits for acknowledgements. It is shorter than what a Runner gives a source.
	drain = 10 * time.Second
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
	err = newReader(s, client, out, once).read(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
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

// panicked makes a panic of a goroutine of ours its error.
func panicked(p any) error {
	return fmt.Errorf("panicked, please report this: %v\n%s", p, debug.Stack())
}

var _ collect.Source = (*Source)(nil)
