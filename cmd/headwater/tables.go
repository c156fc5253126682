package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"headwater/internal/config"
	"headwater/internal/setting"
	"headwater/internal/state"
	"headwater/internal/web"
	"headwater/table"
)

// tableName reads database.table, or a table of the pipeline's own database.
func tableName(cfg *config.Pipeline, text string) (table.Name, error) {
	database, name, found := strings.Cut(text, ".")
	if !found {
		database, name = cfg.Database, text
	}
	if database == "" || name == "" || strings.Trim(database+name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return table.Name{}, usagef("TABLE must be as orders or shop.orders, got %q", text)
	}
	return table.Name{Database: database, Table: name}, nil
}

// runTablesLs lists the tables as their files are.
func runTablesLs(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print a JSON object for each table")
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	all, err := tablesOf(ctx, cfg)
	if err != nil {
		return err
	}
	if *asJSON {
		return jsonLines(s.out, all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(s.out, "There are no tables yet.")
		return err
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	printTableCounts(t, all)
	return t.Flush()
}

// shownTable is a table as tables show prints it.
type shownTable struct {
	Table   string        `json:"table"`
	Columns []shownColumn `json:"columns"`
	Days    []shownDay    `json:"days"`
}

type shownColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// shownDay is a day of it; Fault says why it cannot be read.
type shownDay struct {
	Day         string `json:"day"`
	Rows        int64  `json:"rows"`
	Quarantined int64  `json:"quarantined"`
	Bytes       int64  `json:"bytes"`
	Files       int    `json:"files"`
	// State is open, whole or undone: one that a roll-back has brought back.
	State         string `json:"state,omitempty"`
	Objects       int    `json:"objects"`
	SchemaVersion int    `json:"schema_version"`
	Engine        string `json:"engine,omitempty"`
	Run           string `json:"run,omitempty"`
	Key           string `json:"key,omitempty"`
	Fault         string `json:"fault,omitempty"`
}

// runTablesShow shows a table's columns and days.
func runTablesShow(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print it as JSON")
	operands, err := parse(fs, args, "FILE", "TABLE")
	if err != nil {
		return err
	}
	cfg, err := load(operands[0])
	if err != nil {
		return err
	}
	n, err := tableName(cfg, operands[1])
	if err != nil {
		return err
	}
	shown, err := showTable(ctx, cfg, n)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(s.out).Encode(shown)
	}
	return printTable(s, shown)
}

func showTable(ctx context.Context, cfg *config.Pipeline, n table.Name) (shown shownTable, err error) {
	l, err := openTables(ctx, cfg)
	if err != nil {
		return shown, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	t, err := l.catalog.Table(ctx, n)
	if errors.Is(err, table.ErrNotExist) {
		return shown, usagef("there is no table %s: headwater tables ls names those that there are", n)
	}
	if err != nil {
		return shown, err
	}
	shown.Table = n.String()
	for _, f := range t.Schema.Fields {
		shown.Columns = append(shown.Columns, shownColumn{f.Name, f.Type.String()})
	}
	days, err := table.Days(ctx, l.tables, n)
	if err != nil {
		return shown, err
	}
	err = table.LookDays(ctx, l.tables, n, days, func(d table.Day, h table.Held, err error) error {
		shown.Days = append(shown.Days, showDay(d, h, err))
		return ctx.Err()
	})
	slices.SortFunc(shown.Days, func(a, b shownDay) int { return cmp.Compare(a.Day, b.Day) })
	return shown, err
}

func showDay(d table.Day, h table.Held, fault error) shownDay {
	day := shownDay{Day: d.String()}
	files := h.Files()
	if fault != nil {
		day.Fault = oneLine(fault.Error())
		return day
	}
	if len(files) == 0 {
		day.Fault = "there is nothing to read, only what was left behind"
		return day
	}
	p := table.PartitionOf(d, files...)
	day.Bytes, day.Files, day.Key, day.Run = p.Bytes, p.Files, p.Key, p.Run
	day.Rows, day.Quarantined = h.Rows()
	f := files[0].Footer
	day.Engine, day.SchemaVersion, day.State = f.Engine, f.SchemaVersion, h.State()
	day.Objects = len(f.Inputs)
	if len(h.Open) > 0 { // each of which has objects of its own
		day.Objects = 0
	}
	for _, file := range h.Open {
		day.Objects += len(file.Footer.Inputs)
	}
	return day
}

func printTable(s streams, shown shownTable) error {
	fmt.Fprintf(s.out, "%s, %d columns besides year, month and day, %d days\n\n", shown.Table, len(shown.Columns), len(shown.Days))
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COLUMN\tTYPE")
	for _, c := range shown.Columns {
		fmt.Fprintf(t, "%s\t%s\n", c.Name, c.Type)
	}
	fmt.Fprintln(t, "\t\nDAY\tROWS\tQUARANTINED\tOBJECTS\tFILES\tSIZE\tSTATE\tSCHEMA\tENGINE\tFIRST FILE")
	for _, d := range shown.Days {
		if d.Fault != "" {
			fmt.Fprintf(t, "%s\t\t\t\t\t\t%s\n", d.Day, d.Fault)
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\t%s\tv%d\t%s\t%s\n", d.Day, d.Rows, d.Quarantined, d.Objects, d.Files, setting.Bytes(d.Bytes).Rounded(), d.State, d.SchemaVersion, d.Engine, d.Key)
	}
	return t.Flush()
}

// parseTables reads the command line of a command on tables whose second operand names one, and may be left out if all is meant then.
func parseTables(fs *flag.FlagSet, args []string, all bool) (*config.Pipeline, string, error) {
	got, err := gather(fs, args)
	if err != nil {
		return nil, "", err
	}
	if !all || len(got) != 1 {
		if got, err = parse(fs, args, "FILE", "TABLE"); err != nil {
			return nil, "", err
		}
	}
	cfg, err := load(got[0])
	if err == nil {
		err = makesTables(cfg)
	}
	if err != nil || len(got) == 1 {
		return cfg, "", err
	}
	n, err := tableName(cfg, got[1])
	return cfg, n.String(), err
}

// tablesThere has the process that holds the data folder look after the tables, or does it in this one if there is none.
func tablesThere(ctx context.Context, cfg *config.Pipeline, r web.TablesRequest, s streams) (web.TablesResult, error) {
	if running, ok := state.Find(ctx, cfg.DataDir); ok {
		return door(running).Tables(ctx, r)
	}
	return withTables(ctx, cfg, s, func(p *pipeline) (web.TablesResult, error) { return p.Tables(ctx, r) })
}

// errFound ends an audit that has found what must be looked after.
var errFound = errors.New("there is something to look after")

// runTablesAudit compares files, metastore and schema ledger.
func runTablesAudit(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return auditTables(ctx, fs, args, s, "audit")
}

// runTablesRepair has the metastore say what the files say.
func runTablesRepair(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return auditTables(ctx, fs, args, s, "repair")
}

func auditTables(ctx context.Context, fs *flag.FlagSet, args []string, s streams, do string) error {
	asJSON := fs.Bool("json", false, "print a JSON object for each table")
	cfg, name, err := parseTables(fs, args, true)
	if err != nil {
		return err
	}
	result, err := tablesThere(ctx, cfg, web.TablesRequest{Do: do, Table: name}, s)
	if err != nil {
		return err
	}
	left := false
	for _, r := range result.Reports {
		if *asJSON {
			err = errors.Join(err, json.NewEncoder(s.out).Encode(r))
		} else {
			printReport(s, r)
		}
		left = left || slices.ContainsFunc(r.Findings, func(f web.TableFinding) bool {
			return f.Kind != table.FoundRetired && !(r.Mended && table.Mends(f.Kind))
		})
	}
	if err == nil && left {
		return reported{errFound}
	}
	return err
}

func printReport(s streams, r web.TableReport) {
	fmt.Fprintf(s.out, "%s: %d days, %d rows, %s\n", r.Table, r.Days, r.Rows, setting.Bytes(r.Bytes).Rounded())
	for _, f := range r.Findings {
		mended := ""
		if r.Mended && table.Mends(f.Kind) {
			mended = " (mended)"
		}
		fmt.Fprintf(s.out, "  %s %s: %s%s\n", f.Day, f.Kind, oneLine(f.Text), mended)
	}
}

// runTablesRollback has readers read a day's version before.
func runTablesRollback(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	r := web.TablesRequest{Do: "rollback"}
	fs.StringVar(&r.Date, "day", "", "the day, as 2026-07-05")
	cfg, name, err := parseTables(fs, args, false)
	if err != nil {
		return err
	}
	if _, err := table.ParseDay(r.Date); err != nil {
		return usagef("--day is needed: %v", err)
	}
	r.Table = name
	result, err := tablesThere(ctx, cfg, r, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s %s: read are %d rows again, of run %.12s\n", name, r.Date, result.Rows, result.Run)
	return nil
}

// runTablesDrop deletes a table.
func runTablesDrop(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	r := web.TablesRequest{Do: "drop"}
	fs.BoolVar(&r.Schema, "schema", false, "forget the schema ledger of the source too, of which it is the flat table")
	yes := fs.Bool("yes", false, "do it: what is deleted can be made again only of raw objects that are still there")
	cfg, name, err := parseTables(fs, args, false)
	if err != nil {
		return err
	}
	if !*yes {
		return usagef("tables drop deletes the files of %s and takes it out of the metastore: add --yes; headwater tables show says what it has", name)
	}
	r.Table = name
	result, err := tablesThere(ctx, cfg, r, s)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s is dropped, with %d objects of %s; what raw objects there are is made into it again by the next serialize of its source\n", name, result.Objects, setting.Bytes(result.Bytes).Rounded())
	return nil
}
