package rights

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"headwater/internal/access"
)

// Grants are statements of Hive's SQL standard authorization for the tables that are known: each group of users is a role, and a user whom a list names has grants
// by that name. known has the users and the tables.
func Grants(c *access.Config, known Pipeline) (statements []string, notes Notes, err error) {
	tables := known.tables()
	if len(tables) == 0 {
		return nil, nil, errors.New("there are no tables to grant: the pipeline has no sources, or serialize.engine is none")
	}
	groups := map[string][]string{}
	for _, id := range known.Who {
		for _, g := range append(slices.Clone(c.Users[id.Name].Groups), access.Everyone) {
			groups[g] = append(groups[g], id.Name)
		}
	}
	var grants []string
	used := map[string]bool{}
	for _, name := range slices.Sorted(slices.Values(c.Tables)) {
		to := "USER " + identifier(name)
		if groups[name] != nil {
			to, used[name] = "ROLE "+identifier(name), true
		}
		for _, t := range tables {
			if fits(c.Only[name], t.String()) {
				grants = append(grants, fmt.Sprintf("GRANT SELECT ON TABLE %s.%s TO %s;", identifier(t.Database), identifier(t.Table), to))
			}
		}
	}
	for _, group := range slices.Sorted(maps.Keys(used)) {
		statements = append(statements, fmt.Sprintf("CREATE ROLE %s;", identifier(group)))
		for _, name := range groups[group] {
			statements = append(statements, fmt.Sprintf("GRANT ROLE %s TO USER %s;", identifier(group), identifier(name)))
		}
	}
	notes.add("a grant is of one table: patterns under only: are written as the tables that they fit now; render again when there are others")
	notes.add("Hive checks grants of those who ask HiveServer2, with SQL standard based authorization; who asks the metastore itself, as Spark does, is not asked for them: the rights to files count there")
	return append(statements, grants...), notes, nil
}

// fits says whether a table is one of those that patterns name; no patterns are all.
func fits(patterns []string, t string) bool {
	return patterns == nil || slices.ContainsFunc(patterns, func(pattern string) bool {
		matches, err := path.Match(pattern, t)
		return err == nil && matches
	})
}

func identifier(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }
