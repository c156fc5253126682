package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/internal/access"
	"headwater/internal/config"
	"headwater/internal/state"
	"headwater/internal/tokens"
	"headwater/internal/web"
)

// validity is a flag whose value is a number of days as 90d, or a duration.
type validity time.Duration

func (d *validity) String() string { return time.Duration(*d).String() }

// Set implements flag.Value.
func (d *validity) Set(text string) error {
	if number, is := strings.CutSuffix(text, "d"); is {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > 36500 {
			return errors.New("must be a number of days as 90d, or a duration as 12h")
		}
		*d = validity(n) * validity(24*time.Hour)
		return nil
	}
	span, err := time.ParseDuration(text)
	if err != nil || span <= 0 {
		return errors.New("must be a number of days as 90d, or a duration as 12h")
	}
	*d = validity(span)
	return nil
}

// commas is a flag whose value is a list with commas.
type commas []string

func (n *commas) String() string { return strings.Join(*n, ",") }

// Set implements flag.Value.
func (n *commas) Set(text string) error {
	*n = strings.Split(text, ",")
	return nil
}

// runTokenCreate makes a token and prints it, which is the only time.
func runTokenCreate(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	var scopes, only commas
	good := validity(90 * 24 * time.Hour)
	fs.Var(&scopes, "scope", "what it may: raw, tables, operate, or several of them with commas")
	fs.Var(&only, "only", "with tables: patterns of those that it may read, as market.*, with commas; without, all")
	fs.Var(&good, "expires", "after which time it is good no more, as 90d or 12h")
	asJSON := fs.Bool("json", false, "print it as JSON")
	operands, err := parse(fs, args, "FILE", "NAME")
	if err != nil {
		return err
	}
	r := web.TokensRequest{Do: "create", Name: operands[1], Grant: access.Grant{Only: only}, Good: time.Duration(good)}
	for _, scope := range scopes {
		r.Scopes = append(r.Scopes, access.Scope(scope))
	}
	result, err := tokensThere(ctx, operands[0], r)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(s.out).Encode(result)
	}
	one := result.Tokens[0]
	fmt.Fprintf(s.err, "Token %s of %s, good until %s. It is shown this once:\n", one.ID, one.Name, one.Expires.Format(time.RFC3339))
	_, err = fmt.Fprintln(s.out, result.Text)
	return err
}

// runTokenLs lists tokens.
func runTokenLs(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print a JSON object for each token")
	operands, err := parse(fs, args, "FILE")
	if err != nil {
		return err
	}
	result, err := tokensThere(ctx, operands[0], web.TokensRequest{Do: "ls"})
	if err != nil {
		return err
	}
	if *asJSON {
		return jsonLines(s.out, result.Tokens)
	}
	return printTokens(s.out, result.Tokens, time.Now())
}

func printTokens(w io.Writer, all []tokens.Token, now time.Time) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "There are no tokens.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TOKEN\tNAME\tSCOPES\tONLY\tCREATED\tEXPIRES\tSTATE")
	for _, one := range all {
		scopes := make([]string, len(one.Scopes))
		for i, scope := range one.Scopes {
			scopes[i] = string(scope)
		}
		state := "good"
		if !one.Revoked.IsZero() {
			state = "revoked " + one.Revoked.Format(time.DateTime)
		} else if !now.Before(one.Expires) {
			state = "expired"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", one.ID, one.Name, strings.Join(scopes, ","), strings.Join(one.Only, ","),
			one.Created.Format(time.DateTime), one.Expires.Format(time.DateTime), state)
	}
	return t.Flush()
}

// runTokenRevoke has a token let nobody in any more.
func runTokenRevoke(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	operands, err := parse(fs, args, "FILE", "TOKEN")
	if err != nil {
		return err
	}
	if _, err = tokensThere(ctx, operands[0], web.TokensRequest{Do: "revoke", ID: operands[1]}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "Token %s lets nobody in any more.\n", operands[1])
	return err
}

// tokensThere asks the running process or, without one, the database.
func tokensThere(ctx context.Context, file string, r web.TokensRequest) (result web.TokensResult, err error) {
	cfg, err := load(file)
	if err != nil {
		return result, err
	}
	if running, ok := state.Find(ctx, cfg.DataDir); ok {
		return door(running).Tokens(ctx, r)
	}
	if cfg.Access == nil {
		return result, errNoAccess(cfg)
	}
	where, release, err := lockedState(cfg)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, release()) }()
	store, err := tokens.Open(ctx, where, cfg.Database)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return doTokens(ctx, store, r)
}

func errNoAccess(cfg *config.Pipeline) error {
	return usagef("%s has no access:, so that no door takes tokens: write who may what, or access: {} (docs/access.md)", cfg.File)
}

// Tokens implements web.API.
func (p *pipeline) Tokens(ctx context.Context, r web.TokensRequest) (web.TokensResult, error) {
	if p.tokens == nil {
		return web.TokensResult{}, errNoAccess(p.cfg)
	}
	return doTokens(ctx, p.tokens, r)
}

func doTokens(ctx context.Context, store *tokens.Store, r web.TokensRequest) (result web.TokensResult, err error) {
	switch r.Do {
	case "create":
		if err := errors.Join(access.Named(r.Name), r.Validate()); err != nil {
			return result, usageError{err.Error()}
		}
		one, text, err := store.Create(ctx, r.Name, r.Grant, r.Good)
		return web.TokensResult{Tokens: []tokens.Token{one}, Text: text}, err
	case "ls":
		result.Tokens, err = store.List(ctx)
		return result, err
	case "revoke":
		if err = store.Revoke(ctx, r.ID); errors.Is(err, tokens.ErrUnknown) {
			err = usagef("there is no token %q: headwater token ls names them", r.ID)
		}
		return result, err
	}
	return result, usagef("do must be create, ls or revoke, got %q", r.Do)
}
