package main

import (
	"context"
	"crypto/tls"
	"fmt"

	"headwater/internal/access"
	"headwater/internal/config"
	"headwater/internal/setting"
	"headwater/internal/state"
	"headwater/internal/tokens"
	"headwater/internal/trust"
	"headwater/internal/web"
	"headwater/kafka"
	"headwater/kafka/embedded"
)

// door is the HTTP door of a running process, for who acts for it.
func door(r state.Running) web.Client {
	return web.Client{Address: r.HTTP, Token: r.Token, Certificate: r.Certificate}
}

// asItself is how the process says who it is to its own broker.
func asItself(token string) *kafka.SASL {
	return &kafka.SASL{Mechanism: "SCRAM-SHA-512", Username: access.Itself, Password: setting.Secret(token)}
}

// kafkaOf is the broker that a running process serves, for who acts for it.
func kafkaOf(r state.Running, cfg *config.Pipeline) kafka.Config {
	at := cfg.Kafka
	at.Brokers, at.SASL, at.TLS = []string{r.Kafka}, nil, nil
	if cfg.Access != nil {
		at.SASL = asItself(r.Token)
	}
	if r.Certificate != nil {
		at.Dial = (&tls.Dialer{Config: trust.Only(r.Certificate)}).DialContext
	}
	return at
}

// certificate is that of the doors; nil if they have none.
func certificate(cfg *config.Pipeline) (*tls.Certificate, error) {
	t := cfg.Listen.TLS
	if t == nil {
		return nil, nil
	}
	c, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("reading listen.tls: %w", err)
	}
	return &c, nil
}

// openAccess opens the tokens, if a door takes any.
func (p *pipeline) openAccess(ctx context.Context) (err error) {
	if p.cfg.Access == nil {
		return nil
	}
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

// kafkaDoor is who is let in at the embedded broker; nil lets in who reaches it.
func (p *pipeline) kafkaDoor() *embedded.Door {
	if p.policy == nil {
		return nil
	}
	return &embedded.Door{Policy: p.policy, Own: setting.Secret(p.me.Token), Refused: p.refused}
}

// refused is told of everyone whom a door has refused.
func (p *pipeline) refused(r access.Refusal) {
	p.observer.Refused(r.Door, r.Reason)
	p.log.Warn("refused", "door", r.Door, "reason", r.Reason, "who", r.Who, "what", r.What, "from", r.From)
}
