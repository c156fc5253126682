package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/internal/access"
	"headwater/internal/config"
	"headwater/internal/rights"
	"headwater/internal/state"
	"headwater/kafka"
	"headwater/lake/s3"
)

// nobody is who says no name, in what is printed.
const nobody = "(nobody)"

// attempt is one thing that somebody has tried at a door.
type attempt struct {
	User   string `json:"user"`
	Door   string `json:"door"`
	What   string `json:"what"`
	Should bool   `json:"should"`
	// Could is nil if it cannot be said, and then Why says why.
	Could *bool  `json:"could,omitempty"`
	Why   string `json:"why,omitempty"`
	// failed: the door was asked and did not say.
	failed bool
}

func (t attempt) differs() bool { return t.Could != nil && *t.Could != t.Should }

// verification tries users at doors. Nothing that it does changes anything.
type verification struct {
	cfg    *config.Pipeline
	policy *access.Policy
	of     rights.Pipeline
	who    []access.Identity // the last is nobody
	trials []attempt
}

// errRights ends a verification that has found somebody who may what they should not, or the other way round.
var errRights = fmt.Errorf("%w: rights are not those that the file gives", errFound)

// runAccessVerify tries each user at each door, and says what they could and what they should.
func runAccessVerify(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print a JSON object for each trial")
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	if cfg.Access == nil {
		return errNoAccess(cfg)
	}
	v := verification{cfg: cfg, policy: access.New(*cfg.Access)}
	if v.of, err = rightsOf(cfg); err != nil {
		return err
	}
	v.who = append(v.policy.Identities(), access.Identity{})
	running, up := state.Find(ctx, cfg.DataDir)
	v.http(ctx, running, up)
	v.kafka(ctx, running, up)
	if err := v.s3(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if *asJSON {
		if err := jsonLines(s.out, v.trials); err != nil {
			return err
		}
	} else if err := v.print(s); err != nil {
		return err
	}
	switch differ, failed := v.count(); {
	case differ > 0:
		return fmt.Errorf("%w: %d of %d trials (docs/access.md)", errRights, differ, len(v.trials))
	case failed > 0:
		return fmt.Errorf("%d of %d trials could not be made, so nobody knows: see why, and try again", failed, len(v.trials))
	}
	return nil
}

func (v *verification) count() (differ, failed int) {
	for _, t := range v.trials {
		if t.differs() {
			differ++
		}
		if t.failed {
			failed++
		}
	}
	return differ, failed
}

// print is a table of all trials, with those marked that differ.
func (v *verification) print(s streams) error {
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "USER\tDOOR\tWHAT\tCOULD\tSHOULD\t")
	say := map[bool]string{true: "yes", false: "no"}
	for _, one := range v.trials {
		could, mark := "?", one.Why
		if one.Could != nil {
			could = say[*one.Could]
		}
		if one.differs() {
			mark = "DIFFERS"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", one.User, one.Door, one.What, could, say[one.Should], mark)
	}
	return t.Flush()
}

func (v *verification) add(id access.Identity, door, what string, should, could bool, err error) {
	t := attempt{User: id.Name, Door: door, What: what, Should: should, Could: &could}
	if id.Name == "" {
		t.User = nobody
	}
	if err != nil {
		t.Could, t.Why, t.failed = nil, oneLine(err.Error()), true
	}
	v.trials = append(v.trials, t)
}

// trialTime is how long a trial may take: a query may wait for others.
const trialTime = time.Minute

// http asks the HTTP door of the running process.
func (v *verification) http(ctx context.Context, running state.Running, up bool) {
	type question struct {
		what, method, path, body string
		should                   func(access.Identity) bool
	}
	asks := []question{
		{"say who they are", http.MethodGet, "/api/v1/hello", "", func(id access.Identity) bool { return id.Name != "" }},
		{"status", http.MethodGet, "/api/v1/status", "", func(id access.Identity) bool { return id.May(access.Tables, access.Operate) }},
		{"runs", http.MethodPost, "/api/v1/runs", `{"do":"ls"}`, func(id access.Identity) bool { return id.May(access.Operate) }},
		{"tokens", http.MethodPost, "/api/v1/tokens", `{"do":"ls"}`, func(access.Identity) bool { return false }},
	}
	for _, n := range v.of.Known {
		body, _ := json.Marshal(map[string]string{"sql": fmt.Sprintf("select 1 from %s.%s limit 0", n.Database, n.Table)}) // texts always are JSON
		asks = append(asks, question{"query " + n.String(), http.MethodPost, "/api/v1/query", string(body), func(id access.Identity) bool { return id.Reads(n.Database, n.Table) }})
	}
	for _, id := range v.who {
		password, _, _ := v.policy.Password(id.Name)
		for _, ask := range asks {
			if !up || running.HTTP == "" {
				v.add(id, "http", ask.what, ask.should(id), false, errors.New("no process runs whose door could be asked"))
				continue
			}
			status, err := v.ask(ctx, running, id.Name, password.Reveal(), ask.method, ask.path, ask.body)
			could := false
			switch {
			case err != nil:
			case status == http.StatusOK, status == http.StatusUnprocessableEntity: // let in, and then the table is not there yet, say
				could = true
			case status != http.StatusUnauthorized && status != http.StatusForbidden:
				err = fmt.Errorf("it answers %d %s", status, http.StatusText(status))
			}
			v.add(id, "http", ask.what, ask.should(id), could, err)
		}
	}
}

func (v *verification) ask(ctx context.Context, running state.Running, name, password, method, path, body string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	return door(running).Try(ctx, name, password, method, path, body)
}

// kafka asks the broker about the pipeline's topics that it has.
func (v *verification) kafka(ctx context.Context, running state.Running, up bool) {
	at, embedded := v.cfg.Kafka, len(v.cfg.Kafka.Brokers) == 0
	var topics []string
	err := errors.New("no process runs whose broker could be asked")
	if embedded && up && running.Kafka != "" {
		at = kafkaOf(running, v.cfg)
		topics, err = topicsThere(ctx, at, v.of)
	} else if !embedded {
		topics, err = topicsThere(ctx, at, v.of)
	}
	for _, id := range v.who {
		if err != nil {
			v.add(id, "kafka", "topics", id.May(access.Raw, access.Operate), false, err)
			continue
		}
		v.kafkaAs(ctx, at, id, topics, embedded)
	}
}

func (v *verification) kafkaAs(ctx context.Context, at kafka.Config, id access.Identity, topics []string, embedded bool) {
	at.SASL, at.InstanceID = nil, ""
	if password, _, known := v.policy.Password(id.Name); known {
		at.SASL = &kafka.SASL{Mechanism: mechanism(v.cfg), Username: id.Name, Password: password}
		if embedded {
			at.SASL.Mechanism = "SCRAM-SHA-512"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	all, err := kafka.Try(ctx, at, topics)
	out := errors.Is(err, kafka.ErrNotLetIn)
	if out {
		err = nil
	}
	if id.May(access.Raw, access.Operate) || embedded || id.Name == "" || err != nil { // elsewhere, who may nothing needs no account
		v.add(id, "kafka", "come in", id.Name != "", !out, err)
	}
	if err != nil {
		return
	}
	for _, topic := range topics {
		may := all[topic]
		v.add(id, "kafka", "read "+topic, id.May(access.Raw), may.Read, may.ReadErr)
		v.add(id, "kafka", "write "+topic, id.May(access.Operate) && !strings.HasPrefix(topic, rights.OwnPrefix), may.Write, may.WriteErr)
	}
}

// topicsThere are those of the pipeline that the broker has.
func topicsThere(ctx context.Context, at kafka.Config, of rights.Pipeline) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	at.InstanceID = ""
	cl, err := kafka.NewClient(at)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	there, err := kafka.Topics(ctx, cl)
	return slices.DeleteFunc(there, func(topic string) bool {
		return !slices.Contains(of.Topics, topic) && !slices.Contains(of.Foreign, topic) && !slices.Contains(of.Own, topic)
	}), err
}

// part is some of the keys of a layer.
type part struct {
	url, prefix, what string
	should            func(access.Identity) bool
	object            string // one of it; empty if there is none, or the process itself cannot find any
}

// s3 asks the buckets of the layers.
func (v *verification) s3(ctx context.Context) error {
	parts := v.parts()
	for i, p := range parts {
		parts[i].object = v.find(ctx, p)
	}
	if len(parts) == 0 {
		return nil
	}
	taken := map[string]string{}
	for _, id := range v.who {
		key, secret := "", ""
		if id.Name != "" {
			variable := rights.Variable("HEADWATER_S3_", id.Name)
			if other := taken[variable]; other != "" {
				return usagef("%s and %s would both be known to S3 by %s: rename one of them", other, id.Name, variable)
			}
			taken[variable] = id.Name
			pair, set := os.LookupEnv(variable)
			if !set {
				v.trials = append(v.trials, attempt{User: id.Name, Door: "s3", What: "everything", Should: id.May(access.Raw, access.Tables), Why: "not tried: set " + variable + "=KEY:SECRET"})
				continue
			}
			if key, secret, set = strings.Cut(pair, ":"); !set || key == "" || secret == "" {
				return usagef("%s must be an access key and its secret as KEY:SECRET", variable)
			}
		}
		for _, p := range parts {
			if err := v.s3As(ctx, id, key, secret, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verification) parts() (all []part) {
	never := func(access.Identity) bool { return false }
	if v.of.Raw != nil {
		prefix := ""
		if v.of.TopicsDir != "" {
			prefix = v.of.TopicsDir + "/"
		}
		raw := func(id access.Identity) bool { return id.May(access.Raw) }
		all = append(all, part{url: v.cfg.Lake.Raw, prefix: prefix, what: "raw objects", should: raw}, part{url: v.cfg.Lake.Raw, prefix: "_quarantine/", what: "quarantine", should: raw})
	}
	if v.of.Tables != nil {
		for _, n := range v.of.Known {
			all = append(all, part{url: v.cfg.Lake.Tables, prefix: n.Database + "/" + n.Table + "/", what: n.String(), should: func(id access.Identity) bool { return id.Reads(n.Database, n.Table) }})
		}
		all = append(all, part{url: v.cfg.Lake.Tables, prefix: "_headwater/", what: "the schema ledger", should: never})
	}
	return all
}

// find is an object of a part, as the process's own account sees it. That it may see none is not what is asked here.
func (v *verification) find(ctx context.Context, p part) string {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	store, err := s3.Open(ctx, p.url)
	if err != nil {
		return ""
	}
	for o, err := range store.List(ctx, p.prefix, "") {
		if err != nil {
			break
		}
		return o.Key
	}
	return ""
}

func (v *verification) s3As(ctx context.Context, id access.Identity, key, secret string, p part) error {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	store, err := s3.OpenAs(ctx, p.url, key, secret)
	if err != nil {
		return err
	}
	say := func(what string, should bool, err error) {
		could := err == nil
		if s3.Denied(err) {
			err = nil
		}
		v.add(id, "s3", what+" "+p.what, should, could, err)
	}
	var lerr error
	for _, err := range store.List(ctx, p.prefix, "") {
		lerr = err
		break
	}
	say("list", p.should(id), lerr)
	if p.object != "" {
		body, _, err := store.Get(ctx, p.object, 0, 1)
		if err == nil {
			_ = body.Close()
		}
		say("read", p.should(id), err)
	}
	may, err := store.MayWrite(ctx, p.prefix+"headwater-access-verify")
	v.add(id, "s3", "write "+p.what, false, may, err)
	return nil
}
