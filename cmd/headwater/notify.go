package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"headwater/internal/database"
	"headwater/internal/notify"
	"headwater/internal/runs"
	"headwater/internal/web"
)

// runNotifyTest sends an example to each webhook.
func runNotifyTest(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	if len(cfg.Notify) == 0 {
		return usagef("%s has no webhooks: write them under notify", cfg.File)
	}
	client := notify.NewClient()
	var all []trial
	for i, w := range cfg.Notify {
		all = append(all, trial{fmt.Sprintf("webhook %d", i+1), func(ctx context.Context) (string, error) {
			got, err := w.Post(ctx, client, notify.Example(cfg.Database, time.Now()))
			if err != nil && got.Body != "" {
				err = fmt.Errorf("%w, and says: %s", err, got.Body)
			}
			return strings.TrimSuffix(got.Status+": "+got.Body, ": "), err
		}})
	}
	return tryAll(ctx, all, time.Minute, s)
}

// runEnded has webhooks told of scheduled runs that have failed for good, and that a day is made of which one had.
func (p *pipeline) runEnded(tx *database.Tx, r runs.Run) (err error) {
	problem := notify.Problem{Source: r.Source, Kind: notify.Failure, What: r.Day, Since: r.Ended, Reason: oneLine(r.Error)}
	switch {
	case r.State == runs.Done:
		_, err = p.notices.Over(tx, problem)
	case r.Kind == runs.Scheduled: // who asks for others sees for himself
		_, err = p.notices.Wrong(tx, problem)
	}
	return err
}

// sender takes messages to the webhooks.
func (p *pipeline) sender() notify.Sender {
	return notify.Sender{Store: p.notices, Client: notify.NewClient()}
}

// webhooks is how they are doing.
func (p *pipeline) webhooks(ctx context.Context) (all []web.Webhook, err error) {
	states, err := p.notices.States(ctx)
	for _, s := range states {
		all = append(all, web.Webhook{Webhook: s.Webhook, Waiting: s.Waiting, Oldest: s.Oldest, GivenUp: s.Lost, FailingSince: s.FailingSince, LastError: s.Error})
	}
	return all, err
}

// printWebhooks is the part of a status that says how they are doing.
func printWebhooks(w io.Writer, all []web.Webhook) {
	if len(all) > 0 {
		fmt.Fprintln(w, "\nWEBHOOK\tWAITING\tOLDEST\tGIVEN UP\tFAILING FOR\tLAST ERROR")
	}
	for _, x := range all {
		fmt.Fprintf(w, "%d\t%d\t%s\t%d\t%s\t%s\n", x.Webhook, x.Waiting, ago(x.Oldest), x.GivenUp, sinceThen(x.FailingSince), oneLine(x.LastError))
	}
}
