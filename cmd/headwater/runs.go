package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"headwater/internal/config"
	"headwater/internal/retry"
	"headwater/internal/runs"
	"headwater/internal/state"
	"headwater/internal/web"
)

// asks is who answers requests about runs: another process, or this one.
type asks func(context.Context, web.RunsRequest) (web.RunsResult, error)

// runsThere asks the running process or, without one, the database.
func runsThere(ctx context.Context, cfg *config.Pipeline, r web.RunsRequest) (result web.RunsResult, err error) {
	if running, ok := state.Find(ctx, cfg.DataDir); ok {
		return door(running).Runs(ctx, r)
	}
	where, release, err := lockedState(cfg)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, release()) }()
	store, err := runs.Open(ctx, where, cfg.Database, "", cfg.Serialize.Lease)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	known := func(source string) error {
		if slices.ContainsFunc(cfg.Sources, func(s config.Source) bool { return s.Name == source }) {
			return nil
		}
		return usagef("the pipeline has no source %q", source)
	}
	return runsDoor{store: store, known: known}.do(ctx, r)
}

// parseRun reads the command line of a command on one run.
func parseRun(fs *flag.FlagSet, args []string) (*config.Pipeline, int64, error) {
	operands, err := parse(fs, args, "FILE", "RUN")
	if err != nil {
		return nil, 0, err
	}
	id, err := strconv.ParseInt(operands[1], 10, 64)
	if err != nil || id < 1 {
		return nil, 0, usagef("RUN must be the number of a run, as headwater runs ls shows it, got %q", operands[1])
	}
	cfg, err := load(operands[0])
	return cfg, id, err
}

// runRunsLs lists runs.
func runRunsLs(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	r := web.RunsRequest{Do: "ls"}
	fs.StringVar(&r.Source, "source", "", "only those of this source")
	fs.StringVar(&r.Day, "day", "", "only those of this day, as 2026-07-05")
	fs.StringVar(&r.State, "state", "", "only those that are waiting, running, done, failed or cancelled")
	fs.StringVar(&r.Batch, "batch", "", "only those of this backfill")
	fs.IntVar(&r.Limit, "limit", 50, "how many, the newest; 0 is all")
	asJSON := fs.Bool("json", false, "print a JSON object for each run")
	cfg, err := parsePipeline(fs, args)
	if err != nil {
		return err
	}
	result, err := runsThere(ctx, cfg, r)
	if err != nil {
		return err
	}
	if *asJSON {
		return jsonLines(s.out, result.Runs)
	}
	return printRunList(s.out, result.Runs)
}

func printRunList(w io.Writer, all []runs.Run) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, "There are no such runs.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RUN\tSOURCE\tDAY\tKIND\tSTATE\tATTEMPT\tBEGAN\tTOOK\tROWS\tQUARANTINED\tWHY, OR WHAT IS WRONG")
	for _, r := range all {
		began, took := "", ""
		if !r.Began.IsZero() {
			began = r.Began.Format("2006-01-02 15:04:05")
		}
		if r.Ended.After(r.Began) && !r.Began.IsZero() {
			took = r.Ended.Sub(r.Began).Round(time.Millisecond).String()
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%d\t%d\t%s\n", r.ID, r.Source, r.Day, r.Kind, r.State, r.Attempt, began, took, r.Rows, r.Quarantined,
			oneLine(cmp.Or(r.Error, r.Waits, r.Why)))
	}
	return t.Flush()
}

// ofRun has something done about the run that a command line names.
func ofRun(ctx context.Context, fs *flag.FlagSet, args []string, do string) (web.RunsResult, error) {
	cfg, id, err := parseRun(fs, args)
	if err != nil {
		return web.RunsResult{}, err
	}
	return runsThere(ctx, cfg, web.RunsRequest{Do: do, ID: id})
}

// runRunsShow shows all of a run but its log.
func runRunsShow(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print it as JSON")
	result, err := ofRun(ctx, fs, args, "show")
	if err != nil {
		return err
	}
	r := result.Runs[0]
	if *asJSON {
		return json.NewEncoder(s.out).Encode(r)
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"run", fmt.Sprint(r.ID)},
		{"source", r.Source},
		{"day", r.Day},
		{"kind", string(r.Kind)},
		{"why", r.Why},
		{"batch", r.Batch},
		{"state", string(r.State)},
		{"waits", r.Waits},
		{"attempt", fmt.Sprint(r.Attempt)},
		{"planned", moment(r.Planned)},
		{"due", moment(r.Due)},
		{"began", moment(r.Began)},
		{"ended", moment(r.Ended)},
		{"rows", fmt.Sprint(r.Rows)},
		{"quarantined", fmt.Sprint(r.Quarantined)},
		{"error", string(r.Class)},
		{"", oneLine(r.Error)},
		{"process", r.Holder},
	} {
		if line[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", line[0], line[1])
		}
	}
	return t.Flush()
}

// moment is a time for people, empty for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2006-01-02 15:04:05 MST")
}

// runRunsLogs prints what a run has said.
func runRunsLogs(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print it as JSON, with the run")
	result, err := ofRun(ctx, fs, args, "show")
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(s.out).Encode(struct {
			runs.Run
			Log string `json:"log"`
		}{result.Runs[0], result.Log})
	}
	_, err = io.WriteString(s.out, result.Log)
	return err
}

// runRunsCancel cancels a run.
func runRunsCancel(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print the run as JSON")
	result, err := ofRun(ctx, fs, args, "cancel")
	if err != nil {
		return err
	}
	r := result.Runs[0]
	switch {
	case *asJSON:
		return json.NewEncoder(s.out).Encode(r)
	case r.State == runs.Cancelled:
		fmt.Fprintf(s.out, "run %d, %s of %s, is cancelled\n", r.ID, r.Day, r.Source)
	default:
		fmt.Fprintf(s.out, "run %d, %s of %s, is told to stop; nothing more of it is published\n", r.ID, r.Day, r.Source)
	}
	return nil
}

// runRunsPause has a source's schedule rest.
func runRunsPause(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return pauseRuns(ctx, fs, args, s, "pause", "its schedule makes no more days until headwater runs resume")
}

// runRunsResume has it go on.
func runRunsResume(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	return pauseRuns(ctx, fs, args, s, "resume", "its schedule goes on, and makes up for the days that it missed the next time it is due")
}

func pauseRuns(ctx context.Context, fs *flag.FlagSet, args []string, s streams, do, said string) error {
	operands, err := parse(fs, args, "FILE", "SOURCE")
	if err != nil {
		return err
	}
	cfg, err := load(operands[0])
	if err != nil {
		return err
	}
	if _, err := runsThere(ctx, cfg, web.RunsRequest{Do: do, Source: operands[1]}); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s: %s\n", operands[1], said)
	return nil
}

// runRunsRetry makes a run's day again, and waits for it.
func runRunsRetry(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	asJSON := fs.Bool("json", false, "print the new run as JSON")
	cfg, id, err := parseRun(fs, args)
	if err == nil {
		err = makesTables(cfg)
	}
	if err != nil {
		return err
	}
	return runsDone(ctx, cfg, web.RunsRequest{Do: "retry", ID: id}, s, *asJSON)
}

// runBackfill makes the tables of a range of days, and waits for them.
func runBackfill(ctx context.Context, fs *flag.FlagSet, args []string, s streams) error {
	r := web.RunsRequest{Do: "backfill"}
	fs.StringVar(&r.From, "from", "", "the first day, as 2026-07-05")
	fs.StringVar(&r.To, "to", "", "the last day")
	fs.StringVar(&r.Source, "source", "", "only this source; all without")
	fs.BoolVar(&r.DryRun, "dry-run", false, "say which days would be made, and make none")
	asJSON := fs.Bool("json", false, "print a JSON object for each day, or for each run")
	cfg, err := parsePipeline(fs, args)
	if err == nil {
		err = makesTables(cfg)
	}
	if err == nil && (r.From == "" || r.To == "") {
		err = usagef("--from and --to are both needed")
	}
	if err != nil {
		return err
	}
	return runsDone(ctx, cfg, r, s, *asJSON)
}

// runsDone asks for runs and waits for them, in the process that has the data folder or in this one.
func runsDone(ctx context.Context, cfg *config.Pipeline, r web.RunsRequest, s streams, asJSON bool) error {
	if running, ok := state.Find(ctx, cfg.DataDir); ok {
		return followed(ctx, door(running).Runs, r, s, asJSON)
	}
	limitMemory(cfg)
	_, err := withTables(ctx, cfg, s, func(p *pipeline) (struct{}, error) {
		p.register(ctx)
		return struct{}{}, p.doneHere(ctx, r, s, asJSON)
	})
	return err
}

// doneHere is runsDone in this process, which does no other runs.
func (p *pipeline) doneHere(ctx context.Context, r web.RunsRequest, s streams, asJSON bool) error {
	var batch string
	begin := make(chan struct{})
	o := p.schedulerOptions()
	o.Wanted = func(r runs.Run) bool { return r.Batch == batch }
	p.scheduler = runs.New(o)
	working, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-begin:
			_ = p.scheduler.Run(working) // which gives no error but that it was told to stop
		case <-working.Done():
		}
	}()
	err := followed(ctx, func(ctx context.Context, r web.RunsRequest) (web.RunsResult, error) {
		if r.Do == "cancel" { // what is under way is put back first
			stop()
			<-ended
		}
		got, err := p.Runs(ctx, r)
		if got.Batch != "" {
			batch = got.Batch
			close(begin)
		}
		return got, err
	}, r, s, asJSON)
	stop()
	<-ended
	return err
}

// followed asks for runs, tells how far they are, and reports what became of them. An interruption cancels those that are left.
func followed(ctx context.Context, ask asks, r web.RunsRequest, s streams, asJSON bool) error {
	asked, err := ask(ctx, r)
	if err != nil {
		return err
	}
	if r.DryRun || asked.Batch == "" {
		return printBackfill(s.out, asked.Days, asJSON)
	}
	all, err := awaitRuns(ctx, ask, asked, s)
	if ctx.Err() != nil {
		return stopRuns(ctx, ask, asked.Batch)
	}
	if err != nil {
		return err
	}
	return reportRuns(s.out, all, len(asked.Days)-len(asked.Runs), asJSON)
}

// awaitRuns waits until none of the runs that were asked for has anything more to do.
func awaitRuns(ctx context.Context, ask asks, asked web.RunsResult, s streams) ([]runs.Run, error) {
	began, told := time.Now(), time.Time{}
	if s.screen != nil {
		defer s.screen.draw("")
	}
	for {
		got, err := ask(ctx, web.RunsRequest{Do: "ls", Batch: asked.Batch})
		if err != nil {
			return nil, err
		}
		line, over := progressOf(got.Runs, time.Since(began))
		if s.screen != nil {
			s.screen.draw(line)
		} else if over || time.Since(told) > 5*time.Second {
			s.log.Info("progress", "runs", line)
			told = time.Now()
		}
		if over {
			slices.SortFunc(got.Runs, func(a, b runs.Run) int { return cmp.Compare(a.ID, b.ID) })
			return got.Runs, nil
		}
		if err := retry.Wait(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// progressOf is 12 of 90 days, 2 running, 1 failed, 1,200,000 rows, about 3m10s to go.
func progressOf(all []runs.Run, since time.Duration) (line string, over bool) {
	count := map[runs.State]int{}
	var rows int64
	for _, r := range all {
		count[r.State]++
		rows += r.Rows
	}
	ended := count[runs.Done] + count[runs.Failed] + count[runs.Cancelled]
	line = fmt.Sprintf("%d of %d days", ended, len(all))
	for _, state := range []runs.State{runs.Running, runs.Failed, runs.Cancelled} {
		if count[state] > 0 {
			line += fmt.Sprintf(", %d %s", count[state], state)
		}
	}
	line += fmt.Sprintf(", %s rows", thousands(rows))
	left := len(all) - ended
	if left > 0 && ended > 0 {
		line += fmt.Sprintf(", about %s to go", (since / time.Duration(ended) * time.Duration(left)).Round(time.Second))
	}
	return line, left == 0
}

// stopRuns cancels what is left of a batch when its command is interrupted.
func stopRuns(ctx context.Context, ask asks, batch string) error {
	cause := context.Cause(ctx)
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	if _, err := ask(ctx, web.RunsRequest{Do: "cancel", Batch: batch}); err != nil {
		return errors.Join(cause, fmt.Errorf("cancelling what is left of backfill %s: %w", batch, err))
	}
	return fmt.Errorf("%w: what is made stays, the rest is cancelled; the same command goes on with it", cause)
}

func printBackfill(w io.Writer, days []web.BackfillDay, asJSON bool) error {
	if asJSON {
		return jsonLines(w, days)
	}
	needed := 0
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range days {
		what := "is made"
		if d.Needed {
			what = "would be made"
			needed++
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", d.Source, d.Day, what, d.Fault)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d of %d days that have objects need something\n", needed, len(days))
	return nil
}

// reportRuns tells what became of runs; those that failed end the command with the code of the worst.
func reportRuns(w io.Writer, all []runs.Run, unneeded int, asJSON bool) error {
	var failed []string
	var rows int64
	code, done := 0, 0
	for _, r := range all {
		rows += r.Rows
		switch r.State {
		case runs.Done:
			done++
		case runs.Failed:
			failed = append(failed, fmt.Sprintf("%s %s: %s", r.Source, r.Day, oneLine(r.Error)))
			code = worse(code, codeOf(r.Class))
		default:
			failed = append(failed, fmt.Sprintf("%s %s: %s", r.Source, r.Day, r.State))
			code = worse(code, exitTransient)
		}
	}
	if asJSON {
		if err := jsonLines(w, all); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "%d of %d days are made, with %s rows; %d more needed nothing\n", done, len(all), thousands(rows), max(0, unneeded))
	}
	if len(failed) == 0 {
		return nil
	}
	return web.Fault{Message: fmt.Sprintf("%d days are not made:\n%s", len(failed), strings.Join(failed, "\n")), Code: code}
}

// codeOf is the exit code of a class of errors.
func codeOf(c runs.Class) int {
	switch c {
	case runs.DataError:
		return exitData
	case runs.Transient:
		return exitTransient
	case runs.Refused:
		return exitRefused
	}
	return exitFault
}

// worse is the code of which another try helps least.
func worse(a, b int) int {
	order := []int{0, exitTransient, exitRefused, exitData, exitFault}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// printRuns is what a status says of runs to people.
func printRuns(w io.Writer, r *web.Runs) {
	if r == nil {
		return
	}
	var parts []string
	for _, state := range runs.States {
		if n := r.States[string(state)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(w, "runs: %s; headwater runs ls lists them\n", strings.Join(parts, ", "))
	}
	if len(r.Paused) > 0 {
		fmt.Fprintf(w, "the schedule is paused of %s\n", strings.Join(r.Paused, ", "))
	}
}
