package hive

import (
	"encoding/json"
	"strings"
)

// sparkField and sparkType are what Spark's schema as JSON consists of, as far as comments go. What a type is beside them is kept as it is.
type sparkField struct {
	Name     string          `json:"name"`
	Type     json.RawMessage `json:"type"`
	Nullable bool            `json:"nullable"`
	Metadata json.RawMessage `json:"metadata"`
}

type sparkType struct {
	Type         string          `json:"type"`
	Fields       []sparkField    `json:"fields,omitempty"`
	ElementType  json.RawMessage `json:"elementType,omitempty"`
	ContainsNull bool            `json:"containsNull,omitempty"`
}

// commented is Spark's schema next with the comments that its columns, and the fields of their structs, have in the schema before: those
// who gave them find them again. A schema that cannot be read has none.
func commented(before, next string) string {
	if !strings.Contains(before, `"comment"`) {
		return next
	}
	return string(graft(json.RawMessage(before), json.RawMessage(next)))
}

func graft(before, next json.RawMessage) json.RawMessage {
	var old, now sparkType
	// A simple type is a string, which these refuse.
	if json.Unmarshal(before, &old) != nil || json.Unmarshal(next, &now) != nil || old.Type != now.Type {
		return next
	}
	switch {
	case now.Type == "array":
		now.ElementType = graft(old.ElementType, now.ElementType)
	case now.Type != "struct" || len(now.Fields) == 0:
		return next
	}
	has := map[string]sparkField{}
	for _, f := range old.Fields {
		has[f.Name] = f
	}
	for i, f := range now.Fields {
		if was, found := has[f.Name]; found {
			now.Fields[i].Type, now.Fields[i].Metadata = graft(was.Type, f.Type), comment(was.Metadata, f.Metadata)
		}
	}
	out, err := json.Marshal(now)
	if err != nil {
		return next
	}
	return out
}

// comment is the metadata of a column: the comment of before, if there is one, and nothing else that somebody may have put there about a type that is no more.
func comment(before, next json.RawMessage) json.RawMessage {
	var m struct {
		Comment *string `json:"comment"`
	}
	if json.Unmarshal(before, &m) != nil || m.Comment == nil {
		return next
	}
	out, err := json.Marshal(m)
	if err != nil {
		return next
	}
	return out
}
