package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"headwater/envelope"
	"headwater/internal/config"
	"headwater/kafka"
	"headwater/query"
	"headwater/schema"
	schemaledger "headwater/schema/ledger"
	"headwater/serialize"
	"headwater/table"
)

// ledgerOf is a source's ledger, opened for a command.
type ledgerOf struct {
	*serialize.Schema
	source string
	topic  string
	z      *serialize.Serializer
	layers layers
}

// openLedger opens the ledger of the source that a command names. It dials nothing but the stores, and any process may have them: a change is made
// by a conditional write.
func openLedger(ctx context.Context, cfg *config.Pipeline, source string, s streams) (*ledgerOf, error) {
	topic := source + "_raw" // of a topic without a source
	if i := slices.IndexFunc(cfg.Sources, func(x config.Source) bool { return x.Name == source }); i >= 0 {
		topic = cfg.Sources[i].Topic
	} else if kafka.SourceOf(topic) != source {
		return nil, usagef("the pipeline has no source %q: it has %s", source, names(cfg.Sources))
	}
	job := newPipeline(cfg, parts{}, s.log).jobOf(topic, table.Day{})
	l, err := openLayers(ctx, cfg, true, s.log)
	if err != nil {
		return nil, err
	}
	z := serialize.New(serialize.Options{
		Config: cfg.Serialize, Raw: l.raw, Tables: l.tables, Catalog: l.catalog, TopicsDir: cfg.Land.TopicsDir, Location: cfg.Location, Logger: s.log,
	})
	opened, err := z.Schema(job)
	if err != nil {
		return nil, errors.Join(usageError{err.Error()}, l.close())
	}
	return &ledgerOf{Schema: opened, source: source, topic: job.Topic, z: z, layers: l}, nil
}

func (l *ledgerOf) close() error { return l.layers.close() }

// version is the one of that number, the head if it is 0. Without any there is nothing to show.
func (l *ledgerOf) version(ctx context.Context, number int) (*schemaledger.Version, error) {
	if number != 0 {
		v, err := l.Log.Read(ctx, number)
		if errors.Is(err, schemaledger.ErrNoVersion) {
			return nil, usageError{err.Error()}
		}
		return v, err
	}
	v, err := l.Log.Head(ctx)
	if err == nil && v.Number == 0 {
		return nil, usagef("%s has no schema yet: it gets one with the first day that is serialized", l.source)
	}
	return v, err
}

// schemaColumn is a column of the flat table as the commands show it.
type schemaColumn struct {
	Column string `json:"column"`
	Type   string `json:"type"`
	// Since is the version that has it first, Pin the type that a person has given it, Waiting and Refused what does not come into it.
	Since   int         `json:"since,omitempty"`
	Pin     string      `json:"pin,omitempty"`
	Waiting schema.Seen `json:"waiting,omitempty"`
	Refused schema.Seen `json:"refused,omitempty"`
}

// columns are those of the flat table in a version, and the places without a column whose values wait or are refused.
func (l *ledgerOf) columns(v *schemaledger.Version) (out []schemaColumn) {
	_, flat := l.Tables(v)
	nodes := nodesOf(v)
	shown := map[*schemaledger.Node]bool{}
	for _, f := range flat.Fields {
		c := schemaColumn{Column: f.Name, Type: f.Type.String()}
		if n := nodes[f.Name]; n != nil {
			c.Since, c.Pin, c.Waiting, c.Refused = since(v, n), n.Pin, n.Waiting, n.Refused
			shown[n] = true
		}
		out = append(out, c)
	}
	for path, n := range v.All() {
		if n.Waiting|n.Refused != 0 && !shown[n] {
			out = append(out, schemaColumn{Column: path, Since: since(v, n), Pin: n.Pin, Waiting: n.Waiting, Refused: n.Refused})
		}
	}
	slices.SortStableFunc(out[len(flat.Fields):], func(a, b schemaColumn) int { return cmp.Compare(a.Column, b.Column) })
	return out
}

// nodesOf has the places of the flat table's columns, by their names.
func nodesOf(v *schemaledger.Version) map[string]*schemaledger.Node {
	all := map[string]*schemaledger.Node{}
	var walk func(n *schemaledger.Node, place string)
	walk = func(n *schemaledger.Node, place string) {
		if column, found := v.FlatNames[place]; found {
			all[column] = n
		}
		for name, f := range n.Fields {
			walk(f, schema.Place(place, name))
		}
	}
	if data := v.Record.Fields[envelope.KeyRawData]; data != nil {
		walk(data, "")
	}
	return all
}

// since is the first version that has something of the place or what is below it.
func since(v *schemaledger.Version, n *schemaledger.Node) (first int) {
	for kind, i := range n.First {
		if in := v.Places[i].Since; kind != schema.SeenNull.String() && (first == 0 || in < first) {
			first = in
		}
	}
	return first
}

func runSchemaShow(ctx context.Context, fs *flag.FlagSet, args []string, s streams) (err error) {
	number := fs.Int("version", 0, "show this version; the last if it is not given")
	asJSON := fs.Bool("json", false, "print a JSON object for each column")
	l, _, err := parseLedger(ctx, fs, args, s, "FILE", "SOURCE")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	v, err := l.version(ctx, *number)
	if err != nil {
		return err
	}
	columns := l.columns(v)
	if *asJSON {
		return jsonLines(s.out, columns)
	}
	fmt.Fprintf(s.out, "%s, version %d of %s, by %s\n\n", l.Log.Table, v.Number, v.At.Format(versionTime), query.Printable(v.By))
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COLUMN\tTYPE\tSINCE\t")
	for _, c := range columns {
		since := ""
		if c.Since > 0 {
			since = fmt.Sprintf("v%d", c.Since)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", query.Printable(c.Column), cmp.Or(c.Type, "none"), since, noteOf(c))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if slices.ContainsFunc(columns, func(c schemaColumn) bool { return c.Waiting != 0 }) {
		fmt.Fprintf(s.out, "\nWhat waits is in the column %s. To have it in the columns: headwater schema approve FILE %s [FIELD]\n", schema.Rescued, l.source)
	}
	return nil
}

// versionTime is how a version's time is shown.
const versionTime = "2006-01-02 15:04:05Z07:00"

func noteOf(c schemaColumn) string {
	var notes []string
	if c.Pin != "" {
		notes = append(notes, "pinned: "+c.Pin)
	}
	if c.Waiting != 0 {
		notes = append(notes, "waits for approval: "+c.Waiting.String())
	}
	if c.Refused != 0 {
		notes = append(notes, "refused: "+c.Refused.String())
	}
	return strings.Join(notes, "; ")
}

// parseLedger reads the command line of a command on the ledger of a source, whose first two operands are FILE and SOURCE.
func parseLedger(ctx context.Context, fs *flag.FlagSet, args []string, s streams, operands ...string) (*ledgerOf, []string, error) {
	got, err := parse(fs, args, operands...)
	if err != nil {
		return nil, nil, err
	}
	cfg, err := load(got[0])
	if err != nil {
		return nil, nil, err
	}
	l, err := openLedger(ctx, cfg, got[1], s)
	return l, got, err
}

func runSchemaDiff(ctx context.Context, fs *flag.FlagSet, args []string, s streams) (err error) {
	from := fs.Int("from", 0, "the older version; the one before --to if it is not given")
	to := fs.Int("to", 0, "the newer version; the last if it is not given")
	l, _, err := parseLedger(ctx, fs, args, s, "FILE", "SOURCE")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	newer, err := l.version(ctx, *to)
	if err != nil {
		return err
	}
	older := &schemaledger.Version{Record: &schemaledger.Node{}}
	if n := cmp.Or(*from, newer.Number-1); n > 0 {
		if older, err = l.version(ctx, n); err != nil {
			return err
		}
	}
	before, after := byColumn(l.columns(older)), byColumn(l.columns(newer))
	if older.Number == 0 {
		before = nil
	}
	fmt.Fprintf(s.out, "%s, version %d to %d (%s, by %s)\n", l.Log.Table, older.Number, newer.Number, newer.At.Format(versionTime), query.Printable(newer.By))
	same := true
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after))...)))) {
		b, hadIt := before[name]
		a, hasIt := after[name]
		shown := query.Printable(name)
		switch {
		case !hadIt:
			fmt.Fprintf(s.out, "+ %s %s %s\n", shown, cmp.Or(a.Type, "none"), noteOf(a))
		case !hasIt:
			fmt.Fprintf(s.out, "- %s %s %s\n", shown, cmp.Or(b.Type, "none"), noteOf(b))
		case a.Type != b.Type || noteOf(a) != noteOf(b):
			fmt.Fprintf(s.out, "~ %s %s %s -> %s %s\n", shown, cmp.Or(b.Type, "none"), noteOf(b), cmp.Or(a.Type, "none"), noteOf(a))
		default:
			continue
		}
		same = false
	}
	if same {
		fmt.Fprintln(s.out, "The columns are the same.")
	}
	return nil
}

func byColumn(all []schemaColumn) map[string]schemaColumn {
	out := map[string]schemaColumn{}
	for _, c := range all {
		out[c.Column] = c
	}
	return out
}

// fieldOf is the place that a command names: as a place, or as a column of the flat table.
func fieldOf(v *schemaledger.Version, field string) (path string, n *schemaledger.Node, err error) {
	if n = v.Find(field); n == nil {
		n = nodesOf(v)[field]
	}
	if n == nil {
		return "", nil, usagef("%s: %v; headwater schema show names its columns, and a place is spelled as items[].price", field, schemaledger.ErrNoField)
	}
	for path, other := range v.All() {
		if other == n {
			return path, n, nil
		}
	}
	return field, n, nil
}

func runSchemaExplain(ctx context.Context, fs *flag.FlagSet, args []string, s streams) (err error) {
	date := fs.String("date", "", "count the kinds of value of this day, as 2026-07-05; the last that has objects if it is not given")
	asJSON := fs.Bool("json", false, "print what is known as JSON")
	l, operands, err := parseLedger(ctx, fs, args, s, "FILE", "SOURCE", "FIELD")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	v, err := l.version(ctx, 0)
	if err != nil {
		return err
	}
	path, n, err := fieldOf(v, operands[2])
	if err != nil {
		return err
	}
	day, err := l.day(ctx, *date)
	if err != nil {
		return err
	}
	counts, examples, err := l.countKinds(ctx, day, path)
	if err != nil {
		return err
	}
	typ := n.Type().String()
	if *asJSON {
		return json.NewEncoder(s.out).Encode(struct {
			Field    string              `json:"field"`
			Type     string              `json:"type"`
			Place    *schemaledger.Node  `json:"place"`
			Day      string              `json:"day"`
			Counts   map[string]int64    `json:"counts"`
			Examples map[string][]string `json:"examples"`
		}{path, typ, n, day, counts, examples})
	}
	fmt.Fprintf(s.out, "%s of %s: %s\n", query.Printable(path), l.Log.Table, typ)
	if note := noteOf(schemaColumn{Pin: n.Pin, Waiting: n.Waiting, Refused: n.Refused}); note != "" {
		fmt.Fprintln(s.out, note)
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nKIND\tSINCE\tFIRST DAY\tFIRST SEEN IN\tRECORD\tOFFSET\tON %s\tAS\n", cmp.Or(day, "NO DAY"))
	for _, kind := range slices.SortedFunc(maps.Keys(n.First), func(a, b string) int { return cmp.Or(n.First[a]-n.First[b], cmp.Compare(a, b)) }) {
		p := v.Places[n.First[kind]]
		offset := "unknown"
		if p.Offset >= 0 {
			offset = fmt.Sprint(p.Offset)
		}
		fmt.Fprintf(t, "%s\tv%d\t%s\t%s\t%d\t%s\t%d\t%s\n", kind, p.Since, p.Day, query.Printable(p.Object), p.Record, offset, counts[kind], query.Printable(strings.Join(examples[kind], " ")))
	}
	return t.Flush()
}

// day is the one that a command names, or the last that has objects, empty if there is none.
func (l *ledgerOf) day(ctx context.Context, date string) (string, error) {
	if date != "" {
		day, err := table.ParseDay(date)
		if err != nil {
			return "", usageError{err.Error()}
		}
		return day.String(), nil
	}
	days, err := l.z.Days(ctx, l.topic)
	if err != nil || len(days) == 0 {
		return "", err
	}
	return days[len(days)-1].String(), nil
}

// examplesShown is how many different values of each kind a command shows, and exampleBytes how much of each.
const (
	examplesShown = 3
	exampleBytes  = 60
)

// countKinds reads a day's records for what is at a place.
func (l *ledgerOf) countKinds(ctx context.Context, day, path string) (counts map[string]int64, examples map[string][]string, err error) {
	counts, examples = map[string]int64{}, map[string][]string{}
	err = l.eachRecord(ctx, day, func(document, whole json.RawMessage) {
		all := schema.Values(document, path)
		if len(all) == 0 {
			all = schema.Values(whole, path)
		}
		for _, value := range all {
			kind := schema.SeenOf(value).String()
			counts[kind]++
			text := string(bytes.ToValidUTF8(value[:min(len(value), exampleBytes)], nil))
			if e := examples[kind]; len(e) < examplesShown && !slices.Contains(e, text) {
				examples[kind] = append(e, text)
			}
		}
	})
	return counts, examples, err
}

// eachRecord gives the raw_data of each record of a day, and the whole record.
func (l *ledgerOf) eachRecord(ctx context.Context, day string, do func(document, whole json.RawMessage)) error {
	if day == "" {
		return nil
	}
	d, err := table.ParseDay(day)
	if err != nil {
		return err
	}
	for r, err := range l.Records(ctx, d) {
		if err != nil {
			return err
		}
		var record struct {
			RawData json.RawMessage `json:"raw_data"`
		}
		if json.Unmarshal(r.Value, &record) == nil && record.RawData != nil {
			do(record.RawData, r.Value)
		}
	}
	return nil
}

func runSchemaPin(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return changeLedger(ctx, fs, args, s, []string{"FILE", "SOURCE", "FIELD", "TYPE"}, func(l *ledgerOf, operands []string) (string, ledgerChange) {
		hint := operands[3]
		if hint == "none" {
			hint = ""
		}
		return "schema pin " + operands[2] + " " + operands[3], func(v *schemaledger.Version, touched schemaledger.Touched) error {
			path, _, err := fieldOf(v, operands[2])
			if err != nil {
				return err
			}
			if err := v.Pin(path, hint, touched); err != nil {
				return usageError{err.Error()}
			}
			return nil
		}
	})
}

func runSchemaApprove(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	operands := []string{"FILE", "SOURCE"}
	if got, err := gather(fs, args); err == nil && len(got) > 2 {
		operands = append(operands, "FIELD")
	}
	return changeLedger(ctx, fs, args, s, operands, func(l *ledgerOf, operands []string) (string, ledgerChange) {
		field := ""
		if len(operands) > 2 {
			field = operands[2]
		}
		return strings.TrimSpace("schema approve " + field), func(v *schemaledger.Version, touched schemaledger.Touched) error {
			path := field
			if field != "" {
				var err error
				if path, _, err = fieldOf(v, field); err != nil {
					return err
				}
			}
			if _, err := v.Approve(path, touched); errors.Is(err, schemaledger.ErrNoField) {
				return usageError{err.Error()}
			} else if err != nil {
				return err
			}
			return nil
		}
	})
}

func runSchemaRevert(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	to := fs.Int("to", 0, "the version whose types the columns shall have again")
	quarantine := fs.Bool("quarantine-offending", false, "send the records that do not fit to quarantine; without it their odd values go to "+schema.Rescued)
	return changeLedger(ctx, fs, args, s, []string{"FILE", "SOURCE"}, func(l *ledgerOf, _ []string) (string, ledgerChange) {
		return fmt.Sprintf("schema revert to v%d", *to), func(v *schemaledger.Version, touched schemaledger.Touched) error {
			if *to <= 0 || *to >= v.Number {
				return usagef("--to must be a version before the last, v%d", v.Number)
			}
			older, err := l.version(ctx, *to)
			if err != nil {
				return err
			}
			return v.Revert(older, *quarantine, touched)
		}
	})
}

type ledgerChange func(v *schemaledger.Version, touched schemaledger.Touched) error

// changeLedger is a command that makes a change, and says what comes of it.
func changeLedger(ctx context.Context, fs *flag.FlagSet, args []string, s streams, operands []string, make func(l *ledgerOf, operands []string) (by string, change ledgerChange)) (err error) {
	l, got, err := parseLedger(ctx, fs, args, s, operands...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	by, change := make(l, got)
	if _, err := l.version(ctx, 0); err != nil {
		return err
	}
	var days []string
	v, err := l.Change(ctx, by, func(v *schemaledger.Version, touched schemaledger.Touched) error {
		return change(v, func(t schema.Type) (_ []string, err error) {
			days, err = touched(t)
			return days, err
		})
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s is at version %d now.\n", l.Log.Table, v.Number)
	if len(days) > 0 {
		slices.Sort(days)
		fmt.Fprintf(s.out, "%d days have columns of other types and are rewritten by the next run: %s\n", len(days), strings.Join(days, " "))
	}
	return nil
}

func runSchemaSuggest(ctx context.Context, fs *flag.FlagSet, args []string, s streams) (err error) {
	date := fs.String("date", "", "look at the values of this day, as 2026-07-05; the last that has objects if it is not given")
	l, _, err := parseLedger(ctx, fs, args, s, "FILE", "SOURCE")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	v, err := l.version(ctx, 0)
	if err != nil {
		return err
	}
	day, err := l.day(ctx, *date)
	if err != nil {
		return err
	}
	guesses := map[string]*schema.Guess{}
	data := v.Evidence().Fields[envelope.KeyRawData]
	for path, n := range v.All() {
		if k := n.Kind(); n.Pin == "" && (k == schema.String || k == schema.Long) && data.Find(path) != nil {
			guesses[path] = &schema.Guess{}
		}
	}
	if err := l.eachRecord(ctx, day, func(document, _ json.RawMessage) {
		for path, g := range guesses {
			for _, value := range schema.Values(document, path) {
				g.Add(value)
			}
		}
	}); err != nil {
		return err
	}
	var lines []string
	for _, path := range slices.Sorted(maps.Keys(guesses)) {
		if hint, values := guesses[path].Hint(); hint != "" {
			key, err := json.Marshal(path)
			if err != nil {
				return err
			}
			lines = append(lines, fmt.Sprintf("        %s: %s # all of %d values", key, hint, values))
		}
	}
	if len(lines) == 0 {
		fmt.Fprintf(s.out, "No text or number of %s %s looks like something narrower.\n", l.source, day)
		return nil
	}
	fmt.Fprintf(s.out, "sources:\n  %s:\n    schema:\n      hints:\n%s\n", l.source, strings.Join(lines, "\n"))
	return nil
}
