package access

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"headwater/internal/setting"
)

// Config is the section access of a pipeline file. One without anything in it lets nobody in but the process itself.
type Config struct {
	// Users are those who may name themselves, by their names: at the HTTP door, to the embedded Kafka.
	Users map[string]User `yaml:"users"`
	// Raw, Tables and Operate are who may: names of users and of groups, or everyone, who is whoever has said who they are.
	// Raw is topics, raw objects and quarantine.
	Raw []string `yaml:"raw"`
	// Tables is what SQL answers, and what there is to know of tables.
	Tables []string `yaml:"tables"`
	// Operate is to make days, to change tables, runs, topics and tokens.
	Operate []string `yaml:"operate"`
	// Only has, for a name under Tables, patterns as market.* of the tables that it lets them read. Who is let in by another name too reads what either lets.
	Only map[string][]string `yaml:"only"`
}

// User is somebody with a password.
type User struct {
	Password setting.Secret `yaml:"password"`
	// Groups are what the lists call several users by. A group is there once a user is in it.
	Groups []string `yaml:"groups"`
}

const (
	// Everyone is, in a list, whoever has said who they are.
	Everyone = "everyone"
	// Itself is the name of the process, by which its own clients are let in.
	Itself = "headwater"
)

// named is a name that fits every protocol: no colon for basic authentication, no comma and no = for SCRAM.
var named = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

const nameRule = "must be letters, digits and . _ @ -, at most 64, beginning with a letter or digit"

// Validate reports every fault.
func (c *Config) Validate() (f setting.Faults) {
	groups := c.groups()
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		c.validateUser(&f, name)
	}
	for _, list := range c.Lists() {
		for i, name := range list.Names {
			at := []string{string(list.Scope), fmt.Sprint(i)}
			_, isUser := c.Users[name]
			switch {
			case slices.Contains(list.Names[:i], name):
				f.Add(at, "has %q a second time", name)
			case !isUser && !groups[name] && name != Everyone:
				f.Add(at, "has %q, which is neither a user nor a group of one: %s", name, c.names(groups))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Only)) {
		at := []string{"only", name}
		if !slices.Contains(c.Tables, name) {
			f.Add(at, "is of %q, who is not under access.tables: write the name there too", name)
		}
		if len(c.Only[name]) == 0 {
			f.Add(at, "is empty, so that no table could be read: write patterns as [\"market.*\"], or leave it out for all tables")
		}
		for i, pattern := range c.Only[name] {
			if text := faultOf(pattern); text != "" {
				f.Add(append(slices.Clone(at), fmt.Sprint(i)), "%s", text)
			}
		}
	}
	return f
}

func (c *Config) validateUser(f *setting.Faults, name string) {
	at := []string{"users", name}
	u := c.Users[name]
	switch {
	case name == Everyone || name == Itself:
		f.Add(at, "has the name %s, which is taken: %s is whoever has said who they are, and %s the process itself", name, Everyone, Itself)
	case !named.MatchString(name):
		f.Add(at, "has a name that no protocol could carry: it %s", nameRule)
	}
	password := u.Password.Reveal()
	switch {
	case password == "":
		f.Add(append(at, "password"), "is missing: write one, as \"${NAME}\" from the environment or \"${file:/path}\"")
	case strings.ContainsFunc(password, unicode.IsControl):
		f.Add(append(at, "password"), "has a line end or another control character in it, which nobody could type")
	}
	for i, group := range u.Groups {
		at := []string{"users", name, "groups", fmt.Sprint(i)}
		_, isUser := c.Users[group]
		switch {
		case isUser:
			f.Add(at, "has %q, which is a user: a name in a list could mean either, rename the group or the user", group)
		case group == Everyone || group == Itself:
			f.Add(at, "has %q, which is no group of yours: %s is whoever has said who they are, and %s the process itself", group, Everyone, Itself)
		case !named.MatchString(group):
			f.Add(at, "has %q: a group's name %s", group, nameRule)
		case slices.Contains(u.Groups[:i], group):
			f.Add(at, "has %q a second time", group)
		}
	}
}

func (c *Config) groups() map[string]bool {
	all := map[string]bool{}
	for _, u := range c.Users {
		for _, g := range u.Groups {
			all[g] = true
		}
	}
	return all
}

// names says which there are.
func (c *Config) names(groups map[string]bool) string {
	users := strings.Join(slices.Sorted(maps.Keys(c.Users)), ", ")
	if users == "" {
		return "there are no users yet, write them under access.users"
	}
	text := "there are the users " + users
	if len(groups) > 0 {
		text += ", the groups " + strings.Join(slices.Sorted(maps.Keys(groups)), ", ")
	}
	return text + " and " + Everyone
}

// List is who has a scope: names of users, of groups, or Everyone.
type List struct {
	Scope Scope
	Names []string
}

// Lists are the three, as they are written.
func (c *Config) Lists() []List {
	return []List{{Raw, c.Raw}, {Tables, c.Tables}, {Operate, c.Operate}}
}

// faultOf says what is wrong with a pattern of tables.
func faultOf(pattern string) string {
	if _, err := path.Match(pattern, ""); err != nil || strings.Count(pattern, ".") != 1 || strings.ContainsAny(pattern, "/ ") {
		return fmt.Sprintf("must be database.table with * for any characters, as market.* or market.orders_raw, got %q", pattern)
	}
	return ""
}
