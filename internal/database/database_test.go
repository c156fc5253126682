package database

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"headwater/tests/interop/fixture"
)

// TestOpenedAtOnce has many open a database that has no tables yet, by names of their own: all of them find what they need.
func TestOpenedAtOnce(t *testing.T) {
	server := fixture.NewPostgreSQL(t)
	for round := range 10 {
		cfg := Config{PostgreSQL: server.Database(t, fmt.Sprintf("d%d", round))}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				name := fmt.Sprintf("n%d", i/2)
				d, err := Open(t.Context(), cfg, name, []string{"CREATE TABLE " + name + " (a INTEGER NOT NULL)", "INSERT INTO " + name + " (a) VALUES (1)"})
				if err != nil {
					t.Error(err)
					return
				}
				wantOne(t, d, name)
			})
		}
		wg.Wait()
	}
}

// TestVersions: each is done once, also when the database is opened again, and newer ones are refused.
func TestVersions(t *testing.T) {
	t.Parallel()
	cfg := Config{Path: filepath.Join(t.TempDir(), "state.db")}
	versions := []string{"CREATE TABLE n (a INTEGER NOT NULL)", "INSERT INTO n (a) VALUES (1)"}
	for _, upTo := range []int{1, 2, 2} {
		d, err := Open(t.Context(), cfg, "n", versions[:upTo])
		if err != nil {
			t.Fatal(err)
		}
		if upTo == 2 {
			wantOne(t, d, "n")
		} else if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(t.Context(), cfg, "n", versions[:1]); err == nil {
		t.Error("a database of a newer version is opened")
	}
}

// wantOne fails unless the table has one row, and closes the database.
func wantOne(t *testing.T, d *DB, table string) {
	t.Helper()
	rows := 0
	err := d.Read(t.Context(), func(tx *Tx) error {
		return tx.Each("SELECT a FROM "+table, nil, func(func(...any) error) error { rows++; return nil })
	})
	if err != nil || rows != 1 {
		t.Errorf("table %s has %d rows, want 1: %v", table, rows, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
