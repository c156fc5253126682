package connector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// setting is one line of a connector's configuration.
type setting struct{ key, value string }

// parse reads JSON, with or without name and config around it, or a properties file.
func parse(data []byte) (name string, all []setting, err error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		return "", nil, errors.New("it is not UTF-8: save it so")
	}
	if text := bytes.TrimSpace(data); len(text) > 0 && text[0] == '{' {
		name, all, err = parseJSON(text)
	} else {
		all, err = parseProperties(string(data))
	}
	if err != nil {
		return "", nil, err
	}
	seen := map[string]bool{}
	for _, s := range all {
		if seen[s.key] {
			return "", nil, fmt.Errorf("it has %s twice: leave one of them out", s.key)
		}
		seen[s.key] = true
	}
	if len(all) == 0 {
		return "", nil, errors.New("it has no keys")
	}
	return name, all, nil
}

// member is one of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

func parseJSON(text []byte) (name string, all []setting, err error) {
	members, err := membersOf(text)
	if err != nil {
		return "", nil, err
	}
	for _, m := range members {
		if m.name == "config" && m.value[0] == '{' {
			return parseREST(members)
		}
	}
	all, err = scalars(members)
	return "", all, err
}

// parseREST reads what Connect's REST interface takes and gives: the configuration beside the name, and tasks and type, which it adds.
func parseREST(members []member) (name string, all []setting, err error) {
	for _, m := range members {
		switch m.name {
		case "config":
			inner, err := membersOf(m.value)
			if err != nil {
				return "", nil, fmt.Errorf("reading config: %w", err)
			}
			if all, err = scalars(inner); err != nil {
				return "", nil, err
			}
		case "name":
			if err := json.Unmarshal(m.value, &name); err != nil {
				return "", nil, errors.New("its name is no text")
			}
		case "tasks", "type", "initial_state":
		default:
			return "", nil, fmt.Errorf("it has %q beside config: that is no form of Connect's", m.name)
		}
	}
	return name, all, nil
}

// membersOf reads an object with its order and its repetitions.
func membersOf(text []byte) (all []member, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("it is no JSON: %w", err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf("it is no JSON: %w", err)
		}
		all = append(all, member{key.(string), value})
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("it is no JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it has more than one JSON object")
	}
	return all, nil
}

// scalars takes values as Connect takes them: all are texts, and null is as good as absent.
func scalars(members []member) (all []setting, err error) {
	for _, m := range members {
		switch m.value[0] {
		case 'n':
		case '{', '[':
			return nil, fmt.Errorf("%s is an object or an array: Connect's values are texts", m.name)
		case '"':
			var text string
			if err := json.Unmarshal(m.value, &text); err != nil {
				return nil, fmt.Errorf("reading %s: %w", m.name, err)
			}
			all = append(all, setting{m.name, text})
		default:
			all = append(all, setting{m.name, string(m.value)})
		}
	}
	return all, nil
}

// parseProperties reads a file of Java's java.util.Properties.
func parseProperties(text string) (all []setting, err error) {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for n := 0; n < len(lines); n++ {
		first, line := n+1, blankLess(lines[n])
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for goesOn(line) && n+1 < len(lines) {
			n++
			line = line[:len(line)-1] + blankLess(lines[n])
		}
		key, value := cutProperty(line)
		if key, err = unescape(key); err == nil {
			value, err = unescape(value)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", first, err)
		}
		all = append(all, setting{key, value})
	}
	return all, nil
}

func blankLess(line string) string { return strings.TrimLeft(line, " \t\f") }

// goesOn says that a line ends in a backslash that no other escapes.
func goesOn(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// cutProperty cuts at the first =, : or blank that is not escaped.
func cutProperty(line string) (key, value string) {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '=', ':', ' ', '\t', '\f':
			value = blankLess(line[i:])
			if value != "" && (value[0] == '=' || value[0] == ':') {
				value = blankLess(value[1:])
			}
			return line[:i], value
		}
	}
	return line, ""
}

func unescape(text string) (string, error) {
	var units []uint16 // of \u, which may be halves of a character
	var b strings.Builder
	flush := func() {
		b.WriteString(string(utf16.Decode(units)))
		units = nil
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			flush()
			if text[i] != '\\' {
				b.WriteByte(text[i])
			}
			continue
		}
		i++
		if text[i] == 'u' {
			if i+5 > len(text) {
				return "", errors.New(`it ends within \u`)
			}
			unit, err := strconv.ParseUint(text[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`\%s is no character`, text[i:i+5])
			}
			units = append(units, uint16(unit))
			i += 4
			continue
		}
		flush()
		if at := strings.IndexByte("tnrf", text[i]); at >= 0 {
			b.WriteByte("\t\n\r\f"[at])
		} else {
			b.WriteByte(text[i])
		}
	}
	flush()
	return b.String(), nil
}
