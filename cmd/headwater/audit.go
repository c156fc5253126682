package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"headwater/internal/audit"
	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/internal/state"
	"headwater/kafka"
	"headwater/lake"
	"headwater/land"
	"headwater/query"
	"headwater/serialize"
	"headwater/table"
)

// errDiffers ends an audit that has found a difference, errNotLooked one that could not look at all.
var (
	errDiffers   = fmt.Errorf("%w: records differ", errFound)
	errNotLooked = errors.New("not all could be looked at")
)

// runAudit compares what was collected with Kafka, raw objects, tables and quarantine.
func runAudit(ctx context.Context, flags *flag.FlagSet, args []string, s streams) error {
	r, source := audit.Request{}, ""
	flags.StringVar(&source, "source", "", "of this source alone")
	flags.StringVar(&r.Day, "day", "", "of this day alone, as 2026-07-05")
	flags.BoolVar(&r.Recompute, "recompute", false, "read objects and rows again, and what Kafka still has of them")
	asJSON := flags.Bool("json", false, "print the report as JSON")
	cfg, err := parsePipeline(flags, args)
	if err != nil {
		return err
	}
	if _, err := table.ParseDay(r.Day); r.Day != "" && err != nil {
		return usagef("--day: %v", err)
	}
	report, err := auditHere(ctx, cfg, r, source, s.log)
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(s.out).Encode(report)
	} else {
		err = printAudit(s, report)
	}
	switch {
	case err != nil:
		return err
	case report.Differences > 0:
		return reported{errDiffers}
	case len(report.Failed) > 0:
		return reported{errNotLooked}
	}
	return nil
}

// auditHere opens what is there, for reading, and looks.
func auditHere(ctx context.Context, cfg *config.Pipeline, r audit.Request, source string, log *slog.Logger) (report *audit.Report, err error) {
	o := audit.Options{TopicsDir: cfg.Land.TopicsDir, RawKept: cfg.Lake.RawKept, Group: land.DefaultGroup, Logger: log}
	var opened []builtin.Store
	defer func() {
		for _, store := range opened {
			err = errors.Join(err, store.Close())
		}
	}()
	made := makesTables(cfg) == nil
	for _, layer := range []struct {
		name, at string
		store    *lake.Store
	}{{"lake.raw", cfg.Lake.Raw, &o.Raw}, {"lake.tables", cfg.Lake.Tables, &o.Tables}} {
		if layer.name == "lake.tables" && !made {
			continue
		}
		store, err := openExisting(ctx, layer.name, layer.at)
		if err != nil {
			return nil, err
		}
		opened = append(opened, store)
		*layer.store = audit.ReadOnly(store)
	}
	leave := auditKafka(ctx, cfg, &o)
	defer leave()
	p := newPipeline(cfg, parts{}, log)
	if made {
		o.Serializer = readingSerializer(cfg, o, log)
	}
	topics, err := audit.Topics(ctx, o.Raw, o.TopicsDir)
	if err != nil {
		return nil, err
	}
	if r.Targets = p.targets(topics, source); source != "" && len(r.Targets) == 0 {
		return nil, usagef("the pipeline has no source %q: it has %s", source, names(cfg.Sources))
	}
	report, err = audit.New(o).Audit(ctx, r)
	if err == nil && o.Kafka == nil && o.NoKafka != audit.KafkaOff {
		report.Failed = append(report.Failed, o.NoKafka)
	}
	return report, err
}

// openExisting opens a store and makes no folder for it.
func openExisting(ctx context.Context, name, at string) (builtin.Store, error) {
	if !builtin.Remote(at) {
		_, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("opening %s: there is nothing at %s: nothing has run yet, or it is not mounted", name, at)
		}
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", name, err)
		}
	}
	store, err := builtin.OpenStore(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	return store, nil
}

// kafkaPatience is how long an audit waits for Kafka's first answer.
const kafkaPatience = 20 * time.Second

// auditKafka finds the pipeline's Kafka, but serves none.
func auditKafka(ctx context.Context, cfg *config.Pipeline, o *audit.Options) (leave func()) {
	at := cfg.Kafka
	if len(at.Brokers) == 0 {
		running, ok := state.Find(ctx, cfg.DataDir)
		if !ok || running.Kafka == "" {
			o.NoKafka = audit.KafkaOff
			return func() {}
		}
		at = kafkaOf(running, cfg)
	}
	cl, err := kafka.NewClient(at)
	if err != nil {
		o.NoKafka = err.Error()
		return func() {}
	}
	patient, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	if err := cl.Ping(patient); err != nil {
		o.NoKafka = fmt.Sprintf("Kafka at %s does not answer: %v", strings.Join(at.Brokers, ", "), err)
		cl.Close()
		return func() {}
	}
	o.Kafka = cl
	return cl.Close
}

// readingSerializer knows what tables should be, and publishes none.
func readingSerializer(cfg *config.Pipeline, o audit.Options, log *slog.Logger) *serialize.Serializer {
	return serialize.New(serialize.Options{
		Config: cfg.Serialize, Raw: o.Raw, Tables: o.Tables, Quarantine: lake.Quarantine{Store: o.Raw},
		TopicsDir: cfg.Land.TopicsDir, Location: cfg.Location, Logger: log,
	})
}

// targets are the sources, and the topics that are landed without one; source, if not empty, is the one that is wanted.
func (p *pipeline) targets(topics []string, source string) (all []audit.Target) {
	configured := p.sources().configured
	for _, s := range configured {
		topics = append(topics, s.Topic)
	}
	slices.Sort(topics)
	for _, topic := range slices.Compact(topics) {
		job := p.jobOf(topic, table.Day{})
		if source != "" && job.Source != source {
			continue
		}
		found, is := p.sources().find(topic)
		collected := is && found.Kind != config.External
		all = append(all, audit.Target{Job: job, Collected: collected, Dense: collected && len(p.cfg.Kafka.Brokers) == 0})
	}
	slices.SortFunc(all, func(a, b audit.Target) int { return strings.Compare(a.Job.Source, b.Job.Source) })
	return all
}

// number is a count that may be unknown.
func number(n *int64) string {
	if n == nil {
		return "unknown"
	}
	return strconv.FormatInt(*n, 10)
}

func printAudit(s streams, r *audit.Report) error {
	for _, source := range r.Sources {
		fmt.Fprintf(s.out, "%s (topic %s)\n", query.Printable(source.Source), query.Printable(source.Topic))
		t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
		if len(source.Partitions) > 0 {
			fmt.Fprintln(t, "  PARTITION\tOBJECTS\tRECORDS\tQUARANTINED\tFROM\tTO\tCOMMITTED\tKAFKA FROM\tKAFKA TO")
		}
		for _, p := range source.Partitions {
			name := strconv.Itoa(int(p.Partition))
			if p.Generation > 1 {
				name += fmt.Sprintf(" (log %d)", p.Generation)
			}
			fmt.Fprintf(t, "  %s\t%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", name, p.Objects, number(p.Records), p.Quarantined, number(p.First), number(p.Next), number(p.Committed), number(p.Start), number(p.End))
		}
		if len(source.Days) > 0 {
			fmt.Fprintln(t, "  DAY\tOBJECTS\tRECORDS\tWAITING\tRAW ROWS\tFLAT ROWS\tQUARANTINED\tSTATE")
		}
		for _, d := range source.Days {
			fmt.Fprintf(t, "  %s\t%d\t%s\t%d\t%s\t%s\t%s\t%s\n", d.Day, d.Objects, number(d.Records), d.Waiting, tableNumber(d, d.RawRows), tableNumber(d, d.FlatRows), tableNumber(d, d.Quarantined), d.State)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		printFindings(s, "DIFFERS", source.Differences)
		printFindings(s, "unknown", source.Unknown)
	}
	if r.Kafka != audit.KafkaAsked {
		fmt.Fprintf(s.out, "Kafka was not asked: %s\n", oneLine(r.Kafka))
	}
	for _, f := range r.Failed {
		fmt.Fprintf(s.out, "not looked at: %s\n", oneLine(f))
	}
	_, err := fmt.Fprintf(s.out, "%d differences, %d unknown\n", r.Differences, r.Unknown)
	return err
}

// tableNumber is a count of a day's tables, if there are any.
func tableNumber(d audit.Day, n *int64) string {
	if d.State == "" {
		return "-"
	}
	return number(n)
}

func printFindings(s streams, what string, all []audit.Finding) {
	for _, f := range all {
		fmt.Fprintf(s.out, "  %s %s: %s: %s\n", what, f.Kind, query.Printable(f.Where()), oneLine(query.Printable(f.Text)))
	}
}

// auditor audits the days that this process has made.
type auditor struct {
	turn  sync.Mutex
	mu    sync.Mutex
	looks *audit.Auditor
}

// auditPast audits a day that is over when its tables have been made, and again each time nothing was new if something differed then. What differs is told
// and counted; an audit that cannot look is told, and keeps nobody from anything.
func (p *pipeline) auditPast(ctx context.Context, job serialize.Job, unchanged bool) {
	if job.Open || job.Day.Compare(table.DayOf(time.Now().In(p.cfg.Location))) >= 0 || p.broker == nil || unchanged && !p.ledger.differed(job.Source, job.Day) {
		return
	}
	request := audit.Request{Targets: p.targets([]string{job.Topic}, job.Source), Day: job.Day.String()}
	p.auditor.turn.Lock() // a report is of one day, and what was read for it serves the next
	defer p.auditor.turn.Unlock()
	report, err := p.auditor.open(p).Audit(ctx, request)
	if err != nil {
		return // the process ends
	}
	for _, failed := range report.Failed {
		p.log.Warn("a day is not audited as a whole", "source", job.Source, "day", job.Day, "error", failed)
	}
	for _, s := range report.Sources {
		for _, f := range s.Differences {
			p.log.Error("records differ; headwater audit says more", "source", job.Source, "kind", f.Kind, "where", f.Where(), "what", f.Text)
		}
	}
	p.ledger.audited(job.Source, job.Day, report.Differences)
}

// open makes the auditor at its first use.
func (a *auditor) open(p *pipeline) *audit.Auditor {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.looks == nil {
		o := audit.Options{
			Raw: audit.ReadOnly(p.layers.raw), Tables: audit.ReadOnly(p.layers.tables), TopicsDir: p.cfg.Land.TopicsDir, Group: land.DefaultGroup,
			Kafka: p.broker.client, RawKept: p.cfg.Lake.RawKept, Logger: p.log,
		}
		o.Serializer = readingSerializer(p.cfg, o, p.log)
		a.looks = audit.New(o)
	}
	return a.looks
}
