package web

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"headwater/internal/access"
	"headwater/internal/tokens"
)

// Guard says who asks at the door. The zero value lets nobody in.
type Guard struct {
	// Token is the process's own, that of run.json: who has it acts for the process.
	Token string
	// Policy has the users; nil if there are none, nor tokens.
	Policy *access.Policy
	// Find is whom another token lets in, as tokens.Store.Find.
	Find func(ctx context.Context, text string) (access.Identity, error)
	// Refused is told of everyone who is refused.
	Refused func(access.Refusal)
}

// identify is who asks, or why that is not known. An error is that it cannot be found out.
func (g Guard) identify(r *http.Request) (id access.Identity, why access.Reason, err error) {
	if name, password, basic := r.BasicAuth(); basic {
		if g.Policy != nil {
			if id, ok := g.Policy.Login(name, password); ok {
				return id, "", nil
			}
		}
		return access.Identity{Name: access.Claimed(name)}, access.Unproved, nil
	}
	text, bearer := bearerOf(r)
	switch {
	case r.Header.Get("Authorization") == "":
		return id, access.Unnamed, nil
	case bearer && g.Token != "" && subtle.ConstantTimeCompare([]byte(text), []byte(g.Token)) == 1:
		return access.Own(), "", nil
	case !bearer || g.Policy == nil:
		return id, access.Unproved, nil
	}
	id, err = g.Find(r.Context(), text)
	switch {
	case errors.Is(err, tokens.ErrUnknown), errors.Is(err, tokens.ErrExpired), errors.Is(err, tokens.ErrRevoked):
		return id, access.Unproved, nil
	}
	return id, "", err
}

// bearerOf is the token that a request comes with.
func bearerOf(r *http.Request) (text string, is bool) {
	const scheme = "Bearer "
	header := r.Header.Get("Authorization")
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", false
	}
	return header[len(scheme):], true
}

// handler answers a request of somebody.
type handler func(w http.ResponseWriter, r *http.Request, id access.Identity)

// guard lets only those through who have one of the scopes; without scopes, the process itself.
func (s *Server) guard(h handler, scopes ...access.Scope) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, why, err := s.who.identify(r)
		switch {
		case err != nil:
			s.log.Error("who asks at the HTTP door cannot be found out", "error", err)
			s.answer(w, http.StatusServiceUnavailable, Fault{Message: "who you are cannot be found out now, the log says why: try again", Code: 4})
			return
		case why == "" && id.Name != access.Itself && !id.May(scopes...):
			why = access.Forbidden
		}
		if why == "" {
			if id.Name != access.Itself && r.Method != http.MethodGet {
				s.log.Info("asked at the HTTP door", "who", id.Name, "what", what(r), "from", r.RemoteAddr)
			}
			h(w, r, id)
			return
		}
		s.who.Refused(access.Refusal{Door: access.HTTP, Reason: why, Who: id.Name, What: what(r), From: r.RemoteAddr})
		s.refuse(w, why, id)
	}
}

// what is asked for: the pattern, because a path is as long as somebody likes.
func what(r *http.Request) string { return r.Pattern }

// refuse says no. Who is not known is told the same whatever is wrong.
func (s *Server) refuse(w http.ResponseWriter, why access.Reason, id access.Identity) {
	if why == access.Forbidden {
		s.answer(w, http.StatusForbidden, Fault{Message: id.Name + " may not do that: access: of the pipeline file, or who made the token, says who may", Code: 2})
		return
	}
	w.Header().Add("WWW-Authenticate", `Bearer realm="headwater"`)
	text := "send the token of run.json as a bearer token"
	if s.who.Policy != nil {
		w.Header().Add("WWW-Authenticate", `Basic realm="headwater", charset="UTF-8"`)
		text = "say who you are, by a token that is good (headwater token create) as a bearer token, or by name and password"
	}
	s.answer(w, http.StatusUnauthorized, Fault{Message: text, Code: 2})
}
