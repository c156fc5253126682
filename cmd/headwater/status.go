package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/internal/config"
	"headwater/internal/setting"
	"headwater/internal/state"
	"headwater/internal/web"
	"headwater/table"
)

func runStatus(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print the status as JSON")
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	status, err := statusThere(ctx, cfg)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(s.out).Encode(status)
	}
	return printStatus(s.out, status)
}

// statusThere asks the running process or, if there is none, looks at what lies in the lake.
func statusThere(ctx context.Context, cfg *config.Pipeline) (web.Status, error) {
	running, ok := state.Find(ctx, cfg.DataDir)
	if ok {
		return door(running).Status(ctx)
	}
	status := web.Status{Version: version(), PID: running.PID, Started: running.Started, DataDir: cfg.DataDir, Sources: []web.Source{}, Topics: []web.Topic{}}
	for _, source := range cfg.Sources {
		status.Sources = append(status.Sources, web.Source{Name: source.Name, State: "not running"})
	}
	var err error
	status.Tables, err = tablesOf(ctx, cfg)
	return status, err
}

// tablesOf are the tables as their files are.
func tablesOf(ctx context.Context, cfg *config.Pipeline) ([]web.Table, error) {
	l, err := openTables(ctx, cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return []web.Table{}, nil // nothing has run yet
	}
	if err != nil {
		return nil, err
	}
	all, err := tables(ctx, l.catalog)
	return all, errors.Join(err, l.close())
}

// Status implements web.API.
func (p *pipeline) Status(ctx context.Context) (web.Status, error) {
	status := web.Status{
		Version: version(), PID: p.me.PID, Started: p.started, DataDir: p.cfg.DataDir, Running: true,
		Listen:  web.Listen{HTTP: p.me.HTTP, Kafka: p.me.Kafka, Hive: p.me.Hive},
		Sources: []web.Source{}, Topics: []web.Topic{},
	}
	for _, c := range p.sources().collectors {
		got := c.Status()
		status.Sources = append(status.Sources, web.Source{
			Name: c.source.Name, State: string(got.State), Records: got.Records, Bytes: got.Bytes, Malformed: got.Malformed,
			Quarantined: got.Quarantined, Streams: got.Streams, LastItem: got.LastItem, LastError: got.LastError, LastErrorAt: got.LastErrorAt,
			FailingSince: got.FailingSince,
		})
	}
	for _, s := range p.sources().configured {
		if s.Kind == config.External {
			status.Sources = append(status.Sources, web.Source{Name: s.Name, State: config.External})
		}
	}
	for _, t := range p.lander.Status().Partitions {
		status.Topics = append(status.Topics, web.Topic{
			Topic: t.Topic, Partition: t.Partition, Committed: t.Committed, Lag: t.Lag(), OpenObjects: t.OpenObjects,
			Objects: t.Objects, Records: t.Records, Bytes: t.Bytes, Quarantined: t.Quarantined, Errors: t.Errors,
			LostFrom: t.LostFrom, LostTo: t.LostTo, Stopped: t.Stopped, LastError: t.LastError,
		})
	}
	status.Days = p.days(ctx)
	p.watch.fill(&status)
	file := p.file.status(p.cfg.File)
	status.File = &file
	status.NotReady, status.FreeBytes, status.Serialize = p.NotReady(ctx), freeBytes(p.cfg.DataDir), p.withIdle(p.ledger.list())
	status.Retention = p.retention.list()
	p.observe(&status)
	status.BestEffort = p.layers.bestEffort
	if p.scheduler != nil {
		status.NextSchedule = p.scheduler.Next()
		var err error
		if status.Runs, err = p.runsStatus(ctx); err != nil {
			return status, err
		}
		if status.SLO, err = p.objectives(ctx); err != nil {
			return status, err
		}
		if status.Notify, err = p.webhooks(ctx); err != nil {
			return status, err
		}
	}
	if p.layers.catalog == nil {
		status.Tables = []web.Table{} // this process knows nothing of them
		return status, nil
	}
	var err error
	status.Tables, err = tables(ctx, p.layers.catalog)
	return status, err
}

func tables(ctx context.Context, catalog table.Catalog) ([]web.Table, error) {
	all, err := catalog.Tables(ctx)
	if err != nil {
		return nil, err
	}
	out := []web.Table{}
	for _, t := range all {
		partitions, err := catalog.Partitions(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		entry := web.Table{Name: t.Name.String(), Days: len(partitions), Columns: len(t.Schema.Fields)}
		if t.CompleteThrough != (table.Day{}) {
			entry.CompleteThrough = t.CompleteThrough.String()
		}
		for _, p := range partitions {
			entry.Rows += p.Rows
			entry.Bytes += p.Bytes
			entry.LastDay = p.Day.String()
		}
		out = append(out, entry)
	}
	return out, nil
}

func printStatus(w io.Writer, s web.Status) error {
	switch {
	case s.Running:
		fmt.Fprintf(w, "running as process %d since %s, %s\n", s.PID, s.Started.Format("2006-01-02 15:04:05"), doors(s.Listen))
		if !s.NextSchedule.IsZero() {
			fmt.Fprintf(w, "days before today are serialized next at %s\n", s.NextSchedule.Format("2006-01-02 15:04 MST"))
		}
		printRuns(w, s.Runs)
		if f := s.File; f != nil && f.Fault != "" {
			fmt.Fprintf(w, "the pipeline file is not taken as it is now: %s\n", oneLine(f.Fault))
		}
		if f := s.File; f != nil && len(f.Restart) > 0 {
			fmt.Fprintf(w, "a restart would take what the pipeline file now says of %s\n", strings.Join(f.Restart, ", "))
		}
		for _, layer := range s.BestEffort {
			fmt.Fprintf(w, "the store of %s does not keep to the conditions of writes (exactly_once: best_effort): nothing else may write to it\n", layer)
		}
		for _, reason := range s.NotReady {
			fmt.Fprintf(w, "not ready: %s\n", oneLine(reason))
		}
	case s.PID != 0:
		fmt.Fprintf(w, "process %d, begun %s, does not answer: it is starting or ending, or was killed; what lies in %s:\n",
			s.PID, s.Started.Format("2006-01-02 15:04:05"), s.DataDir)
	default:
		fmt.Fprintf(w, "not running; what lies in %s:\n", s.DataDir)
	}
	return printCounts(w, s)
}

// ago is how long ago something was, empty for never.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return time.Since(t).Round(time.Second).String() + " ago"
}

// hours are seconds for people.
func hours(seconds float64) string { return fmt.Sprintf("%.1f h", seconds/3600) }

// within says when something is due.
func within(seconds float64) string {
	if seconds <= 0 {
		return "now"
	}
	return "in " + hours(seconds)
}

// perSecond is a rate for people, empty for none.
func perSecond(r float64) string {
	switch {
	case r <= 0:
		return ""
	case r < 10:
		return fmt.Sprintf("%.1f", r)
	}
	return thousands(int64(r + 0.5))
}

// oneLine keeps an error in its cell: joined errors have line feeds.
// jsonLines prints a line of JSON for each.
func jsonLines[T any](w io.Writer, all []T) error {
	for _, x := range all {
		if err := json.NewEncoder(w).Encode(x); err != nil {
			return err
		}
	}
	return nil
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// printCounts is the part of a status that a run has changed.
func printCounts(w io.Writer, s web.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nSOURCE\tSTATE\tRECORDS\tPER SECOND\tSIZE\tMALFORMED\tQUARANTINED\tSTREAMS\tLAST ITEM\tLAST ERROR")
	for _, x := range s.Sources {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%d\t%d\t%d\t%s\t%s\n", x.Name, x.State, x.Records, perSecond(x.RecordsPerSecond), setting.Bytes(x.Bytes).Rounded(),
			x.Malformed, x.Quarantined, x.Streams, ago(x.LastItem), oneLine(x.LastError))
	}
	printDays(t, s.Days)
	printObjectives(t, s.SLO)
	printWebhooks(t, s.Notify)
	if len(s.Topics) > 0 {
		fmt.Fprintln(t, "\nTOPIC\tPARTITION\tIN KAFKA\tCOMMITTED\tLAG\tOPEN\tOBJECTS\tLANDED\tALL UNTIL\tQUARANTINED\tLAST ERROR")
	}
	for _, x := range s.Topics {
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%d\t%s\n", x.Topic, x.Partition, setting.Bytes(x.LogBytes).Rounded(), x.Committed, x.Lag, x.OpenObjects,
			x.Objects, x.Records, ago(x.LandedUntil), x.Quarantined, oneLine(x.LastError))
	}
	if len(s.Retention) > 0 {
		fmt.Fprintln(t, "\nTOPIC\tKAFKA KEEPS\tMAY DELETE WHAT HAS NOT LANDED")
	}
	for _, x := range s.Retention {
		fmt.Fprintf(t, "%s\t%s\t%s\n", x.Topic, hours(x.Kept), within(time.Until(x.DeletedFrom).Seconds()))
	}
	if len(s.Serialize) > 0 {
		fmt.Fprintln(t, "\nSERIALIZE\tRUNS\tFAILURES\tLAST RUN\tALL UNTIL\tLAST ERROR")
	}
	for _, x := range s.Serialize {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\t%s\n", x.Source, x.Runs, x.Failures, ago(x.LastSuccess), ago(x.TablesUntil), oneLine(x.LastError))
	}
	fmt.Fprintln(t)
	printTableCounts(t, s.Tables)
	return t.Flush()
}

func printTableCounts(w io.Writer, all []web.Table) {
	fmt.Fprintln(w, "TABLE\tDAYS\tLAST DAY\tROWS\tCOLUMNS\tSIZE")
	for _, x := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%s\n", x.Name, x.Days, x.LastDay, x.Rows, x.Columns, setting.Bytes(x.Bytes).Rounded())
	}
}

// doors names the addresses that the process listens at.
func doors(l web.Listen) string {
	var text strings.Builder
	text.WriteString("http " + l.HTTP)
	for _, d := range []struct{ name, addr string }{{"kafka", l.Kafka}, {"hive", l.Hive}} {
		if d.addr != "" {
			text.WriteString(", " + d.name + " " + d.addr)
		}
	}
	return text.String()
}
