package main

import (
	"context"
	"errors"
	"fmt"

	"headwater/internal/web"
	"headwater/lake"
	"headwater/schema"
	schemaledger "headwater/schema/ledger"
	"headwater/table"
)

// Tables implements web.API.
func (p *pipeline) Tables(ctx context.Context, r web.TablesRequest) (web.TablesResult, error) {
	end, err := p.turn(ctx) // what a job is about to register must not be taken for missing
	if err != nil {
		return web.TablesResult{}, err
	}
	defer end()
	if r.Do == "adopt" || r.Do == "release" {
		return p.handTables(ctx, r)
	}
	if r.Table == "" && (r.Do == "audit" || r.Do == "repair") {
		return p.auditTables(ctx, r.Do == "repair")
	}
	n, err := tableName(p.cfg, r.Table)
	if err != nil {
		return web.TablesResult{}, err
	}
	switch r.Do {
	case "audit", "repair":
		return p.auditTables(ctx, r.Do == "repair", n)
	case "rollback":
		return p.rollback(ctx, n, r.Date)
	case "drop":
		return p.drop(ctx, n, r.Schema)
	}
	return web.TablesResult{}, usagef("do must be audit, repair, rollback, drop, adopt or release, got %q", r.Do)
}

// auditTables looks at the tables of these names, or at all.
func (p *pipeline) auditTables(ctx context.Context, repair bool, names ...table.Name) (result web.TablesResult, err error) {
	all := len(names) == 0
	if all {
		if names, err = p.tableNames(ctx); err != nil {
			return result, err
		}
	}
	types, err := p.tableTypes(ctx)
	if err != nil {
		return result, err
	}
	for _, n := range names {
		found, err := table.Audit(ctx, p.layers.tables, p.catalog.hive, n, types[n])
		if err != nil {
			return result, err
		}
		if !all && found.Days == 0 && len(found.Findings) == 0 {
			return result, usagef("there is no table %s: headwater tables ls names those that there are", n)
		}
		report := reportOf(found)
		if repair && found.Mendable() {
			p.catalog.distrust()
			if err := found.Repair(ctx, p.catalog); err != nil {
				return result, fmt.Errorf("repairing %s: %w", n, err)
			}
			report.Mended = true
		}
		result.Reports = append(result.Reports, report)
	}
	return result, nil
}

func reportOf(r *table.Report) web.TableReport {
	out := web.TableReport{Table: r.Name.String(), Days: r.Days, Rows: r.Rows, Bytes: r.Bytes, Findings: []web.TableFinding{}}
	for _, f := range r.Findings {
		out.Findings = append(out.Findings, web.TableFinding{Kind: f.Kind, Day: f.Day.String(), Text: f.Text})
	}
	return out
}

// tableNames are those of the tables that there are files of, or that are registered.
func (p *pipeline) tableNames(ctx context.Context) (names []table.Name, err error) {
	seen := map[table.Name]bool{}
	for _, c := range []table.Catalog{p.layers.catalog, p.catalog.hive} {
		all, err := c.Tables(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			if !seen[t.Name] {
				names = append(names, t.Name)
			}
			seen[t.Name] = true
		}
	}
	return names, nil
}

// tableTypes are the columns that the sources' ledgers give the tables; a table whose days stand alone has none.
func (p *pipeline) tableTypes(ctx context.Context) (map[table.Name]schema.Type, error) {
	types := map[table.Name]schema.Type{}
	for _, source := range p.sources().configured {
		job := p.jobOf(source.Topic, table.Day{})
		ledger, err := p.serializer.Schema(job)
		if err != nil {
			continue // it has no ledger by its configuration
		}
		head, err := ledger.Log.Head(ctx)
		if err != nil {
			return nil, err
		}
		if head.Number > 0 {
			types[job.Raw], types[job.Flat] = ledger.Tables(head)
		}
	}
	return types, nil
}

func (p *pipeline) rollback(ctx context.Context, n table.Name, date string) (web.TablesResult, error) {
	day, err := table.ParseDay(date)
	if err != nil {
		return web.TablesResult{}, usageError{err.Error()}
	}
	c, err := table.Rollback(ctx, p.layers.tables, p.catalog, n, day)
	if err == nil {
		err = p.noteRollback(ctx, n, day)
	}
	return web.TablesResult{Rows: c.Footer.Rows, Run: c.Footer.Run}, err
}

// drop takes a table out of the metastore first, so that no reader is told of files that are about to go.
func (p *pipeline) drop(ctx context.Context, n table.Name, ledger bool) (result web.TablesResult, err error) {
	if _, adopted := p.layers.adopted.Layout(n); adopted {
		return result, usagef("%s was made by another job and adopted: headwater tables release gives it back", n)
	}
	if err := p.catalog.Drop(ctx, n); err != nil && !errors.Is(err, table.ErrNotExist) {
		return result, fmt.Errorf("taking %s out of the metastore: %w", n, err)
	}
	prefix := n.Database + "/" + n.Table + "/"
	for o, err := range p.layers.tables.List(ctx, prefix, "") {
		if err == nil {
			err = p.layers.tables.Delete(ctx, o.Key)
		}
		if err != nil && !errors.Is(err, lake.ErrNotExist) {
			return result, fmt.Errorf("%s is out of the metastore and not all of its files are deleted, run it again: %w", n, err)
		}
		result.Objects, result.Bytes = result.Objects+1, result.Bytes+o.Size
	}
	if err := table.Uncomplete(ctx, p.layers.tables, n); err != nil || !ledger {
		return result, err
	}
	return result, schemaledger.Log{Store: p.layers.tables, Table: n.String()}.Forget(ctx)
}
