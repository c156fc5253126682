package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/database"
	"headwater/internal/setting"
	"headwater/tests/interop/fixture"
)

// place is an empty database.
type place func(testing.TB) database.Config

func inFile(t testing.TB) database.Config {
	return database.Config{Path: filepath.Join(t.TempDir(), "state.db"), Volatile: true}
}

// suite is what holds in both databases.
var suite = map[string]func(*testing.T, place){"once": testOnce, "order": testOrder, "most": testMost, "judged": testJudged, "undone": testUndone}

func TestSQLite(t *testing.T) {
	for name, f := range suite {
		t.Run(name, func(t *testing.T) { f(t, inFile) })
	}
}

func TestPostgreSQL(t *testing.T) {
	server := fixture.NewPostgreSQL(t)
	n := 0
	in := func(t testing.TB) database.Config {
		n++
		return database.Config{PostgreSQL: server.Database(t, fmt.Sprintf("test_%d", n))}
	}
	for name, f := range suite {
		t.Run(name, func(t *testing.T) { f(t, in) })
	}
	t.Run("replicas", func(t *testing.T) { testReplicas(t, in) })
	t.Run("judges", func(t *testing.T) { testJudges(t, in) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, cfg database.Config, holder string, webhooks ...Webhook) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, "market", holder, webhooks, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// wrong and over say so in a transaction of their own.
func wrong(t testing.TB, s *Store, p Problem) (news bool) {
	t.Helper()
	must(t, s.db.Write(t.Context(), func(tx *database.Tx) (err error) {
		news, err = s.Wrong(tx, p)
		return err
	}))
	return news
}

func over(t testing.TB, s *Store, p Problem) (news bool) {
	t.Helper()
	must(t, s.db.Write(t.Context(), func(tx *database.Tx) (err error) {
		news, err = s.Over(tx, p)
		return err
	}))
	return news
}

// receiver is a webhook that remembers what it took.
type receiver struct {
	mu   sync.Mutex
	got  []string
	fail func(n int) int // the status of the nth request, 0 is 200
	all  int
}

func (r *receiver) answer(body string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all++
	if r.fail != nil {
		if status := r.fail(r.all); status != 0 {
			return status
		}
	}
	r.got = append(r.got, body)
	return http.StatusOK
}

func (r *receiver) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) serve(t testing.TB) Webhook {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		var b strings.Builder
		_, _ = fmt.Fprint(&b, readAll(q))
		w.WriteHeader(r.answer(b.String()))
	}))
	t.Cleanup(server.Close)
	return Webhook{URL: setting.Secret(server.URL + "/hook"), Template: `{{json .Event}} `, Headers: plain}
}

var failure = Problem{Source: "orders", Kind: Failure, What: "2026-07-05", Since: time.UnixMilli(1783252800500), Reason: "no rows"}

// testOnce: many say that something is wrong, and many that it is over: each is told once.
func testOnce(t *testing.T, in place) {
	cfg := in(t)
	hook := Webhook{URL: "https://hooks.example/once"}
	s := open(t, cfg, "a", hook, Webhook{URL: "https://hooks.example/breaches", Events: []string{EventBreach}})
	all := []*Store{s, s}
	if cfg.PostgreSQL != "" {
		all[1] = open(t, cfg, "b", hook)
	}
	count := func(do func(testing.TB, *Store, Problem) bool) (news int) {
		var mu sync.Mutex
		var g sync.WaitGroup
		for i := range 10 {
			g.Go(func() {
				is := do(t, all[i%2], failure)
				mu.Lock()
				defer mu.Unlock()
				if is {
					news++
				}
			})
		}
		g.Wait()
		return news
	}
	for round := range 3 {
		if n := count(wrong); n != 1 {
			t.Errorf("it was news %d times", n)
		}
		if n := count(over); n != 1 {
			t.Errorf("that it is over was news %d times", n)
		}
		states, err := s.States(t.Context())
		must(t, err)
		if states[0].Waiting != int64(2*(round+1)) || states[1].Waiting != 0 {
			t.Errorf("%+v", states)
		}
	}
	if over(t, s, Problem{Source: "orders", Kind: Failure, What: "2026-07-06"}) {
		t.Error("what never was wrong is over")
	}
}

// testUndone: a transaction that fails has told nobody.
func testUndone(t *testing.T, in place) {
	s := open(t, in(t), "a", Webhook{URL: "https://hooks.example/a"})
	broken := errors.New("broken")
	err := s.db.Write(t.Context(), func(tx *database.Tx) error {
		if _, err := s.Wrong(tx, failure); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	if states, err := s.States(t.Context()); err != nil || states[0].Waiting != 0 {
		t.Errorf("%+v, %v", states, err)
	}
	if !wrong(t, s, failure) {
		t.Error("it was told already")
	}
}

// testOrder: a webhook that fails now and then gets every message once, in their order, and one that refuses some gets the others.
func testOrder(t *testing.T, in place) {
	flaky := &receiver{fail: func(n int) int { return []int{0, 503, 429}[n%3] }}
	picky := &receiver{fail: func(n int) int { return []int{0, 400}[n%2] }}
	a, b := flaky.serve(t), picky.serve(t)
	a.Template, b.Template = "{{.Day}}", "{{.Day}}"
	s := open(t, in(t), "a", a, b)
	var want []string
	for day := 1; day <= 6; day++ {
		p := failure
		p.What = fmt.Sprintf("2026-07-%02d", day)
		wrong(t, s, p)
		want = append(want, p.What)
	}
	sender := Sender{s, NewClient()}
	for until := time.Now().Add(3 * time.Minute); len(flaky.taken()) < 6 || len(picky.taken()) < 3; {
		must(t, sender.Once(t.Context()))
		// The wait is over.
		must(t, s.db.Write(t.Context(), func(tx *database.Tx) error {
			_, err := tx.Exec(`UPDATE headwater_webhooks SET due = 0`)
			return err
		}))
		if time.Now().After(until) {
			t.Fatal(flaky.taken(), picky.taken())
		}
	}
	if d := cmp.Diff(want, flaky.taken()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{want[1], want[3], want[5]}, picky.taken()); d != "" {
		t.Error(d)
	}
	states, err := s.States(t.Context())
	must(t, err)
	if states[0] != (State{Webhook: 1}) || states[1].Lost != 3 || states[1].Waiting != 0 {
		t.Errorf("%+v", states)
	}
}

// testMost: a webhook that takes nothing has so many messages waiting, the newest, and those of another one are not touched.
func testMost(t *testing.T, in place) {
	s := open(t, in(t), "a", Webhook{URL: "https://hooks.example/a"}, Webhook{URL: "https://hooks.example/b", Events: []string{EventRecovery}})
	must(t, s.db.Write(t.Context(), func(tx *database.Tx) error {
		for n := range mostWaiting + 5 {
			p := failure
			p.What = fmt.Sprint(n)
			if _, err := s.Wrong(tx, p); err != nil {
				return err
			}
		}
		_, err := s.Over(tx, failure)
		return err
	}))
	over(t, s, Problem{Source: "orders", Kind: Failure, What: "7"})
	states, err := s.States(t.Context())
	must(t, err)
	if states[0].Waiting != mostWaiting || states[0].Lost != 6 || states[1].Waiting != 1 || states[1].Lost != 0 {
		t.Errorf("%+v", states)
	}
	l, err := s.claim(t.Context(), 0)
	must(t, err)
	if l == nil || l.message.Day != "6" {
		t.Errorf("the first is %+v", l)
	}
}

func testJudged(t *testing.T, in place) {
	s := open(t, in(t), "a", Webhook{URL: "https://hooks.example/a"})
	at := time.UnixMilli(1783252800500).UTC()
	configured := func(source, objective string) bool { return source == "orders" }
	turn := func(breaches, over []Problem) (string, string) {
		t.Helper()
		began, ended, err := s.Judged(t.Context(), breaches, over, configured)
		must(t, err)
		name := func(all []Problem) (text string) {
			for _, p := range all {
				text += p.Source + " " + p.What + " " + p.Since.UTC().Format(time.TimeOnly) + ";"
			}
			return text
		}
		return name(began), name(ended)
	}
	expect := func(name string, began, ended, wantBegan, wantEnded string) {
		t.Helper()
		if began != wantBegan || ended != wantEnded && wantEnded != "*" {
			t.Errorf("%s: began %q, ended %q", name, began, ended)
		}
	}
	fresh := Problem{Source: "orders", What: "freshness", Since: at, Reason: "land", Stage: "land", StageSince: at}
	rows := Problem{Source: "orders", What: "min_rows", Reason: "few"}
	b, e := turn([]Problem{fresh}, []Problem{rows})
	expect("first", b, e, "orders freshness 12:00:00;", "")
	fresh.Since, fresh.Reason, fresh.Stage = at.Add(time.Hour), "serialize", "serialize"
	b, e = turn([]Problem{fresh}, []Problem{rows})
	expect("again", b, e, "", "")
	all, err := s.Problems(t.Context(), Breach)
	must(t, err)
	want := []Problem{{Source: "orders", Kind: Breach, What: "freshness", Since: at, Reason: "serialize", Stage: "serialize", StageSince: at}}
	if d := cmp.Diff(want, all); d != "" {
		t.Errorf("a breach keeps its beginning and says why it is one now: %s", d)
	}
	b, e = turn(nil, nil) // nothing is known
	expect("unknown", b, e, "", "")
	b, e = turn(nil, []Problem{fresh})
	expect("over", b, e, "", "orders freshness "+fresh.Since.Format(time.TimeOnly)+";")
	if b, _ = turn([]Problem{rows}, nil); !strings.HasPrefix(b, "orders min_rows ") || strings.Contains(b, "00:00:00;") {
		t.Errorf("began %q: what has no beginning begins now", b)
	}
	configured = func(string, string) bool { return false }
	if b, e = turn(nil, nil); b != "" || !strings.HasPrefix(e, "orders min_rows ") {
		t.Errorf("an objective that was taken away: began %q, ended %q", b, e)
	}
	if states, err := s.States(t.Context()); err != nil || states[0].Waiting != 4 {
		t.Errorf("%+v, %v", states, err)
	}
	first := map[string]time.Time{}
	for range 2 {
		_, at, mine, err := s.Turn(t.Context(), []string{"orders"})
		must(t, err)
		if was, is := first["orders"]; !mine || is && !was.Equal(at["orders"]) {
			t.Errorf("first judged %v, then %v, mine %v", first, at, mine)
		}
		first = at
	}
}

// testReplicas: of two processes that send at the same time each message comes once.
func testReplicas(t *testing.T, in place) {
	cfg := in(t)
	r := &receiver{}
	hook := r.serve(t)
	hook.Template = "{{.Day}}"
	a, b := open(t, cfg, "a", hook), open(t, cfg, "b", hook)
	ctx, stop := context.WithCancel(t.Context())
	var g sync.WaitGroup
	for _, s := range []*Store{a, b} {
		g.Go(func() { _ = Sender{s, NewClient()}.Run(ctx) })
	}
	var want []string
	for n := range 20 {
		p := failure
		p.What = fmt.Sprintf("%02d", n)
		wrong(t, []*Store{a, b}[n%2], p)
		want = append(want, p.What)
	}
	for until := time.Now().Add(3 * time.Minute); len(r.taken()) < len(want) && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	g.Wait()
	if d := cmp.Diff(want, r.taken()); d != "" {
		t.Error(d)
	}
}

// testJudges: one process judges, the other one when that has said nothing for long, and then the first one changes nothing any more.
func testJudges(t *testing.T, in place) {
	cfg := in(t)
	a, b := open(t, cfg, "a"), open(t, cfg, "b")
	mine := func(s *Store) bool {
		_, _, mine, err := s.Turn(t.Context(), []string{"orders"})
		must(t, err)
		return mine
	}
	if !mine(a) || mine(b) || !mine(a) {
		t.Error("it is not the first one's")
	}
	late := func(shift string) {
		must(t, a.db.Write(t.Context(), func(tx *database.Tx) error {
			_, err := tx.Exec(`UPDATE headwater_judges SET lease = lease ` + shift)
			return err
		}))
	}
	late("- 600000")
	if !mine(b) || mine(a) {
		t.Error("it is not the second one's")
	}
	began, _, err := a.Judged(t.Context(), []Problem{{Source: "orders", What: "freshness"}}, nil, func(string, string) bool { return true })
	must(t, err)
	if all, err := a.Problems(t.Context(), Breach); err != nil || len(all) > 0 || len(began) > 0 {
		t.Errorf("who does not judge has judged: %v, %v", all, err)
	}
	late("+ 86400000") // the clock was set back by a day
	if !mine(a) {
		t.Error("it stays the second one's for a day")
	}
}
