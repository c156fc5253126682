package web

import "time"

// Objective is what is promised of a source's tables.
type Objective struct {
	Source string `json:"source"`
	// Objective is freshness, min_rows, max_rows, max_bytes or max_quarantine.
	Objective string `json:"objective"`
	// Breached: it is not kept, since Since, because of Reason.
	Breached bool      `json:"breached"`
	Since    time.Time `json:"since,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	// Stage is what is behind if the tables are not fresh: collect, topic, land, serialize or schedule; since StageSince, if that is known.
	Stage      string    `json:"stage,omitempty"`
	StageSince time.Time `json:"stage_since,omitzero"`
}

// Webhook is how one that is told of what is wrong is doing.
type Webhook struct {
	// Webhook is its place in the list of the pipeline file, beginning with 1.
	Webhook int `json:"webhook"`
	// Waiting messages have not been taken yet, the first of them since Oldest.
	Waiting int64     `json:"waiting"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// GivenUp is how many were: refused, too old, or too many.
	GivenUp int64 `json:"given_up"`
	// FailingSince is when it first failed after its last success, LastError why it failed last.
	FailingSince time.Time `json:"failing_since,omitzero"`
	LastError    string    `json:"last_error,omitempty"`
}
