// Package rights says in the words of other servers what the section access of a pipeline file lets people do: policies of S3, ACLs of Kafka, grants of Hive.
//
// What enters: who may what (internal/access), and what there is to have rights to. What leaves: texts that an administrator of the server applies, and notes
// of what they cannot say. The package reads and asks nothing, and starts no goroutine: the same input gives the same bytes.
package rights

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"headwater/internal/access"
	"headwater/table"
)

// Pipeline is what there is to have rights to.
type Pipeline struct {
	// Who are all users, by name, and what they may.
	Who []access.Identity
	// Raw and Tables are the layers that lie in buckets of S3; nil are others.
	Raw, Tables *Place
	// TopicsDir begins the keys of raw objects below Raw; it may be empty.
	TopicsDir string
	// Database has all tables, of which these are known.
	Database string
	Known    []table.Name
	// Topics are known to be read and written by the process, Foreign are filled by others, and Own are its own book-keeping.
	Topics, Foreign, Own []string
	// TopicsRegex, if it is not empty, says which topics land besides.
	TopicsRegex string
}

// Place is where a layer is: a bucket, and what begins all keys, which is empty or ends with a slash.
type Place struct{ Bucket, Prefix string }

// Notes are what a rendered text cannot say, a line each.
type Notes []string

func (n *Notes) add(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(*n, note) {
		*n = append(*n, note)
	}
}

// with are the names of those who have a scope.
func (p Pipeline) with(s access.Scope) (names []string) {
	for _, id := range p.Who {
		if id.May(s) {
			names = append(names, id.Name)
		}
	}
	return names
}

// reads are the tables that somebody may read, as they can be named by a beginning: market.orders* is "orders*". "*" alone is all of the database.
//
// A wildcard of S3 goes on behind a slash, where a pattern of tables ends: *1 would be the folders month=1 of every table. So only one at the end is kept; of
// others, the tables that are known now are named.
func (p Pipeline) reads(id access.Identity, notes *Notes) (patterns []string) {
	if !id.May(access.Tables) {
		return nil
	}
	if id.Only == nil {
		return []string{"*"}
	}
	for _, only := range id.Only {
		of, tables, _ := strings.Cut(only, ".")
		if matches, err := path.Match(of, p.Database); err != nil || !matches {
			notes.add("the pattern %s fits no table of the database %s", only, p.Database)
			continue
		}
		if !strings.ContainsAny(strings.TrimSuffix(tables, "*"), `*?[\`) {
			patterns = append(patterns, tables)
			continue
		}
		known := []string{}
		for _, n := range p.Known {
			if matches, err := path.Match(tables, n.Table); err == nil && matches {
				known = append(known, n.Table)
			}
		}
		notes.add("the pattern %s cannot be said of folders: it is written as the tables that it fits now (%s); render again when there are others", only, strings.Join(known, ", "))
		patterns = append(patterns, known...)
	}
	slices.Sort(patterns)
	return slices.Compact(patterns)
}

// tables are those that are known, sorted.
func (p Pipeline) tables() []table.Name {
	all := slices.Clone(p.Known)
	slices.SortFunc(all, func(a, b table.Name) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}
