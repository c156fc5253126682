package dayclose

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"headwater/internal/retry"
	"headwater/lake"
	"headwater/table"
)

const (
	// lookEvery is how often Run asks whether there is something to do.
	lookEvery = 5 * time.Second
	// lookLeast and lookMost bound the wait between two looks at what keeps days from closing.
	lookLeast = 2 * time.Second
	lookMost  = 10 * time.Second
	// askEvery is how often the broker is asked for the time: in between its clock goes as ours does.
	askEvery = 10 * time.Minute
)

// Run closes days until ctx ends. It calls tell at first, and whenever some have closed.
func (c *Closer) Run(ctx context.Context, tell func(context.Context)) error {
	wait := retry.Backoff{Min: lookLeast, Max: lookMost}
	told := false
	for pause := time.Duration(0); retry.Wait(ctx, pause) == nil; {
		closed, waiting, err := c.look(ctx)
		if closed > 0 || err == nil && !told {
			tell(ctx)
			told = true
		}
		switch pause = lookEvery; {
		case err != nil && ctx.Err() == nil:
			pause = wait.Next()
			c.o.Logger.Warn("looking whether days are over", "error", err, "next_try", pause.Round(time.Second))
		case closed > 0:
			wait.Reset()
		case waiting:
			pause = wait.Next()
		default:
			wait.Reset()
		}
	}
	return context.Cause(ctx)
}

// Look looks once at all sources, and closes what it can.
func (c *Closer) Look(ctx context.Context) error {
	_, _, err := c.look(ctx)
	return err
}

// look also says how many days were closed, and whether one that is over is not.
func (c *Closer) look(ctx context.Context) (closed int, waiting bool, err error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return 0, false, context.Cause(ctx)
	}
	sources, err := c.o.Sources(ctx)
	if err != nil {
		return 0, false, err
	}
	v := view{c: c, state: map[string]*state{}}
	for _, s := range sources {
		if v.state[s.Name], err = c.load(ctx, s.Name); err != nil {
			return 0, false, err
		}
	}
	if v.now, err = c.now(ctx, false); err != nil {
		return 0, false, err
	}
	due := slices.DeleteFunc(slices.Clone(sources), func(s Source) bool { return !v.due(s) })
	err = v.note(ctx, due)
	err = errors.Join(err, v.close(ctx, due))
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(c.known, v.state)
	if v.closed > 0 {
		select {
		case c.changed <- struct{}{}:
		default: // who is told has not looked yet
		}
	}
	waiting = slices.ContainsFunc(due, v.due)
	return v.closed, waiting, err
}

// now is what the broker's clock shows: as far as we know or, with sure, as it says itself.
func (c *Closer) now(ctx context.Context, sure bool) (time.Time, error) {
	c.mu.Lock()
	skew, asked := c.skew, c.asked
	c.mu.Unlock()
	ours := time.Now()
	if age := ours.Sub(asked); !sure && age >= 0 && age < askEvery {
		return ours.Add(skew), nil
	}
	now, err := c.o.Log.Now(ctx)
	if err != nil {
		return now, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = time.Now().Round(0) // compared by the clock that may be set
	c.skew = now.Sub(c.asked)
	return now, nil
}

// load gives a copy of what is known of a source; at first that is what lies in the lake.
func (c *Closer) load(ctx context.Context, source string) (*state, error) {
	c.mu.Lock()
	known := c.known[source]
	c.mu.Unlock()
	if known != nil {
		return &state{closed: known.closed, pending: slices.Clone(known.pending), objects: slices.Clone(known.objects)}, nil
	}
	days, err := lake.DayEndDays(ctx, c.o.Raw, source, "")
	if err != nil {
		return nil, err
	}
	var s state
	for _, day := range slices.Backward(days) {
		d, o, err := lake.ReadDayEnd(ctx, c.o.Raw, source, day)
		if err != nil {
			return nil, err
		}
		if !d.Closed.IsZero() {
			s.closed = d
			break
		}
		s.pending, s.objects = slices.Insert(s.pending, 0, d), slices.Insert(s.objects, 0, o)
	}
	return &s, nil
}

// last is the last day that has ended; the zero day if none has.
func (s *state) last() table.Day {
	if n := len(s.pending); n > 0 {
		return dayOf(s.pending[n-1])
	}
	return dayOf(s.closed)
}

func dayOf(d lake.DayEnd) table.Day {
	day, _ := table.ParseDay(d.Day) // the zero day is before all
	return day
}

// view is one look.
type view struct {
	c      *Closer
	now    time.Time
	state  map[string]*state
	closed int
}

// due says whether a source has a day that is over and not closed.
func (v *view) due(s Source) bool {
	st := v.state[s.Name]
	return st == nil || len(st.pending) > 0 || st.last().Compare(v.c.lastEnded(s, v.now)) < 0
}

// note notes the ends of days that have ended (invariant 1: of the two clocks the later one counts).
func (v *view) note(ctx context.Context, due []Source) error {
	due = slices.DeleteFunc(slices.Clone(due), func(s Source) bool {
		return v.state[s.Name].last().Compare(v.c.lastEnded(s, v.now)) >= 0
	})
	if len(due) == 0 {
		return nil
	}
	var until map[string]time.Time
	if slices.ContainsFunc(due, func(s Source) bool { return !s.External }) {
		var err error
		if until, err = v.c.o.Log.ReadUntil(ctx); err != nil {
			return err
		}
	}
	read := func(s Source) bool { return v.readDay(s, until[s.Name]).Compare(v.state[s.Name].last()) > 0 }
	if slices.ContainsFunc(due, read) { // what we think that the clock shows is not enough
		var err error
		if v.now, err = v.c.now(ctx, true); err != nil {
			return err
		}
	}
	var ended []lake.DayEnd
	var topics []string
	for _, s := range due {
		day, over := v.readDay(s, until[s.Name]), v.c.lastEnded(s, v.now)
		if day.Compare(over) < 0 && over.Compare(v.state[s.Name].last()) > 0 {
			v.wait(s, over, Wait{What: WaitCollector, Since: until[s.Name], Until: v.c.ends(s, over)})
		}
		if day.Compare(v.state[s.Name].last()) > 0 {
			ended = append(ended, lake.DayEnd{Source: s.Name, Topic: s.Topic, Day: day.String(), Ended: v.c.ends(s, day).UTC(), Noted: v.now.UTC()})
			topics = append(topics, s.Topic)
		}
	}
	return v.noteEnds(ctx, ended, topics)
}

// readDay is the last day of a source that has ended, and that its collector, which has read until a time, has read past.
func (v *view) readDay(s Source, until time.Time) table.Day {
	day := v.c.lastEnded(s, v.now)
	if s.External {
		return day
	}
	if until.IsZero() {
		return table.Day{}
	}
	if past := v.c.lastEnded(s, until); past.Compare(day) < 0 {
		return past
	}
	return day
}

// noteEnds notes where days have ended.
func (v *view) noteEnds(ctx context.Context, ended []lake.DayEnd, topics []string) error {
	if len(ended) == 0 {
		return nil
	}
	ends, err := v.c.o.Log.Ends(ctx, topics)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range ended {
		end, exists := ends[d.Topic]
		if !exists {
			v.state[d.Source].wait(dayOf(d), Wait{What: WaitTopic, Topic: d.Topic})
			continue
		}
		d.Log, d.Offsets = end.Log, end.Offsets
		errs = append(errs, v.put(ctx, d))
	}
	return errors.Join(errs...)
}

// put notes the end of a day, or takes what another process has noted (invariant 2).
func (v *view) put(ctx context.Context, d lake.DayEnd) error {
	o, err := lake.PutDayEnd(ctx, v.c.o.Raw, d, lake.Condition{IfAbsent: true})
	if err != nil {
		there, found, rerr := lake.ReadDayEnd(ctx, v.c.o.Raw, d.Source, d.Day)
		if rerr != nil {
			return fmt.Errorf("noting where %s of %s has ended: %w", d.Day, d.Source, cmp.Or(unless(rerr, lake.ErrNotExist), err))
		}
		d, o = there, found
	}
	s := v.state[d.Source]
	if !d.Closed.IsZero() {
		s.closed, s.pending, s.objects = d, nil, nil
		v.closed++
		return nil
	}
	s.pending, s.objects = append(s.pending, d), append(s.objects, o)
	return nil
}

// unless is err, or nil if it is another one.
func unless(err, other error) error {
	if errors.Is(err, other) {
		return nil
	}
	return err
}

// close closes the days whose ends have landed.
func (v *view) close(ctx context.Context, due []Source) error {
	var topics []string
	for _, s := range due {
		for _, d := range v.state[s.Name].pending {
			topics = append(topics, d.Topic)
		}
	}
	if len(topics) == 0 {
		return nil
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	landed, err := v.c.o.Log.Landed(ctx, topics)
	if err != nil {
		return err
	}
	logs, err := v.c.o.Log.Ends(ctx, topics) // afterwards: what has landed is then of no later log than this
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range due {
		st := v.state[s.Name]
		for i := len(st.pending) - 1; i >= 0; i-- { // a closed day closes those before it
			d := st.pending[i]
			if waits := missing(d, logs[d.Topic].Log, landed[d.Topic]); len(waits) > 0 {
				for _, w := range waits {
					st.wait(dayOf(d), w)
				}
				continue
			}
			errs = append(errs, v.markClosed(ctx, st, i))
			break
		}
	}
	return errors.Join(errs...)
}

// missing is what has not landed of a day, of a topic whose log is log by now.
func missing(d lake.DayEnd, log string, landed map[int32]int64) (waits []Wait) {
	switch log {
	case d.Log:
	case "":
		return []Wait{{What: WaitTopic, Topic: d.Topic}}
	default: // the offsets that have landed are not those of the day's end
		return []Wait{{What: WaitLog, Topic: d.Topic}}
	}
	for _, p := range slices.Sorted(maps.Keys(d.Offsets)) {
		if landed[p] < d.Offsets[p] {
			waits = append(waits, Wait{What: WaitLand, Topic: d.Topic, Partition: p, Landed: landed[p], Needs: d.Offsets[p]})
		}
	}
	return waits
}

// markClosed says of the i-th pending day that it is closed.
func (v *view) markClosed(ctx context.Context, st *state, i int) error {
	d := st.pending[i]
	d.Closed = v.now.UTC()
	if _, err := lake.PutDayEnd(ctx, v.c.o.Raw, d, lake.Condition{IfVersion: st.objects[i].Version}); err != nil {
		there, _, rerr := lake.ReadDayEnd(ctx, v.c.o.Raw, d.Source, d.Day)
		if rerr != nil || there.Closed.IsZero() {
			v.c.forget(d.Source, v)
			return fmt.Errorf("noting that %s of %s is closed: %w", d.Day, d.Source, errors.Join(err, rerr))
		}
		d = there // the answer was lost, or another process was first
	}
	st.closed, st.pending, st.objects = d, st.pending[i+1:], st.objects[i+1:]
	v.closed++
	v.c.o.Logger.Info("the day is closed", "source", d.Source, "day", d.Day)
	return nil
}

// forget has a source looked up anew in the lake: somebody else has changed it.
func (c *Closer) forget(source string, v *view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, source)
	delete(v.state, source)
}

func (v *view) wait(s Source, day table.Day, w Wait) { v.state[s.Name].wait(day, w) }

func (s *state) wait(day table.Day, w Wait) {
	if s.waits == nil {
		s.waits = map[table.Day][]Wait{}
	}
	s.waits[day] = append(s.waits[day], w)
}
