package tokens

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"headwater/internal/access"
	"headwater/internal/database"
	"headwater/tests/interop/fixture"
)

func TestSQLite(t *testing.T) {
	folder := t.TempDir()
	test(t, database.Config{Path: filepath.Join(folder, "state.db"), Volatile: true})
}

func TestPostgreSQL(t *testing.T) {
	test(t, database.Config{PostgreSQL: fixture.NewPostgreSQL(t).Database(t, "tokens")})
}

func open(t *testing.T, cfg database.Config, pipeline string) *Store {
	t.Helper()
	s, err := Open(t.Context(), cfg, pipeline)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func test(t *testing.T, cfg database.Config) {
	ctx := t.Context()
	s := open(t, cfg, "market")
	grant := access.Grant{Scopes: []access.Scope{access.Tables, access.Operate}, Only: []string{"market.*", "books.ledger"}}
	made, text, err := s.Create(ctx, "grafana", grant, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	second, other, err := s.Create(ctx, "grafana", access.Grant{Scopes: []access.Scope{access.Raw}}, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}

	id, err := open(t, cfg, "market").Find(ctx, text)
	want := access.Identity{Name: "token " + made.ID + " grafana", Scopes: grant.Scopes, Only: grant.Only}
	if diff := cmp.Diff(want, id); err != nil || diff != "" {
		t.Errorf("got %v (-want +got)\n%s", err, diff)
	}
	for _, wrong := range []string{"", "hwt_", "hwt__", text[:len(text)-1], text + "A", strings.ToUpper(text), strings.Replace(text, made.ID, second.ID, 1), made.ID} {
		if id, err := s.Find(ctx, wrong); !errors.Is(err, ErrUnknown) || id.Name != "" {
			t.Errorf("%q lets in %+v, %v", wrong, id, err)
		}
	}
	if _, err := open(t, cfg, "other").Find(ctx, text); !errors.Is(err, ErrUnknown) {
		t.Errorf("another pipeline's database takes the token: %v", err)
	}

	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if id, err = s.Find(ctx, other); err != nil || time.Now().After(deadline) {
			break
		}
	}
	if !errors.Is(err, ErrExpired) || id.May(access.Scopes...) || id.Name == "" {
		t.Errorf("a token whose time is over gives %+v, %v", id, err)
	}

	if err := s.Revoke(ctx, "nobody"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(s.Revoke(ctx, made.ID), s.Revoke(ctx, made.ID)); err != nil {
		t.Error(err)
	}
	if id, err := s.Find(ctx, text); !errors.Is(err, ErrRevoked) || id.May(access.Scopes...) {
		t.Errorf("a revoked token gives %+v, %v", id, err)
	}
	all, err := s.List(ctx)
	if len(all) == 2 && all[0].ID != made.ID { // made in the same millisecond
		slices.Reverse(all)
	}
	if err != nil || len(all) != 2 || all[0].ID != made.ID || all[0].Revoked.IsZero() || !all[1].Revoked.IsZero() {
		t.Errorf("got %+v, %v", all, err)
	}
	if diff := cmp.Diff(grant, all[0].Grant); diff != "" {
		t.Error(diff)
	}
	if all, err := open(t, cfg, "other").List(ctx); err != nil || len(all) != 0 {
		t.Errorf("another pipeline lists %v, %v", all, err)
	}
	leaked(t, cfg, text, other, all)
}

// leaked looks for the texts of tokens in what was listed and in the files of the database.
func leaked(t *testing.T, cfg database.Config, text, other string, all []Token) {
	t.Helper()
	var kept strings.Builder
	kept.WriteString(fmt.Sprintf("%+v", all))
	if cfg.Path != "" {
		for _, name := range []string{cfg.Path, cfg.Path + "-wal"} {
			data, err := os.ReadFile(name)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			kept.WriteString(string(data))
		}
		if !strings.Contains(kept.String(), hash(text[strings.LastIndexByte(text, '_')+1:])) {
			t.Error("not even the hash is found, this looks in the wrong place")
		}
	}
	for _, one := range []string{text, other} {
		if strings.Contains(kept.String(), one[strings.LastIndexByte(one, '_')+1:]) {
			t.Error("the secret of a token is kept")
		}
	}
}

func TestBadGrants(t *testing.T) {
	s := open(t, database.Config{Path: filepath.Join(t.TempDir(), "state.db"), Volatile: true}, "market")
	raw := access.Grant{Scopes: []access.Scope{access.Raw}}
	for want, create := range map[string]func() error{
		"a name must be":        func() error { _, _, err := s.Create(t.Context(), "a b", raw, time.Hour); return err },
		"no scope is given":     func() error { _, _, err := s.Create(t.Context(), "a", access.Grant{}, time.Hour); return err },
		"be good for some time": func() error { _, _, err := s.Create(t.Context(), "a", raw, 0); return err },
	} {
		if err := create(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
