package table

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"headwater/lake"
	"headwater/schema"
)

// Place is what a file's key says of it.
type Place struct {
	Name Name
	Day  Day
	// Folder is 0 for the one file of a whole day; the folders of files of an open day are numbered from 1.
	Folder int
	// Part is the file's number in its folder, from 0.
	Part int
	// Commit is the commit's number, if the object is one.
	Commit int
}

// Key is the file's key in the tables store.
func (p Place) Key() string {
	if p.Commit > 0 {
		return fmt.Sprintf("%s-v%06d.json", runsPrefix(p.Name, p.Day), p.Commit)
	}
	if p.Folder == 0 {
		return PartKey(p.Name, p.Day)
	}
	number := ""
	if p.Folder > 1 {
		number = "-" + strconv.Itoa(p.Folder)
	}
	return openPrefix(p.Name, p.Day) + number + "/" + partFile(p.Part)
}

// runsPrefix begins the keys of all objects of a day but the plain file. Readers of the table's folder look into none whose name begins with _.
func runsPrefix(n Name, d Day) string {
	return n.Database + "/" + n.Table + "/_runs/" + d.String()
}

// openPrefix begins the keys of all files of an open day.
func openPrefix(n Name, d Day) string { return runsPrefix(n, d) + "-open" }

// runFolder is that of the files of a commit. It is named by everything that they are made from: no two commits share a folder unless the one has
// gone back to the other.
func runFolder(n Name, d Day, number int, f Footer) string {
	f.V = footerVersion
	sum := sha256.Sum256(f.text())
	return fmt.Sprintf("%s-r%06d-%s", runsPrefix(n, d), number, hex.EncodeToString(sum[:8]))
}

var (
	plainKey  = regexp.MustCompile(`^([a-z0-9_]+)/([a-z0-9_]+)/year=(\d+)/month=(\d+)/day=(\d+)/part-00000\.snappy\.parquet$`)
	commitKey = regexp.MustCompile(`^([a-z0-9_]+)/([a-z0-9_]+)/_runs/(\d+)-(\d+)-(\d+)-v(\d+)\.json$`)
	openKey   = regexp.MustCompile(`^([a-z0-9_]+)/([a-z0-9_]+)/_runs/(\d+)-(\d+)-(\d+)-open(?:-(\d+))?/part-(\d+)\.snappy\.parquet$`)
)

// ParseKey reads the key of a file of a table, or of a commit; false if it is that of none. Files of commits are not told by their keys.
func ParseKey(key string) (Place, bool) {
	m, commit := plainKey.FindStringSubmatch(key), false
	if m == nil {
		m = openKey.FindStringSubmatch(key)
	}
	if m == nil {
		m = commitKey.FindStringSubmatch(key)
		commit = m != nil
	}
	if m == nil {
		return Place{}, false
	}
	var n [5]int
	for i, text := range m[3:] {
		n[i], _ = strconv.Atoi(text)
	}
	p := Place{Name: Name{Database: m[1], Table: m[2]}, Day: Day{n[0], n[1], n[2]}}
	if commit {
		p.Commit = n[3]
	} else if len(m) > 6 {
		p.Folder, p.Part = max(n[3], 1), n[4]
	}
	return p, p.Key() == key // numbers spelled otherwise would be the same file under another key
}

// Held is what a table has of a day: the file of the whole day, or what was committed in its place, and files of the day while it was open.
type Held struct {
	// Plain is the file of the whole day.
	Plain Seen
	// Commit is the last one, its Number 0 if there is none.
	Commit Commit
	// Folder is the number of the last folder of the open day, 0 if there is none, and Open its files, numbered from 0 without a gap, if
	// they are what readers read.
	Folder int
	Open   []Seen
	// Lost are the files that the last commit names and that somebody has deleted or replaced.
	Lost []string
	// Retired are files and commits that no reader is told of any more, in order of their keys, and files that a writer is about to commit, or was
	// when it died.
	Retired []lake.Object
	// Foreign are the keys of files that others have put into the day's folder since its files there were adopted.
	Foreign []string
	// since is when what readers read was written.
	since time.Time
}

// committed says whether the last commit is read in the place of the plain file: that names the commits in whose place it is read itself.
func (h *Held) committed() bool {
	return h.Commit.Number > 0 && !(h.Plain.Exists && h.Plain.Footer.Closes.Commit >= h.Commit.Number)
}

// The states of a day.
const (
	// Whole: the day is over, and what was there when it was made is in the table.
	Whole = "whole"
	// Open: the day is not over.
	Open = "open"
	// Undone: a person has rolled the day back.
	Undone = "undone"
)

// State is that of what readers read.
func (h *Held) State() string {
	switch {
	case len(h.Open) > 0:
		return Open
	case h.Undone() != "":
		return Undone
	}
	return Whole
}

// Undone is the run that a roll-back took out of readers' sight, if that is still what was done last.
func (h *Held) Undone() string {
	if !h.committed() {
		return ""
	}
	return h.Commit.Undoes
}

// Whole is what is read of the day if no open files are: the plain file, or, as if they were one file, those of the last commit.
func (h *Held) Whole() Seen {
	if h.committed() {
		return h.Commit.whole()
	}
	return h.Plain
}

// Files are those that readers read: the open day's, or the last commit's, or the plain one, or none.
func (h *Held) Files() []Seen {
	switch {
	case len(h.Open) > 0:
		return h.Open
	case h.committed():
		return h.Commit.seen()
	case h.Plain.Exists:
		return []Seen{h.Plain}
	}
	return nil
}

// Rows and quarantined records of what readers read.
func (h *Held) Rows() (rows, quarantined int64) {
	for _, f := range h.Files() {
		rows, quarantined = rows+f.Footer.Rows, quarantined+f.Footer.Quarantined
	}
	return rows, quarantined
}

// Closing is what a file of the whole day closes that takes the place of all that is there.
func (h *Held) Closing() Closes {
	c := h.Whole().Footer.Closes
	if len(h.Open) > 0 {
		c.Folder, c.Files = h.Folder, len(h.Open)
	}
	c.Commit = h.Commit.Number
	return c
}

// NextFolder is the number of a new folder: no other had it, not even one that was deleted.
func (h *Held) NextFolder() int {
	return max(h.Folder, h.Plain.Footer.Closes.Folder, h.Commit.Footer.Closes.Folder) + 1
}

// seen are all files whose footers were read.
func (h *Held) seen() []Seen {
	all := slices.Clone(h.Open)
	if h.Plain.Exists {
		all = append(all, h.Plain)
	}
	return all
}

// LookDay reads what the table has of the day. Of known, which earlier looks returned, files that are still there as they were are not read
// again. Errors are as those of Look.
func LookDay(ctx context.Context, tables lake.Store, n Name, d Day, known ...Seen) (Held, error) {
	for try := 0; ; try++ {
		h, err := lookDay(ctx, tables, n, d, known)
		if try == 3 || !errors.Is(err, lake.ErrNotExist) { // else it was deleted between the listing and the reading
			return h, err
		}
	}
}

func lookDay(ctx context.Context, tables lake.Store, n Name, d Day, known []Seen) (h Held, err error) {
	if h.Plain, err = lookAgain(ctx, tables, n, d, known); err != nil {
		return h, err
	}
	var last, committed []lake.Object // open files of the last folder that has a first one; commits and their files
	var head lake.Object              // the last commit
	for o, err := range tables.List(ctx, runsPrefix(n, d)+"-", "") {
		if err != nil {
			return h, fmt.Errorf("listing %s: %w", runsPrefix(n, d), err)
		}
		p, ok := ParseKey(o.Key)
		switch {
		case !ok || p.Commit > 0:
			committed = append(committed, o)
			if p.Commit > h.Commit.Number {
				h.Commit.Number, head = p.Commit, o
			}
		case p.Part == 0 && p.Folder > h.Folder:
			h.Retired, last, h.Folder = append(h.Retired, last...), []lake.Object{o}, p.Folder
		case p.Folder == h.Folder && p.Part == len(last):
			last = append(last, o)
		default:
			h.Retired = append(h.Retired, o)
		}
	}
	if err := h.lookCommits(ctx, tables, n, d, head, committed); err != nil {
		return h, err
	}
	// The file of the whole day closes what its writer saw; a file that another writer has added meanwhile is not in it, and opens the day again.
	c := h.Whole().Footer.Closes
	if c.Folder > h.Folder || c.Folder == h.Folder && len(last) <= c.Files {
		h.Retired, last = append(h.Retired, last...), nil
	}
	slices.SortFunc(h.Retired, func(a, b lake.Object) int { return cmp.Compare(a.Key, b.Key) })
	h.Open, err = lookAll(ctx, tables, n, d, last, known)
	if len(h.Open) > 0 {
		h.since = h.Open[0].Object.Modified
	}
	return h, err
}

// lookCommits reads the last of the commits, head, if there is one, and retires the others, and whatever they have committed that it has not.
func (h *Held) lookCommits(ctx context.Context, tables lake.Store, n Name, d Day, head lake.Object, objects []lake.Object) error {
	h.since = h.Plain.Object.Modified
	if head.Key != "" {
		c, _, err := readCommit(ctx, tables, head.Key)
		if err != nil {
			return err
		}
		c.Number = h.Commit.Number // by its key
		h.Commit = c
		adopted, err := h.lookAdopted(ctx, tables, n, d)
		if err != nil {
			return err
		}
		objects = append(objects, adopted...)
	}
	if h.committed() {
		h.since = head.Modified
		h.Lost = h.lost(n, d, objects)
		if h.Plain.Exists && !h.Commit.has(h.Plain.Object.Key) {
			h.Retired = append(h.Retired, h.Plain.Object)
		}
	}
	for _, o := range objects {
		if o.Key != head.Key && !(h.committed() && h.Commit.keeps(o.Key)) {
			h.Retired = append(h.Retired, o)
		}
	}
	return nil
}

// lost are the files that the commit names and that are not as it says; of files elsewhere than the day's it is not known.
func (h *Held) lost(n Name, d Day, objects []lake.Object) (keys []string) {
	there := map[string]int64{}
	for _, o := range objects {
		there[o.Key] = o.Size
	}
	if h.Plain.Exists {
		there[h.Plain.Object.Key] = h.Plain.Object.Size
	}
	for _, f := range h.Commit.Files {
		size, found := there[f.Key]
		days := strings.HasPrefix(f.Key, runsPrefix(n, d)+"-") || strings.HasPrefix(f.Key, dayPrefix(n, d))
		if days && (!found || size != f.Size) {
			keys = append(keys, f.Key)
		}
	}
	return keys
}

// Beside is ErrForeign where somebody else has put files into the folder of the day's plain file. Readers of the folder would read them beside it, or in its
// place.
func Beside(ctx context.Context, tables lake.Store, n Name, d Day) error {
	plain, folder := PartKey(n, d), dayPrefix(n, d)
	for o, err := range tables.List(ctx, folder, "") {
		if err != nil {
			return fmt.Errorf("listing %s: %w", folder, err)
		}
		if name := o.Key[len(folder):]; o.Key != plain && name[0] != '_' && name[0] != '.' {
			return fmt.Errorf("%s: %w: readers of its folder would read it beside the day's own; delete or move what is there to have the day made again, or leave the day to whoever made it", o.Key, ErrForeign)
		}
	}
	return nil
}

// lookAgain is Look for those who have looked before.
func lookAgain(ctx context.Context, tables lake.Store, n Name, d Day, known []Seen) (Seen, error) {
	key := PartKey(n, d)
	if slices.ContainsFunc(known, func(s Seen) bool { return s.Object.Key == key }) {
		o, err := tables.Stat(ctx, key)
		if errors.Is(err, lake.ErrNotExist) {
			return Seen{}, nil
		}
		if err != nil {
			return Seen{}, err
		}
		if at := find(known, o); at >= 0 {
			return known[at], nil
		}
	}
	return Look(ctx, tables, n, d)
}

func find(known []Seen, o lake.Object) int {
	return slices.IndexFunc(known, func(s Seen) bool { return s.Object.Key == o.Key && s.Object.Version == o.Version })
}

func lookAll(ctx context.Context, tables lake.Store, n Name, d Day, objects []lake.Object, known []Seen) ([]Seen, error) {
	out := make([]Seen, len(objects))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(footerReaders)
	for i, o := range objects {
		if at := find(known, o); at >= 0 {
			out[i] = known[at]
			continue
		}
		g.Go(func() (err error) {
			if out[i], err = lookAt(ctx, tables, n, d, o.Key); err == nil && !out[i].Exists {
				err = fmt.Errorf("looking at %s of %s: %s: %w", d, n, o.Key, lake.ErrNotExist)
			}
			return err
		})
	}
	return out, g.Wait()
}

// PartitionOf is the catalog's entry of the files of a day, at least one.
func PartitionOf(d Day, files ...Seen) Partition {
	first, last := files[0], files[len(files)-1]
	p := Partition{Day: d, Key: first.Object.Key, Files: len(files), Schema: last.Footer.Schema, Run: first.Footer.Run}
	all := sha256.New()
	for _, f := range files {
		p.Rows, p.Bytes = p.Rows+f.Footer.Rows, p.Bytes+f.Object.Size
		_, _ = all.Write([]byte(f.Footer.Run)) // a hash never fails
	}
	if len(files) > 1 {
		p.Run = hex.EncodeToString(all.Sum(nil))
		for _, f := range files {
			p.Schema = schema.Merge(p.Schema, f.Footer.Schema)
		}
	}
	return p
}

// Sweep deletes the retired objects that are older than grace, once what readers read instead is: readers that were told of them may still be
// reading, and a writer may be about to commit them. A folder loses its last file first, so that what is left of it when the process dies is never
// taken for a whole one; and files go before the commit that names them.
func Sweep(ctx context.Context, tables lake.Store, h Held, grace time.Duration) error {
	if len(h.Files()) == 0 || len(h.Retired) == 0 || time.Since(h.since) < grace {
		return nil
	}
	for _, o := range sweepOrder(h.Retired) {
		if time.Since(o.Modified) < grace {
			continue
		}
		if err := tables.Delete(ctx, o.Key); err != nil && !errors.Is(err, lake.ErrNotExist) {
			return fmt.Errorf("deleting %s, which is read no more: %w", o.Key, err)
		}
	}
	return nil
}

func sweepOrder(retired []lake.Object) []lake.Object {
	out := slices.Clone(retired)
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b lake.Object) int { return cmp.Compare(rank(a.Key), rank(b.Key)) })
	return out
}

func rank(key string) int {
	if p, ok := ParseKey(key); ok && p.Commit > 0 {
		return 1
	}
	return 0
}
