package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// expander replaces ${NAME} and ${file:PATH} in the file's values.
type expander struct {
	// dir is what relative PATHs are relative to.
	dir string
	// shown has, for each value that was put in, what the file says in its place.
	shown map[string]string
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// replace puts in what is asked for; $${ stands for ${ itself. What is put in is not looked at again.
func (e expander) replace(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		if !found {
			out.WriteString(text)
			return out.String(), nil
		}
		if plain, escaped := strings.CutSuffix(before, "$"); escaped {
			out.WriteString(plain + "${")
			text = rest
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("has ${ without }: close it, or write $${ for the two characters")
		}
		value, err := e.value(name)
		if err != nil {
			return "", err
		}
		e.shown[value] = "${" + name + "}"
		out.WriteString(before + value)
		text = after
	}
}

func (e expander) value(name string) (string, error) {
	if path, isFile := strings.CutPrefix(name, "file:"); isFile {
		return e.file(path)
	}
	if !variable.MatchString(name) {
		return "", fmt.Errorf("names ${%s}: write ${NAME} for an environment variable, ${file:/path} for a file, $${ for the two characters", name)
	}
	value, set := os.LookupEnv(name)
	if !set {
		return "", fmt.Errorf("names the environment variable %s, which is not set: set it before starting headwater", name)
	}
	return value, nil
}

// file reads a regular file less one trailing line end, which editors and echo add.
func (e expander) file(path string) (string, error) {
	at := path
	if !filepath.IsAbs(at) {
		at = filepath.Join(e.dir, at)
	}
	// A pipe or a device might never end, so it is refused before it is opened.
	if info, err := os.Stat(at); err != nil {
		return "", fmt.Errorf("names the file %s, which cannot be read: %w", path, errors.Unwrap(err))
	} else if !info.Mode().IsRegular() {
		return "", fmt.Errorf("names %s, which is not a regular file", path)
	}
	data, err := readFile(at)
	if err != nil {
		return "", fmt.Errorf("names the file %s, which cannot be read: %w", path, errors.Unwrap(err))
	}
	if len(data) > maxFile {
		return "", fmt.Errorf("names %s, which is larger than %d bytes", path, maxFile)
	}
	value, cut := strings.CutSuffix(string(data), "\n")
	if cut {
		value = strings.TrimSuffix(value, "\r")
	}
	return value, nil
}

// redact takes what was put in out of a text again, because it may be a secret that was written at the wrong place.
func (e expander) redact(text string) string {
	// The longest first: one value may be a part of another.
	values := slices.SortedFunc(maps.Keys(e.shown), func(a, b string) int {
		return cmp.Or(len(b)-len(a), cmp.Compare(a, b))
	})
	for _, value := range values {
		quoted := strconv.Quote(value)
		for _, v := range []string{value, quoted[1 : len(quoted)-1], strings.TrimSpace(value)} { // as it is, as %q and as sizes show it
			// Shorter values are in every text by chance, and are no secrets.
			if len(v) >= 4 {
				text = strings.ReplaceAll(text, v, e.shown[value])
			}
		}
	}
	return text
}
