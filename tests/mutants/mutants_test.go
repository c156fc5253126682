// Package mutants breaks the code, one line at a time, and wants the test that guards it to fail and to say why: a test that cannot
// fail says nothing. Each mutant is run against the tests of another package. HEADWATER_MUTANTS=all takes them all; otherwise the seed
// draws a few.
package mutants

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"headwater/tests/binary"
)

// mutant is a change of the code and the test that must notice.
type mutant struct {
	name string
	// In file, old reads replacement.
	file, old, replacement string
	// test is a pattern of go test -run in the package, with these environment variables.
	pkg, test string
	env       []string
	// says is part of what the failing test must print.
	says string
}

var mutants = []mutant{
	{
		name: "one odd value has all days rewritten", file: "schema/ledger/node.go",
		old: "if m.rules.Frozen || len(days) > m.rules.MaxRewrite || w.before == schema.Struct || w.before == schema.Map {", replacement: "if m.rules.Frozen || w.before == schema.Struct {",
		pkg: "serialize", test: "TestWideningWaits$", says: "is to be rewritten unasked",
	},
	{
		name: "two runs write one version of the schema ledger", file: "schema/ledger/ledger.go",
		old: "lake.Condition{IfAbsent: true}", replacement: "lake.Condition{}",
		pkg: "schema/ledger", test: "TestLoserBuildsOnWinner$", says: "a change is lost",
	},
	{
		name: "what no column takes is dropped", file: "serialize/rescue.go",
		old: "if r.says || r.always {", replacement: "if r.says && r.always && false {",
		pkg: "serialize", test: "TestWideningWaits$", says: "_rescued",
	},
	{
		name: "a day is published with types that its columns have no more", file: "serialize/serialize.go",
		old: "if moved, err := r.moved(ctx); err != nil {", replacement: "if moved, err := false, error(nil); err != nil {",
		pkg: "serialize", test: "TestMovedTypes$", says: "published with the old types",
	},
	{
		name: "an empty string is a null of its array", file: "serialize/spark.go",
		old: "return ahead.emptyElement(c.elem)", replacement: "return ahead.emptyElement(c.elem) && false",
		pkg: "serialize", test: "TestSparkGolden$", says: "--- FAIL: TestSparkGolden/empties",
	},
	{
		name: "a window begins after items that Kafka does not have", file: "collect/rest/window.go",
		old: "if err := w.drain(ctx); err != nil {", replacement: "if err := error(nil); err != nil {",
		pkg: "collect/rest", test: "TestWindowWaits$", says: "with nothing acknowledged the cursor has",
	},
	{
		name: "a link to another host is followed with the credentials", file: "collect/rest/client.go",
		old: "case strings.EqualFold(u.Host, home.Host):", replacement: "case home != nil:",
		pkg: "collect/rest", test: "TestTraps$", says: "would get the credentials",
	},
	{
		name: "a job's file on another host is asked for with the credentials", file: "collect/rest/client.go",
		old: "r.bare, r.header = true,", replacement: "r.bare, r.header = false,",
		pkg: "collect/rest", test: "TestJobCredentials$", says: "another host is asked with",
	},
	{
		name: "a lost cursor is gone on without", file: "kafka/replay.go",
		old: "case offset < begin && r.kept:", replacement: "case offset < begin && r.kept && false:",
		pkg: "tests/flow", test: "TestTornFiles/headwater-data/kafka/partitions/headwater_cursors-0/0.dat_empty$",
		env: []string{"HEADWATER_DAMAGES=1000"}, says: "line 0 is 2 times",
	},
	{
		name: "files are read again by every run", file: "collect/file/file.go",
		old: "v.recall(out.Streams())", replacement: "v.recall(nil)",
		pkg: "tests/limits", test: "TestManyFiles$", env: []string{"HEADWATER_FILES=200"}, says: "count, distinct",
	},
	{
		name: "gzip bombs are read to their end", file: "collect/file/read.go",
		old: "ratio: int64(rd.c.MaxRatio)", replacement: "ratio: 0",
		pkg: "tests/limits", test: "TestBombs/zeros_with_line_feeds$", env: []string{"HEADWATER_BOMB=100MB"}, says: "in quarantine are",
	},
	{
		name: "landing keeps every line", file: "land/spool.go",
		old:         "func (s *spool) append(o *openObject, line []byte) error {\n",
		replacement: "var kept [][]byte\n\nfunc (s *spool) append(o *openObject, line []byte) error {\n\tkept = append(kept, append([]byte(nil), line...))\n",
		pkg:         "tests/limits", test: "TestLandingMemory$", env: []string{"HEADWATER_BIG=300MB"}, says: "peak memory over the idle process's",
	},
	{
		name: "the spool keeps its files open", file: "land/spool.go",
		old: "return errors.Join(write(w), w.Flush(), f.Close())", replacement: "spooled = append(spooled, f)\n\treturn errors.Join(write(w), w.Flush())\n}\n\nvar spooled []*os.File\n\nfunc init() {",
		pkg: "tests/limits", test: "TestOpenPaths$", says: "open files",
	},
	{
		name: "a cursor is a snapshot without the records after it", file: "kafka/source.go",
		old: "from, ends[l.topic], r.add); err != nil {", replacement: "from, nil, r.add); err != nil {",
		pkg: "tests/flow", test: "TestMetamorphic$", env: []string{"HEADWATER_SETTINGS=10", "HEADWATER_SEED=3"}, says: "--- FAIL: TestMetamorphic/",
	},
	{
		name: "an item that quarantine does not take is passed over", file: "collect/session.go",
		old: "if err != nil {\n\t\treturn fmt.Errorf(\"quarantining an item", replacement: "if err != nil && false {\n\t\treturn fmt.Errorf(\"quarantining an item",
		pkg: "tests/flow", test: "TestFullDisk/an_item_in_quarantine$", says: "with a full disk the run ended with 0",
	},
	{
		name: "the data folder is not locked", file: "internal/state/state.go",
		old: "unix.LOCK_EX|unix.LOCK_NB", replacement: "unix.LOCK_SH|unix.LOCK_NB",
		pkg: "tests/flow", test: "TestStoppedProcess$", says: "beside the stopped",
	},
	{
		name: "what is before a position is not looked at", file: "collect/file/read.go",
		old: "if rd.trail.sum() != p.Hash {", replacement: "if false {",
		pkg: "collect/file", test: "TestReplaced$|TestRenamedOver$", says: "items (-want +got)",
	},
	{
		name: "rows of any length are taken", file: "collect/file/cut.go",
		old: "case len(c.fields) != len(c.names):", replacement: "case len(c.fields) > len(c.names)+9:",
		pkg: "tests/flow", test: "TestBadInput/CSV_rows_of_other_lengths$", says: "CSV_rows_of_other_lengths",
	},
	{
		name: "an object that exists is taken for one's own", file: "land/partition.go",
		old: "same := found && t.Log", replacement: "same := true || found && t.Log",
		pkg: "land", test: "TestZombie$|TestAnyHistory$", says: "FAIL",
	},
	{
		name: "a folder of the clock that was announced is not kept", file: "land/wallclock.go",
		old: "s.intent = *note.Intent", replacement: "_ = note.Intent",
		pkg: "land", test: "TestWallclockZombie$", says: "FAIL",
	},
	{
		name: "a member that was thrown out of the group goes on", file: "land/partition.go",
		old: "if req.MemberID != p.from.member {", replacement: "if false {",
		pkg: "land", test: "TestWallclockFenced$", says: "FAIL",
	},
	{
		name: "a table partition is replaced whoever was there", file: "table/publish.go",
		old: "cond = lake.Condition{IfVersion: p.Seen.Object.Version}", replacement: "cond = lake.Condition{}",
		pkg: "table", test: "TestPublishRefusesAnOutdatedWriter$|TestRacingPublishers$", says: "FAIL",
	},
	{
		name: "what is there of a keyed request is not known after a restart", file: "collect/push/keys.go",
		old: "done: at.Seq + 1", replacement: "done: 0",
		pkg: "tests/crash", test: "TestPushKilled$", says: "times in",
	},
	{
		name: "gaps of a live feed are not recorded", file: "collect/websocket/connection.go",
		old: "if f.last != nil && (c.r.catcher == nil || !c.numbers.tell(f.name)) {", replacement: "if f.last != nil && false {",
		pkg: "tests/crash", test: "TestFeedKilled$", says: "a gap recorded between them: false",
	},
	{
		name: "an integer that no double holds passes for a double", file: "serialize/column.go",
		old: "schema.Double:  schema.SeenNull |", replacement: "schema.Double:  schema.SeenNull | schema.SeenWideInt |",
		pkg: "serialize", test: "FuzzGuess$", says: "does not fit: false, but the columns stay: false",
	},
	{
		name: "a guess is believed", file: "serialize/cut.go",
		old: "|| !reflect.DeepEqual(p.layout, l); p.misfit", replacement: "|| !reflect.DeepEqual(l, l); p.misfit",
		pkg: "serialize", test: "TestHollowTwice$", says: "has other bytes",
	},
	{
		name: "a record in quarantine leaves its values", file: "serialize/infer.go",
		old: "func (w *inferrer) rollBack() {\n\tif w.cut != nil {", replacement: "func (w *inferrer) rollBack() {\n\tif w.cut != nil && w.objects == 0 {",
		pkg: "serialize", test: "FuzzGuess$", says: "and leaves something behind",
	},
	{
		name: "numbers may begin with zeros", file: "serialize/scan.go",
		old: "ok := i > first && (d[first] != '0' || i == first+1)", replacement: "ok := i > first",
		pkg: "serialize", test: "FuzzRecord$", says: "valid false, reason",
	},
	{
		name: "init takes every first row for names", file: "internal/look/sample.go",
		old: "Header: best.header()", replacement: "Header: true",
		pkg: "tests/flow", test: "TestInit$", says: "_c0",
	},
}

func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the program several times")
	}
	chosen := mutants
	if os.Getenv("HEADWATER_MUTANTS") != "all" {
		chosen = draw(t, 3)
	}
	for _, m := range chosen {
		t.Run(m.name, m.run)
	}
}

// draw is n mutants that the seed chooses.
func draw(t *testing.T, n int) []mutant {
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("HEADWATER_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("HEADWATER_SEED=%d", seed)
	var chosen []mutant
	for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(mutants))[:n] {
		chosen = append(chosen, mutants[i])
	}
	return chosen
}

func (m mutant) run(t *testing.T) {
	overlay := binary.Overlay(t, m.file, m.old, m.replacement)
	env := append(os.Environ(), m.env...)
	if strings.HasPrefix(m.pkg, "tests/") { // which drives the program
		env = append(env, "HEADWATER_BIN="+binary.Mutant(t, m.file, m.old, m.replacement))
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-timeout", "10m", "-overlay", overlay, "-run", m.test, "./"+m.pkg)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("%s of %s passes although %s", m.test, m.pkg, m.name)
	}
	if strings.Contains(string(out), "[build failed]") || !strings.Contains(string(out), m.says) {
		t.Fatalf("%s of %s does not say %q:\n%.5000s", m.test, m.pkg, m.says, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, m.says) {
			t.Logf("caught: %.200s", strings.TrimSpace(line))
			return
		}
	}
}

// TestMutantsAreDrawn: every mutant is one of the tree that is there, so that none waits for its turn to be adapted.
func TestMutantsAreDrawn(t *testing.T) {
	for _, m := range mutants {
		var o struct{ Replace map[string]string }
		data, err := os.ReadFile(binary.Overlay(t, m.file, m.old, m.replacement))
		if err == nil {
			err = json.Unmarshal(data, &o)
		}
		if err != nil || len(o.Replace) != 1 {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
