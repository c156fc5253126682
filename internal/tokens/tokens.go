// Package tokens keeps what programs prove with that they may do something: tokens that somebody made for them, for a time.
//
// What enters: a name, scopes and a time. What leaves: the token's text, once; later, for such a text, who that is. It starts no goroutines.
//
// Invariants:
//  1. The text of a token is nowhere but in the answer that made it: the database has a hash of it, from which it cannot be guessed, because it is random.
//  2. A token that is revoked or has expired lets nobody in from then on, in all processes that share the database.
package tokens

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"headwater/internal/access"
	"headwater/internal/database"
)

var (
	// ErrUnknown is of a text that is no token's, and of an ID that none has.
	ErrUnknown = errors.New("there is no such token")
	// ErrExpired is of a token whose time is over.
	ErrExpired = errors.New("the token has expired")
	// ErrRevoked is of one that was revoked.
	ErrRevoked = errors.New("the token was revoked")
)

// Token is what there is to know of a token but its text. Times are of the database's clock.
type Token struct {
	// ID names it in a list, in a log and in its own text; it is no secret.
	ID string `json:"id"`
	// Name is whose it is, for people; several tokens may have one name.
	Name string `json:"name"`
	access.Grant
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// identity is whom it lets in.
func (t Token) identity() access.Identity {
	return access.Identity{Name: "token " + t.ID + " " + t.Name, Scopes: t.Scopes, Only: t.Only}
}

// versions are the tables. Times are milliseconds since 1970, 0 for none.
var versions = []string{`
CREATE TABLE headwater_tokens (
	pipeline TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, scopes TEXT NOT NULL, tables TEXT NOT NULL, hash TEXT NOT NULL,
	created INTEGER NOT NULL, expires INTEGER NOT NULL, revoked INTEGER NOT NULL, PRIMARY KEY (pipeline, id));
`}

// Store has the tokens of a pipeline. Its methods may be called from several goroutines.
type Store struct {
	db       *database.DB
	pipeline string
}

// Open opens the tokens of a pipeline, which is told from others in the same database by its name. The caller closes it.
func Open(ctx context.Context, cfg database.Config, pipeline string) (*Store, error) {
	db, err := database.Open(ctx, cfg, "tokens", versions)
	if err != nil {
		return nil, err
	}
	return &Store{db, pipeline}, nil
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// prefix begins the texts of tokens, so that programs that look for leaked secrets know one when they see it.
const prefix = "hwt_"

// Create makes a token that is good for a time, and gives its text, which nobody can ask for again.
func (s *Store) Create(ctx context.Context, name string, g access.Grant, good time.Duration) (t Token, text string, err error) {
	if err := errors.Join(access.Named(name), g.Validate()); err != nil {
		return t, "", err
	}
	if good <= 0 {
		return t, "", fmt.Errorf("a token must be good for some time, got %s", good)
	}
	t = Token{ID: strings.ToLower(rand.Text()[:10]), Name: name, Grant: g}
	secret := rand.Text()
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		now, err := tx.Now()
		if err != nil {
			return err
		}
		t.Created, t.Expires = now, now.Add(good)
		_, err = tx.Exec(`INSERT INTO headwater_tokens (pipeline, id, name, scopes, tables, hash, created, expires, revoked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)`,
			s.pipeline, t.ID, name, join(g.Scopes), strings.Join(g.Only, " "), hash(secret), t.Created.UnixMilli(), t.Expires.UnixMilli())
		return err
	})
	return t, prefix + t.ID + "_" + secret, err
}

func join(scopes []access.Scope) string {
	texts := make([]string, len(scopes))
	for i, s := range scopes {
		texts[i] = string(s)
	}
	return strings.Join(texts, " ")
}

// hash needs no salt and no work, unlike a password's: what it is of is random, and long.
func hash(secret string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(secret))) }

// List has all tokens, those that let nobody in any more too, the newest last.
func (s *Store) List(ctx context.Context) (all []Token, err error) {
	err = s.db.Read(ctx, func(tx *database.Tx) error {
		all = nil
		return s.each(tx, ` ORDER BY created, id`, nil, func(t Token, _ string) { all = append(all, t) })
	})
	return all, err
}

func (s *Store) each(tx *database.Tx, where string, args []any, do func(t Token, hash string)) error {
	return tx.Each(`SELECT id, name, scopes, tables, hash, created, expires, revoked FROM headwater_tokens WHERE pipeline = ?`+where, append([]any{s.pipeline}, args...),
		func(scan func(...any) error) error {
			var t Token
			var scopes, only, hash string
			var created, expires, revoked int64
			if err := scan(&t.ID, &t.Name, &scopes, &only, &hash, &created, &expires, &revoked); err != nil {
				return err
			}
			for scope := range strings.FieldsSeq(scopes) {
				t.Scopes = append(t.Scopes, access.Scope(scope))
			}
			if only != "" {
				t.Only = strings.Fields(only)
			}
			t.Created, t.Expires = time.UnixMilli(created), time.UnixMilli(expires)
			if revoked != 0 {
				t.Revoked = time.UnixMilli(revoked)
			}
			do(t, hash)
			return nil
		})
}

// Revoke has a token let nobody in from now on. One that was revoked before stays as it is.
func (s *Store) Revoke(ctx context.Context, id string) error {
	return s.db.Write(ctx, func(tx *database.Tx) error {
		found := false
		if err := s.each(tx, ` AND id = ?`, []any{id}, func(Token, string) { found = true }); err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: %q", ErrUnknown, id)
		}
		now, err := tx.Now()
		if err == nil {
			_, err = tx.Exec(`UPDATE headwater_tokens SET revoked = ? WHERE pipeline = ? AND id = ? AND revoked = 0`, now.UnixMilli(), s.pipeline, id)
		}
		return err
	})
}

// Find is whom a text lets in. If it lets nobody in (ErrUnknown, ErrExpired, ErrRevoked) the identity has no scopes, and a name if the text has the secret of a token.
func (s *Store) Find(ctx context.Context, text string) (id access.Identity, err error) {
	rest, is := strings.CutPrefix(text, prefix)
	key, secret, _ := strings.Cut(rest, "_")
	if !is {
		return id, ErrUnknown
	}
	var found Token
	var want string
	var now time.Time
	err = s.db.Read(ctx, func(tx *database.Tx) (err error) {
		if now, err = tx.Now(); err != nil {
			return err
		}
		return s.each(tx, ` AND id = ?`, []any{key}, func(t Token, hash string) { found, want = t, hash })
	})
	if err != nil {
		return id, fmt.Errorf("looking for a token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(hash(secret)), []byte(want)) != 1 {
		return id, ErrUnknown
	}
	id = found.identity()
	switch {
	case !found.Revoked.IsZero():
		err = ErrRevoked
	case !now.Before(found.Expires):
		err = ErrExpired
	default:
		return id, nil
	}
	id.Scopes, id.Only = nil, nil
	return id, err
}
