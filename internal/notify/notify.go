// Package notify keeps what is wrong with a pipeline, and tells webhooks of it.
//
// What enters: problems, each with the transaction in which it was found, and that they are over. What leaves: POST requests. Whoever first says that
// something is wrong, or over, has a message for each webhook written in the same transaction (the outbox, docs/format/notify.md); a Sender
// takes the messages from there.
//
// Invariants:
//  1. A problem is told once, and its end once, however many processes find it, and however often.
//  2. A message is in the outbox until its webhook has taken it, or has refused it for good: it may come twice, and never not at all. Only what is too old,
//     or too many, is given up, which is logged and counted.
//  3. The messages of a webhook are sent in their order, by one process at a time. A webhook waits for no other one.
//  4. No text that leaves this package has a URL, a header or a template in it: they may hold secrets.
//
// Goroutines: Sender.Run starts one for each webhook; all have ended when it returns. Docs: docs/slo.md.
package notify

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// The values of Message.Event, and of Webhook.Events.
const (
	// EventFailure: a scheduled run has failed, after its retries.
	EventFailure = "failure"
	// EventBreach: an objective is not kept.
	EventBreach = "breach"
	// EventRecovery: what was told by one of the others is over.
	EventRecovery = "recovery"
)

// Message is what templates are executed on.
type Message struct {
	// ID is the same in every try to send the message, and for every webhook.
	ID string `json:"id"`
	// Event is failure, breach or recovery.
	Event string `json:"event"`
	// Pipeline is the pipeline's database.
	Pipeline string `json:"pipeline"`
	Source   string `json:"source"`
	// Day is that of a run, YYYY-MM-DD; empty for an objective.
	Day string `json:"day,omitempty"`
	// Objective is the one that is breached, or kept again; empty for a run.
	Objective string `json:"objective,omitempty"`
	// Stage is, of a breached freshness, what is behind: collect, topic, land, serialize or schedule.
	Stage string `json:"stage,omitempty"`
	// Since is when it began to be wrong, and At when that was noticed, or its end.
	Since time.Time `json:"since"`
	At    time.Time `json:"at"`
	// Reason says why, as far as that is known.
	Reason string `json:"reason,omitempty"`
	// Text is all of it in a sentence.
	Text string `json:"text"`
}

// Kind is what kind of thing is wrong.
type Kind string

// The values of Problem.Kind.
const (
	// Failure is of a run of the day Problem.What.
	Failure Kind = "failure"
	// Breach is of the objective Problem.What.
	Breach Kind = "breach"
)

// Problem is something that is wrong. Source, Kind and What say what it is; two that have them in common are the same.
type Problem struct {
	Source string
	Kind   Kind
	What   string
	// Since is when it began.
	Since  time.Time
	Reason string
	// Stage is what is behind, and StageSince since when, if the problem is that something is late.
	Stage      string
	StageSince time.Time
}

// mostReason is how many bytes of a reason are kept.
const mostReason = 2000

// shortened is the beginning of a text that is too long.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "..."
}

// message tells of a problem or, if it is over, of its end.
func (p Problem) message(over bool) Message {
	m := Message{Event: string(p.Kind), Source: p.Source, Since: p.Since.UTC(), Reason: p.Reason, Stage: p.Stage}
	since := m.Since.Format(time.RFC3339)
	switch {
	case p.Kind == Failure && over:
		m.Day, m.Text = p.What, fmt.Sprintf("%s: the tables of %s are made; the run had failed at %s", p.Source, p.What, since)
	case p.Kind == Failure:
		m.Day, m.Text = p.What, fmt.Sprintf("%s: the run that makes the tables of %s has failed: %s", p.Source, p.What, p.Reason)
	case over:
		m.Objective, m.Text = p.What, fmt.Sprintf("%s: %s is kept again; it was breached since %s", p.Source, p.What, since)
	default:
		m.Objective, m.Text = p.What, fmt.Sprintf("%s: %s is breached since %s: %s", p.Source, p.What, since, p.Reason)
	}
	if over {
		m.Event = EventRecovery
	}
	return m
}

// examples are one of each event, with all that makes a careless template write something that is no JSON.
func examples() (all []Message) {
	at := time.Date(2026, 7, 6, 2, 0, 0, 0, time.UTC)
	failure := Problem{Source: "orders", Kind: Failure, What: "2026-07-05", Since: at, Reason: "reading \"a\\b\":\nit ends\tin the middle <&>"}
	breach := Problem{Source: "orders", Kind: Breach, What: "freshness", Since: at, Reason: "the last complete day \"2026-07-04\" ended at midnight;\nland is behind", Stage: "land"}
	for _, m := range []Message{failure.message(false), failure.message(true), breach.message(false), breach.message(true)} {
		m.ID, m.Pipeline, m.At = "EXAMPLE", "market", at.Add(time.Hour)
		all = append(all, m)
	}
	return all
}

// Example is a message that says that it is none.
func Example(pipeline string, now time.Time) Message {
	p := Problem{Source: "example", Kind: Breach, What: "freshness", Since: now, Reason: "this is a test: nothing is wrong"}
	m := p.message(false)
	m.ID, m.Pipeline, m.At, m.Text = "EXAMPLE", pipeline, now.UTC(), "headwater notify test: "+m.Text
	return m
}
