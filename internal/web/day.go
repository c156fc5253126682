package web

import (
	"context"
	"net/http"
	"time"

	"headwater/internal/access"
)

// DayRequest is the query of GET /api/v1/day.
type DayRequest struct {
	Source string
	// Date is YYYY-MM-DD, or yesterday.
	Date string
}

// DayResult is its answer.
type DayResult struct {
	Source string `json:"source"`
	// Date is YYYY-MM-DD.
	Date   string `json:"date"`
	Closed bool   `json:"closed"`
	// ClosedAt is when it was, by itself or with a later day.
	ClosedAt time.Time `json:"closed_at,omitzero"`
	// Reason says what the day waits for, Waits are its parts; both are empty if it is closed.
	Reason string    `json:"reason,omitempty"`
	Waits  []DayWait `json:"waits,omitempty"`
}

// DayWait is one thing that a day waits for.
type DayWait struct {
	// What is clock, collector, topic, land or log.
	What string `json:"what"`
	// Topic and Partition are those that have landed to offset Landed, and need Needs.
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	Landed    int64  `json:"landed"`
	Needs     int64  `json:"needs"`
	// Since is what the clock shows, or the time until which the collector has read, and Until what it must be.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// Days is how far the days of a source have come. All dates are YYYY-MM-DD.
type Days struct {
	Source string `json:"source"`
	// ClosedThrough is the last day that is closed.
	ClosedThrough string `json:"closed_through,omitempty"`
	// CompleteThrough is the last day that the tables are complete with, ended at CompleteUntil.
	CompleteThrough string    `json:"complete_through,omitempty"`
	CompleteUntil   time.Time `json:"complete_until,omitzero"`
	// Next is the first day that is over and not closed, which waits for Reason.
	Next   string `json:"next,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// asking answers requests for a day with what do says of it.
func asking(s *Server, do func(context.Context, DayRequest) (DayResult, error), exitCode func(error) int) handler {
	return func(w http.ResponseWriter, r *http.Request, _ access.Identity) {
		result, err := do(r.Context(), DayRequest{Source: r.FormValue("source"), Date: r.FormValue("date")})
		if err != nil {
			s.answer(w, http.StatusUnprocessableEntity, Fault{Message: err.Error(), Code: exitCode(err)})
			return
		}
		s.answer(w, http.StatusOK, result)
	}
}
