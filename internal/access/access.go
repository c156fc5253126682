// Package access says who may what: read the raw layer, read tables, operate.
//
// What enters: the section access of a pipeline file; a name and its proof. What leaves: an Identity, of which a door asks whether it may. The package
// knows no door and no protocol, keeps nothing and starts no goroutine.
//
// The duties of a door that asks it:
//  1. It lets nobody in whom it cannot name: what is served without an Identity (health, metrics, what sources take in by rules of their own) is served on purpose.
//  2. It asks Identity.May, and for a table Identity.Reads, before it does anything, and again for each request: an identity is never kept longer than a connection.
//  3. It answers who is not known, or has the wrong proof, in the same words and in the same time.
//  4. It writes every refusal to the log and counts it (Refusal); a proof is never in a text.
package access

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"headwater/internal/setting"
)

// Scope is a kind of things that somebody may do.
type Scope string

// The scopes. None of them has another in it.
const (
	// Raw is to read topics, raw objects and quarantine.
	Raw Scope = "raw"
	// Tables is to read tables, all or some.
	Tables Scope = "tables"
	// Operate is to make days and to change tables, runs, topics and tokens.
	Operate Scope = "operate"
)

// Scopes are all of them.
var Scopes = []Scope{Raw, Tables, Operate}

// Identity is somebody who has said, and proved, who they are. The zero value may do nothing.
type Identity struct {
	// Name is a user's, or that of a token as "token NAME"; it is fit for a log.
	Name string
	// Scopes are what they may.
	Scopes []Scope
	// Only has the patterns of the tables that they may read; nil is all. It means nothing without the scope Tables.
	Only []string
}

// Own is the process itself, and who acts for it on its machine: it may everything.
func Own() Identity { return Identity{Name: Itself, Scopes: Scopes} }

// May says whether they have one of the scopes.
func (i Identity) May(any ...Scope) bool {
	return slices.ContainsFunc(any, func(s Scope) bool { return slices.Contains(i.Scopes, s) })
}

// Reads says whether they may read a table.
func (i Identity) Reads(database, table string) bool {
	if !i.May(Tables) {
		return false
	}
	return i.Only == nil || slices.ContainsFunc(i.Only, func(pattern string) bool {
		matches, err := path.Match(pattern, database+"."+table)
		return err == nil && matches
	})
}

// Policy is who may what, by a valid Config. It does not change; its methods may be called from several goroutines.
type Policy struct {
	users map[string]user
}

type user struct {
	Identity
	secret func() setting.Secret // a function, because fmt asks no method of a field that is not exported, and prints what it has
}

// New makes a policy of a configuration that is valid.
func New(c Config) *Policy {
	p := &Policy{users: map[string]user{}}
	for name, u := range c.Users {
		p.users[name] = user{c.identity(name, u.Groups), func() setting.Secret { return u.Password }}
	}
	return p
}

// identity is what all names of a user give them.
func (c *Config) identity(name string, groups []string) Identity {
	id := Identity{Name: name}
	mine := append([]string{name, Everyone}, groups...)
	lets := func(s string) bool { return slices.Contains(mine, s) }
	for _, l := range c.Lists() {
		if slices.ContainsFunc(l.Names, lets) {
			id.Scopes = append(id.Scopes, l.Scope)
		}
	}
	for _, by := range c.Tables {
		if !lets(by) {
			continue
		}
		patterns, limited := c.Only[by]
		if !limited {
			id.Only = nil
			return id
		}
		id.Only = append(id.Only, patterns...)
	}
	return id
}

func proofOf(password string) [sha256.Size]byte { return sha256.Sum256([]byte(password)) }

// Login is who has the name and password, if that is so. It takes as long for a name that there is as for one that there is not.
func (p *Policy) Login(name, password string) (Identity, bool) {
	u, found := p.users[name]
	var own setting.Secret
	if found {
		own = u.secret()
	}
	given, want := proofOf(password), proofOf(own.Reveal())
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 || !found {
		return Identity{}, false
	}
	return u.Identity, true
}

// Password is what a user proves a name with, for protocols in which it is not sent: who has it may not show it.
func (p *Policy) Password(name string) (setting.Secret, Identity, bool) {
	u, found := p.users[name]
	if !found {
		return "", Identity{}, false
	}
	return u.secret(), u.Identity, true
}

// Identities are all users, by name.
func (p *Policy) Identities() []Identity {
	var all []Identity
	for _, name := range slices.Sorted(maps.Keys(p.users)) {
		all = append(all, p.users[name].Identity)
	}
	return all
}

// Grant is what somebody asks for who makes an Identity other than a user, as a token: scopes and patterns, by their spellings.
type Grant struct {
	Scopes []Scope  `json:"scopes,omitempty"`
	Only   []string `json:"only,omitempty"`
}

// Validate says what is wrong with a grant.
func (g Grant) Validate() error {
	if len(g.Scopes) == 0 {
		return fmt.Errorf("no scope is given: name one or more of %v", Scopes)
	}
	for _, s := range g.Scopes {
		if !slices.Contains(Scopes, s) {
			return fmt.Errorf("there is no scope %q: there are %v", string(s), Scopes)
		}
	}
	if len(g.Only) > 0 && !slices.Contains(g.Scopes, Tables) {
		return fmt.Errorf("patterns of tables go with the scope %s", Tables)
	}
	for _, pattern := range g.Only {
		if text := faultOf(pattern); text != "" {
			return fmt.Errorf("a pattern of tables %s", text)
		}
	}
	return nil
}

// Named says whether a name is fit for a log and every protocol.
func Named(name string) error {
	if !named.MatchString(name) {
		return fmt.Errorf("a name %s, got %q", nameRule, name)
	}
	return nil
}

// Reason is why a door has refused somebody; there are few, because metrics have them as a label.
type Reason string

const (
	// Unnamed has not said who they are.
	Unnamed Reason = "unnamed"
	// Unproved has a name that there is not, or the wrong proof, or one that has expired.
	Unproved Reason = "unproved"
	// Forbidden may not do that.
	Forbidden Reason = "forbidden"
)

// Reasons are all of them.
var Reasons = []Reason{Unnamed, Unproved, Forbidden}

// Door is a protocol that a process is asked by.
type Door string

const (
	// HTTP is the API's door.
	HTTP Door = "http"
	// Kafka is the embedded broker's.
	Kafka Door = "kafka"
)

// Doors are all that ask who somebody is.
var Doors = []Door{HTTP, Kafka}

// Refusal is one that a door has made.
type Refusal struct {
	Door   Door
	Reason Reason
	// Who is the name that was claimed, empty if none was. It is whatever somebody sent, cut to a bearable length.
	Who string
	// What was asked for.
	What string
	// From is the peer's address.
	From string
}

// Claimed is a name as it was sent, cut so that it can be kept.
func Claimed(name string) string {
	const most = 64
	if len(name) > most {
		name = strings.ToValidUTF8(name[:most], "") + "..."
	}
	return name
}
