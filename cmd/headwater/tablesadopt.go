package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/internal/config"
	"headwater/internal/setting"
	"headwater/internal/web"
	"headwater/schema"
	"headwater/serialize"
	"headwater/table"
	"headwater/table/adopted"
)

// runTablesAdopt takes over the tables of a source that a job on Spark made.
func runTablesAdopt(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return handTables(ctx, fs, args, s, "adopt")
}

// runTablesRelease gives them back.
func runTablesRelease(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return handTables(ctx, fs, args, s, "release")
}

func handTables(ctx context.Context, fs *flag.FlagSet, args []string, s streams, do string) error {
	dry := fs.Bool("dry-run", false, "show what would be done, and change nothing")
	operands, err := parse(fs, args, "FILE", "SOURCE")
	if err != nil {
		return err
	}
	cfg, err := load(operands[0])
	if err == nil {
		err = makesTables(cfg)
	}
	if err != nil {
		return err
	}
	result, err := tablesThere(ctx, cfg, web.TablesRequest{Do: do, Source: operands[1], DryRun: *dry}, s)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(s.out, result.Text)
	return err
}

// handTables takes the tables of a source over, or gives them back.
func (p *pipeline) handTables(ctx context.Context, r web.TablesRequest) (result web.TablesResult, err error) {
	configured := p.sources().configured
	i := slices.IndexFunc(configured, func(s config.Source) bool { return s.Name == r.Source })
	if i < 0 {
		return result, usagef("the pipeline has no source %q: its tables are those that its configuration names (sources.NAME.tables)", r.Source)
	}
	h := handover{pipeline: p, job: p.jobOf(configured[i].Topic, table.Day{}), dry: r.DryRun}
	h.options = adopted.Options{Store: p.layers.adopted, Metastore: p.catalog.hive, Temp: p.serializer.Temp, Progress: p.tellDays()}
	if h.options.Others, err = p.tableNames(ctx); err != nil {
		return result, err
	}
	if r.Do == "adopt" {
		err = h.adopt(ctx)
	} else {
		err = h.release(ctx)
	}
	if err == nil && r.DryRun {
		h.say("Nothing was changed.")
	}
	return web.TablesResult{Text: h.text.String()}, err
}

// tellDays logs how far tables of many days have come.
func (p *pipeline) tellDays() func(n table.Name, done, all int) {
	const often = 10 * time.Second
	last := time.Now()
	return func(n table.Name, done, all int) {
		if now := time.Now(); now.Sub(last) > often {
			last = now
			p.log.Info("looking at the days of a table", "table", n, "done", done, "of", all)
		}
	}
}

// handover is one adoption or release of the two tables of a source.
type handover struct {
	*pipeline
	options adopted.Options
	job     serialize.Job
	dry     bool
	text    strings.Builder
}

func (h *handover) say(format string, args ...any) { fmt.Fprintf(&h.text, format+"\n", args...) }

func (h *handover) adopt(ctx context.Context) error {
	var plans []adopted.Plan
	var errs []error
	columns := map[table.Name]schema.Type{}
	for _, n := range []table.Name{h.job.Raw, h.job.Flat} {
		plan, err := h.options.PlanAdoption(ctx, n)
		switch {
		case errors.Is(err, table.ErrNotExist):
			h.say("%s is not in the metastore: Headwater makes it.\n", n)
			continue
		case err == nil:
			plans, columns[n] = append(plans, plan), plan.Columns
			h.describe(plan)
		}
		errs = append(errs, err)
	}
	if len(plans) == 0 && errors.Join(errs...) == nil {
		return adopted.Refusal{Table: h.job.Source, Faults: []string{fmt.Sprintf("the metastore has neither %s nor %s", h.job.Raw, h.job.Flat)}}
	}
	ledger, err := h.ledger(columns)
	if err = errors.Join(append(errs, err)...); err != nil || h.dry {
		return err
	}
	for i, plan := range plans {
		if i > 0 {
			ledger = nil // it is that of both
		}
		if err := h.options.Adopt(ctx, plan, ledger); err != nil {
			return fmt.Errorf("taking over %s (run it again to end it): %w", plan.Name, err)
		}
		if err := h.tellAdopted(ctx, plan.Name); err != nil {
			return fmt.Errorf("%s is taken over, and its days are not all registered as Headwater's (headwater tables repair does it): %w", plan.Name, err)
		}
		h.say("%s is Headwater's.", plan.Name)
	}
	return nil
}

// tellAdopted has the catalogs say what the commits say.
func (h *handover) tellAdopted(ctx context.Context, n table.Name) error {
	h.catalog.distrust()
	report, err := table.Audit(ctx, h.layers.tables, h.catalog.hive, n, schema.Type{})
	if err != nil {
		return err
	}
	return report.Repair(ctx, h.catalog)
}

// ledger begins the schema ledger of the source, if it has one; nil if not.
func (h *handover) ledger(columns map[table.Name]schema.Type) (func(context.Context) error, error) {
	s, err := h.serializer.Schema(h.job)
	if err != nil {
		h.say("The source has no schema ledger, so each day that Headwater makes has the types of its own values, as the old job's.\n")
		return nil, nil
	}
	raw, flat := columns[h.job.Raw], columns[h.job.Flat]
	if raw.Kind == schema.Undecided && flat.Kind == schema.Undecided {
		return nil, nil // there are no days
	}
	if raw.Kind == schema.Undecided {
		return nil, adopted.Refusal{Table: h.job.Flat.String(), Faults: []string{
			"where the values of its columns are in the data is known only from the raw table's files, and there are none to be taken over with it: write schema: {dialect: spark} or {ledger: off} for the source",
		}}
	}
	unexplained, err := s.Explains(raw, flat)
	if err != nil {
		return nil, err
	}
	for _, text := range unexplained {
		h.say("The flat table has the column %s.", text)
	}
	return func(ctx context.Context) error {
		v, _, err := s.Adopt(ctx, raw, flat)
		if err == nil {
			h.say("The schema ledger has version %d of these columns.", v.Number)
		}
		return err
	}, nil
}

// describe tells of a table that can be taken over.
func (h *handover) describe(p adopted.Plan) {
	var rows, bytes int64
	files := 0
	for _, d := range p.Days {
		rows, bytes, files = rows+d.Rows, bytes+d.Bytes, files+len(d.Files)
	}
	h.say("%s at %s", p.Name, p.Location)
	h.say("  %d days with %d rows in %d files of %s are taken over as they are", len(p.Days), rows, files, setting.Bytes(bytes).Rounded())
	if p.Ours > 0 {
		h.say("  %d days are Headwater's already", p.Ours)
	}
	example := table.Day{Year: 2026, Month: 7, Day: 5}
	h.say("  days are spelled as %s, in folders as %s", table.DayPath(example.Spell(p.Record.Values)), table.DayPath(example.Spell(p.Record.Folders)))
	h.sayDays("registered, and without files: they stay so, until there are raw objects of them", p.Empty)
	h.sayDays("with files in the table's folders, and not registered: they are not taken over (MSCK REPAIR TABLE registers them)", p.Unregistered)
	for _, note := range p.Notes {
		h.say("  %s", note)
	}
	if len(p.Differing) == 0 {
		h.say("  every column has one type on all days\n")
		return
	}
	h.say("  columns that have several types, and the one that holds them all:")
	t := tabwriter.NewWriter(&h.text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "    COLUMN\tTYPE\tDAYS\tFIRST\tLAST\tTABLE")
	for _, c := range p.Differing {
		for _, of := range c.Types {
			fmt.Fprintf(t, "    %s\t%s\t%d\t%s\t%s\t%s\n", c.Column, of.Type, len(of.Days), of.Days[0], of.Days[len(of.Days)-1], c.All)
		}
	}
	_ = t.Flush() // into memory
	h.say("")
}

func (h *handover) sayDays(what string, days []table.Day) {
	if len(days) > 0 {
		h.say("  %d days are %s: %s", len(days), what, few(days))
	}
}

// few is at most ten of them, as text.
func few(days []table.Day) string {
	var out []string
	for _, d := range days[:min(len(days), 10)] {
		out = append(out, d.String())
	}
	if len(days) > 10 {
		out = append(out, "...")
	}
	return strings.Join(out, ", ")
}

func (h *handover) release(ctx context.Context) error {
	var refused []error
	given := 0
	for _, n := range []table.Name{h.job.Raw, h.job.Flat} {
		record, days, err := h.options.PlanRelease(ctx, n)
		if refusal, no := errors.AsType[adopted.Refusal](err); no {
			refused = append(refused, refusal)
			continue
		}
		if err != nil {
			return err
		}
		given++
		h.say("%s: the files of %d days are put into their folders, the table partitions registered there, and Headwater's marks taken off.", n, len(days))
		if h.dry {
			continue
		}
		if err := h.options.Release(ctx, record, days); err != nil {
			return fmt.Errorf("giving back %s (run it again to end it): %w", n, err)
		}
		if err := h.layers.catalog.Drop(ctx, n); err != nil && !errors.Is(err, table.ErrNotExist) {
			return err
		}
		h.catalog.distrust()
		h.say("%s is the other job's.", n)
	}
	if given == 0 {
		return errors.Join(refused...)
	}
	return nil
}
