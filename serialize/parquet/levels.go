package parquet

// Levels are definition levels, as the runs of the same that they mostly are: a column that always has a value is one run, and one that seldom
// has costs as much as its values.
type Levels []Run

// Run is a level, and how often it follows itself.
type Run struct {
	Level uint8
	Count uint32
}

// Add adds a level n times.
func (l *Levels) Add(level uint8, n int) {
	if last := len(*l) - 1; last >= 0 && (*l)[last].Level == level {
		(*l)[last].Count += uint32(n)
		return
	}
	*l = append(*l, Run{level, uint32(n)})
}

// Len is how many levels there are.
func (l Levels) Len() (n int) {
	for _, r := range l {
		n += int(r.Count)
	}
	return n
}

// Count is how many of them are level.
func (l Levels) Count(level uint8) (n int) {
	for _, r := range l {
		if r.Level == level {
			n += int(r.Count)
		}
	}
	return n
}
