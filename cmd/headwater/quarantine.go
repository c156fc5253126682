package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"headwater/internal/builtin"
	"headwater/internal/config"
	"headwater/internal/web"
	"headwater/lake"
	"headwater/query"
)

// held chooses among what is in quarantine; what is empty takes all.
type held struct{ stage, source, date, reason string }

func (h *held) flags(fs *flag.FlagSet) {
	fs.StringVar(&h.stage, "stage", "", "of this stage alone: collect, land or serialize")
	fs.StringVar(&h.source, "source", "", "of this source alone")
	fs.StringVar(&h.date, "date", "", "of this day alone, as 2026-07-05")
	fs.StringVar(&h.reason, "reason", "", "of this reason alone, up to its colon")
}

func (h *held) check() error {
	if h.stage != "" && !slices.Contains(lake.QuarantineStages, h.stage) {
		return usagef("--stage must be %s, got %q", strings.Join(lake.QuarantineStages, ", "), h.stage)
	}
	if _, err := time.Parse(time.DateOnly, h.date); h.date != "" && err != nil {
		return usagef("--date must be a day as 2026-07-05, got %q", h.date)
	}
	return nil
}

// shortReason is a reason without its particulars, which would make every one a kind of its own.
func shortReason(e lake.Entry) string {
	short, _, _ := strings.Cut(e.Reason, ":")
	return short
}

// each gives what is chosen, in order of the keys, until do returns an error.
func (h *held) each(ctx context.Context, cfg *config.Pipeline, do func(day, key string, e lake.Entry) error) (err error) {
	if !builtin.Remote(cfg.Lake.Raw) {
		if _, err := os.Stat(cfg.Lake.Raw); errors.Is(err, fs.ErrNotExist) {
			return nil // nothing has run yet, and a reader makes no folder
		}
	}
	store, err := builtin.OpenStore(ctx, cfg.Lake.Raw)
	if err != nil {
		return fmt.Errorf("opening lake.raw: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	q := lake.Quarantine{Store: store}
	for _, stage := range lake.QuarantineStages {
		if h.stage != "" && stage != h.stage {
			continue
		}
		for o, err := range store.List(ctx, lake.QuarantinePrefix(stage, h.source), "") {
			if err != nil {
				return err
			}
			_, day, dated := strings.Cut(o.Key, "/date=")
			day, _, _ = strings.Cut(day, "/")
			if !dated || h.date != "" && day != h.date {
				continue
			}
			for e, err := range q.Read(ctx, o.Key) {
				if err != nil {
					return err
				}
				if h.reason != "" && shortReason(e) != h.reason {
					continue
				}
				if err := do(day, o.Key, e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// runQuarantineLs counts what is in quarantine.
func runQuarantineLs(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	var h held
	h.flags(fs)
	asJSON := fs.Bool("json", false, "print a JSON object for each line")
	cfg, err := parsePipeline(fs, args)
	if err = cmp.Or(err, h.check()); err != nil {
		return err
	}
	type kind struct{ stage, source, day, reason string }
	type group struct {
		Stage   string `json:"stage"`
		Source  string `json:"source"`
		Day     string `json:"day"`
		Reason  string `json:"reason"`
		Entries int64  `json:"entries"`
		Bytes   int64  `json:"bytes"`
		First   string `json:"first"`
	}
	found := map[kind]*group{}
	err = h.each(ctx, cfg, func(day, key string, e lake.Entry) error {
		k := kind{e.Stage, e.Source, day, shortReason(e)}
		g := found[k]
		if g == nil {
			g = &group{Stage: k.stage, Source: k.source, Day: day, Reason: k.reason, First: key}
			found[k] = g
		}
		g.Entries++
		g.Bytes += int64(len(e.Data))
		return nil
	})
	if err != nil {
		return err
	}
	groups := slices.SortedFunc(maps.Values(found), func(a, b *group) int {
		return cmp.Or(strings.Compare(a.Source, b.Source), strings.Compare(a.Day, b.Day), strings.Compare(a.Stage, b.Stage), strings.Compare(a.Reason, b.Reason))
	})
	if *asJSON {
		return jsonLines(s.out, groups)
	}
	if len(groups) == 0 {
		_, err := fmt.Fprintln(s.out, "Nothing is in quarantine.")
		return err
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tDAY\tSTAGE\tREASON\tENTRIES\tBYTES\tFIRST")
	for _, g := range groups {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", query.Printable(g.Source), g.Day, g.Stage, query.Printable(g.Reason), g.Entries, g.Bytes, query.Printable(g.First))
	}
	return t.Flush()
}

// errShown ends each.
var errShown = errors.New("enough was shown")

// runQuarantineShow prints what is in quarantine, with its data.
func runQuarantineShow(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	var h held
	h.flags(fs)
	limit := fs.Int("limit", 10, "how many entries are shown; 0 is all")
	asJSON := fs.Bool("json", false, "print each as a JSON object with all of its data, as it is stored")
	cfg, err := parsePipeline(fs, args)
	if err = cmp.Or(err, h.check()); err != nil {
		return err
	}
	shown := 0
	err = h.each(ctx, cfg, func(_, key string, e lake.Entry) error {
		if *limit > 0 && shown == *limit {
			return errShown
		}
		shown++
		if *asJSON {
			return e.Write(s.out)
		}
		_, err := fmt.Fprintf(s.out, "%s\n  %s, %s: %s\n  from %s\n  %d bytes: %s\n\n", query.Printable(key), e.Stage, query.Printable(e.Source), query.Printable(e.Reason), whence(e), len(e.Data), beginning(e.Data))
		return err
	})
	switch {
	case errors.Is(err, errShown):
		if *asJSON {
			return nil
		}
		_, err = fmt.Fprintf(s.out, "There are more; --limit 0 shows all.\n")
	case err == nil && shown == 0 && !*asJSON:
		_, err = fmt.Fprintln(s.out, "Nothing is in quarantine.")
	}
	return err
}

// whence is where an entry came from, as exactly as it says.
func whence(e lake.Entry) string {
	var parts []string
	if e.Record != nil {
		parts = append(parts, fmt.Sprintf("topic %s, partition %d, offset %d", e.Record.Topic, e.Record.Partition, e.Record.Offset))
	}
	if e.Stream != nil {
		parts = append(parts, fmt.Sprintf("stream %q, item %d", e.Stream.Stream, e.Stream.Seq))
	}
	if e.Origin != "" {
		parts = append(parts, query.Printable(strings.TrimSuffix(e.Origin+", "+e.Position, ", ")))
	}
	return cmp.Or(strings.Join(parts, "; "), "a place that it does not say")
}

// beginning is the first of the data that a terminal can show.
func beginning(data []byte) string {
	const most = 500
	short := data[:min(len(data), most)]
	for len(short) < len(data) && len(short) > 0 && !utf8.RuneStart(data[len(short)]) {
		short = short[:len(short)-1]
	}
	text := query.Printable(string(short))
	if !utf8.Valid(short) {
		text = fmt.Sprintf("%q", short)
	}
	if len(short) < len(data) {
		text += " ..."
	}
	return text
}

// runQuarantineReplay makes the days anew whose records are in serialize's quarantine: what can be processed now, after a hint or another setting, becomes
// rows. The raw objects have everything, so nothing is copied and nothing can be doubled.
func runQuarantineReplay(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	h := held{stage: "serialize"}
	fs.StringVar(&h.source, "source", "", "of this source alone")
	fs.StringVar(&h.date, "date", "", "of this day alone, as 2026-07-05")
	fs.StringVar(&h.reason, "reason", "", "the days with this reason alone, up to its colon")
	cfg, err := parsePipeline(fs, args)
	if err = cmp.Or(err, h.check()); err == nil {
		err = makesTables(cfg)
	}
	if err != nil {
		return err
	}
	var days []web.SerializeRequest
	before := map[web.SerializeRequest]int64{}
	err = h.each(ctx, cfg, func(day, _ string, e lake.Entry) error {
		r := web.SerializeRequest{Source: e.Source, Date: day, Full: true}
		if before[r] == 0 {
			days = append(days, r)
		}
		before[r]++
		return nil
	})
	if err == nil && len(days) == 0 {
		_, err = fmt.Fprintln(s.out, "Nothing of these is in serialize's quarantine.")
	}
	var failed []error
	for _, r := range days {
		got, err := serializeThere(ctx, cfg, r, s)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		fmt.Fprintf(s.out, "%s %s: %d records were in quarantine, %d are; %d rows\n", query.Printable(r.Source), r.Date, before[r], got.Quarantined, got.Rows)
	}
	return errors.Join(append(failed, err)...)
}
