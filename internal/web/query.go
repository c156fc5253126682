package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"headwater/internal/access"
)

// QueryRequest is the body of POST /api/v1/query.
type QueryRequest struct {
	// SQL is one statement that reads.
	SQL string `json:"sql"`
	// Format is json, an object a line, which empty is too, or csv.
	Format string `json:"format,omitempty"`
}

// ErrForbidden marks an error of the API that is for want of a right.
var ErrForbidden = errors.New("you may not do that")

// query answers SQL. An answer is whole if its connection ends as HTTP has it: one that fails after it has begun is cut off.
func (s *Server) query(exitCode func(error) int) handler {
	return func(w http.ResponseWriter, r *http.Request, id access.Identity) {
		var req QueryRequest
		body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		body.DisallowUnknownFields()
		if err := body.Decode(&req); err != nil {
			s.answer(w, http.StatusBadRequest, Fault{Message: "the body is not a request to " + r.URL.Path + ": " + err.Error(), Code: 2})
			return
		}
		_, _ = io.Copy(io.Discard, body.Buffered()) // that the client goes is noticed once all that it has sent is read
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		out := &late{w: w, kind: map[string]string{"": "application/x-ndjson", "json": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}[req.Format]}
		if out.kind == "" {
			s.answer(w, http.StatusBadRequest, Fault{Message: "format must be json, one object a line, or csv", Code: 2})
			return
		}
		err := s.api.Query(r.Context(), id, req, out)
		switch {
		case err == nil:
			out.begin()
		case out.begun:
			if r.Context().Err() == nil {
				s.log.Warn("an answer to SQL was cut off", "who", id.Name, "error", err)
			}
			panic(http.ErrAbortHandler) // the only way to say so once an answer has begun
		case errors.Is(err, ErrForbidden):
			s.who.Refused(access.Refusal{Door: access.HTTP, Reason: access.Forbidden, Who: id.Name, What: what(r), From: r.RemoteAddr})
			s.answer(w, http.StatusForbidden, Fault{Message: err.Error(), Code: exitCode(err)})
		default:
			s.answer(w, http.StatusUnprocessableEntity, Fault{Message: err.Error(), Code: exitCode(err)})
		}
	}
}

// late holds back the beginning of an answer, so that one that fails early can still be another.
type late struct {
	w     http.ResponseWriter
	kind  string
	held  []byte
	begun bool
}

// Write implements io.Writer.
func (l *late) Write(p []byte) (int, error) {
	const most = 64 << 10
	if !l.begun && len(l.held)+len(p) <= most {
		l.held = append(l.held, p...)
		return len(p), nil
	}
	l.begin()
	return l.w.Write(p)
}

// begin sends what was held back.
func (l *late) begin() {
	if l.begun {
		return
	}
	l.begun = true
	l.w.Header().Set("Content-Type", l.kind)
	_, _ = l.w.Write(l.held) // an error is one of the next Write, too
}
