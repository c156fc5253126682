package main

import (
	"context"
	"errors"
	"time"

	"headwater/serialize"
	"headwater/table"
	"headwater/table/days"
)

// daysTable is the table that says what the others have; false if the pipeline keeps none.
func (p *pipeline) daysTable() (days.Table, bool) {
	n := table.Name{Database: p.cfg.Database, Table: p.cfg.Serialize.DaysTable}
	return days.Table{Tables: p.layers.tables, Catalog: p.catalog, Name: n}, n.Table != ""
}

// noteDay enters what became of a run. It is not the run that fails if that cannot be noted.
func (p *pipeline) noteDay(ctx context.Context, job serialize.Job, failed error) {
	t, kept := p.daysTable()
	if !kept {
		return
	}
	if errors.Is(failed, table.ErrUnregistered) {
		failed = nil // it is published; what the metastore lacks is told by an audit
	}
	var rows []days.Row
	var errs error
	for _, n := range []table.Name{job.Raw, job.Flat} {
		if failed != nil {
			rows = append(rows, days.Row{Table: n.String(), State: days.Failed, Reason: oneLine(failed.Error())})
			continue
		}
		h, err := table.LookDay(ctx, p.layers.tables, n, job.Day)
		errs = errors.Join(errs, err)
		rows = append(rows, days.Of(n, job.Day, h, time.Now()))
	}
	if errs == nil {
		errs = t.Note(ctx, job.Day, rows...)
	}
	if errs != nil && ctx.Err() == nil {
		p.log.Warn("what became of a day could not be noted", "source", job.Source, "day", job.Day, "table", t.Name, "error", errs)
	}
}

// noteRollback enters that a day was rolled back.
func (p *pipeline) noteRollback(ctx context.Context, n table.Name, d table.Day) error {
	t, kept := p.daysTable()
	if !kept {
		return nil
	}
	h, err := table.LookDay(ctx, p.layers.tables, n, d)
	if err != nil {
		return err
	}
	return t.Note(ctx, d, days.Of(n, d, h, time.Now()))
}
