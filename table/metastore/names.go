package metastore

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	hms "github.com/beltran/gohive/hive_metastore"
)

var word = regexp.MustCompile(`^[a-z0-9_]{1,128}$`)

// identifier reports whether Hive takes the name, in lower case, for a database's or a table's.
func identifier(name string) bool { return word.MatchString(name) }

// normal is a database's or a table's name as it is kept: in lower case, as Hive does, and without the catalog that clients since
// Hive 3 put before it (@hive#shop). There is one catalog.
func normal(name string) string {
	if rest, found := strings.CutPrefix(name, "@"); found {
		if _, after, found := strings.Cut(rest, "#"); found {
			name = after
		}
	}
	if name == "!" { // since Hive 3: no database is meant, which is any
		name = ""
	}
	return strings.ToLower(strings.TrimSpace(name))
}

// matcher is a Hive pattern: * is anything, | is or, case does not count; an empty one matches all.
func matcher(pattern string) (func(string) bool, error) {
	pattern = normal(pattern)
	if pattern == "" {
		return func(string) bool { return true }, nil
	}
	var parts []string
	for part := range strings.SplitSeq(pattern, "|") {
		part = regexp.QuoteMeta(strings.TrimSpace(part))
		parts = append(parts, strings.ReplaceAll(part, `\*`, `.*`))
	}
	re, err := regexp.Compile(`(?is)^(?:` + strings.Join(parts, "|") + `)$`)
	if err != nil {
		return nil, meta("pattern %q: %v", pattern, err)
	}
	return re.MatchString, nil
}

// unsafe are the characters that Hive escapes in partition names (FileUtils.escapePathName of Apache Hive).
const unsafe = "\"#%'*/:=?\\\x7f{[]^"

// partitionName is year=2026/month=7/day=5. An empty value is Hive's name for none.
func partitionName(t *hms.Table, values []string) string {
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteByte('/')
		}
		escape(&b, strings.ToLower(t.PartitionKeys[i].Name))
		b.WriteByte('=')
		if v == "" {
			v = "__HIVE_DEFAULT_PARTITION__"
		}
		escape(&b, v)
	}
	return b.String()
}

func escape(b *strings.Builder, s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || strings.IndexByte(unsafe, c) >= 0 {
			fmt.Fprintf(b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
}

// parsePartitionName undoes partitionName.
func parsePartitionName(name string) (keys, values []string, err error) {
	n := strings.Count(name, "/") + 1 // of thousands of names, to allocate once each shows
	keys, values = make([]string, 0, n), make([]string, 0, n)
	for part := range strings.SplitSeq(name, "/") {
		key, value, found := strings.Cut(part, "=")
		k, kerr := url.PathUnescape(key)
		v, verr := url.PathUnescape(value)
		if !found || kerr != nil || verr != nil {
			return nil, nil, invalid("%q is not a partition name as year=2026/month=7", name)
		}
		keys, values = append(keys, k), append(values, v)
	}
	return keys, values, nil
}
