package lake

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// ParseURL reads the URL of a store beyond a network: as form, which is an example of it, a container, and where in it the keys begin, empty or with a
// slash at its end. What stands behind the question mark goes into into; takes names that in words. check is CheckKey, or more. The error goes on from "the URL".
func ParseURL(text, form, takes string, check func(key string) error, into map[string]*string) (container, prefix string, err error) {
	scheme, _, _ := strings.Cut(form, "://")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", "", fmt.Errorf("must be as %s, got %q", form, text)
	}
	if prefix = strings.Trim(u.Path, "/"); prefix != "" {
		if err := check(prefix); err != nil {
			return "", "", fmt.Errorf("has a prefix that cannot begin a key: %w", err)
		}
		prefix += "/"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", "", fmt.Errorf("has a query that cannot be read, write %% as %%25 and & as %%26: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		at, known := into[name]
		if values := query[name]; !known || len(values) != 1 || values[0] == "" {
			return "", "", fmt.Errorf("takes %s, each once and not empty, got %s=%s", takes, name, strings.Join(values, ","))
		}
		*at = query.Get(name)
	}
	return u.Host, prefix, nil
}
