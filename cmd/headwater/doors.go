package main

import (
	"context"

	"headwater/internal/access"
	"headwater/internal/tokens"
	"headwater/internal/web"
)

// openAccess opens what it takes to tell who somebody is.
func (p *pipeline) openAccess(ctx context.Context) (err error) {
	if p.cfg.Access == nil {
		return nil
	}
	p.policy = access.New(*p.cfg.Access)
	p.tokens, err = tokens.Open(ctx, stateDatabase(p.cfg, p.home), p.cfg.Database)
	return err
}

// guard is who is let in at the HTTP door.
func (p *pipeline) guard() web.Guard {
	g := web.Guard{Token: p.me.Token, Policy: p.policy, Refused: p.refused}
	if p.tokens != nil {
		g.Find = p.tokens.Find
	}
	return g
}

// refused is told of everyone whom a door has refused.
func (p *pipeline) refused(r access.Refusal) {
	p.observer.Refused(r.Door, r.Reason)
	p.log.Warn("refused", "door", r.Door, "reason", r.Reason, "who", r.Who, "what", r.What, "from", r.From)
}
