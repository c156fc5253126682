package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/itchyny/gojq"

	"headwater/envelope"
)

// query is one jq, compiled; the zero value gives its input.
type query struct {
	text string
	code *gojq.Code
	path *gojq.Code // the paths that it takes
}

func compile(text string) (query, error) {
	if text == "" {
		return query{}, nil
	}
	code := func(text string) (*gojq.Code, error) {
		parsed, err := gojq.Parse(text)
		if err != nil {
			return nil, err
		}
		return gojq.Compile(parsed)
	}
	value, err := code(text)
	if err != nil {
		return query{}, err
	}
	path, err := code("path(" + text + "\n)") // the line end closes a comment
	if err != nil {
		return query{}, err
	}
	return query{text, value, path}, nil
}

// all are the outputs for v.
func (q query) all(ctx context.Context, v any) ([]any, error) {
	if q.code == nil {
		return []any{v}, nil
	}
	return outputs(ctx, q.code, v)
}

// one is the first output, nil if there is none.
func (q query) one(ctx context.Context, v any) (any, error) {
	all, err := q.all(ctx, v)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

func outputs(ctx context.Context, code *gojq.Code, v any) ([]any, error) {
	var all []any
	for i := code.RunWithContext(ctx, v); ; {
		out, more := i.Next()
		if !more {
			return all, nil
		}
		if err, failed := out.(error); failed {
			return nil, err
		}
		all = append(all, out)
	}
}

// texts are the outputs for the document, with their own bytes in text where they are parts of it. What the query has made itself
// is written anew: numbers as they were spelled, the names of an object sorted.
func (q query) texts(ctx context.Context, document any, text []byte) (values []any, raw [][]byte, err error) {
	if q.code == nil {
		return []any{document}, [][]byte{text}, nil
	}
	l := locator{text: text, inside: map[int]map[any]span{}}
	if paths, err := outputs(ctx, q.path, document); err == nil && !slices.ContainsFunc(paths, slicing) {
		for _, p := range paths {
			v := at(document, p.([]any))
			own, found := l.find(p.([]any))
			if !found {
				if own, err = gojq.Marshal(v); err != nil {
					return nil, nil, err
				}
			}
			values, raw = append(values, v), append(raw, own)
		}
		return values, raw, nil
	}
	if values, err = outputs(ctx, q.code, document); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", q.text, err)
	}
	for _, v := range values {
		own, err := gojq.Marshal(v)
		if err != nil {
			return nil, nil, err
		}
		raw = append(raw, own)
	}
	return values, raw, nil
}

// slicing says of a path that it has another step than a name or an index.
func slicing(path any) bool {
	return slices.ContainsFunc(path.([]any), func(step any) bool {
		switch step.(type) {
		case string, int:
			return false
		}
		return true
	})
}

// at is the value at a path, nil where it leads nowhere.
func at(v any, path []any) any {
	for _, step := range path {
		switch c := v.(type) {
		case map[string]any:
			name, _ := step.(string)
			v = c[name]
		case []any:
			i, ok := step.(int)
			if i < 0 {
				i += len(c)
			}
			if !ok || i < 0 || i >= len(c) {
				return nil
			}
			v = c[i]
		default:
			return nil
		}
	}
	return v
}

type span struct{ from, to int }

// locator finds values of a JSON text that is known to be valid. What it has walked through it does not walk again.
type locator struct {
	text   []byte
	inside map[int]map[any]span // of an object or an array, by where it begins: its values by name or index
}

func (l *locator) find(path []any) ([]byte, bool) {
	i := envelope.SkipSpace(l.text, 0)
	end, reason := len(l.text), ""
	if len(path) == 0 {
		if end, reason = envelope.ValueEnd(l.text, i); reason != "" {
			return nil, false
		}
	}
	for _, step := range path {
		values, known := l.inside[i]
		if !known {
			values = l.index(i)
			l.inside[i] = values
		}
		if n, is := step.(int); is && n < 0 {
			step = n + len(values)
		}
		s, found := values[step]
		if !found {
			return nil, false
		}
		i, end = s.from, s.to
	}
	return l.text[i:end], true
}

// index finds the values of the object or array at i. Of equal names the last counts, as it does for who decodes them.
func (l *locator) index(i int) map[any]span {
	values := map[any]span{}
	bracket := l.text[i]
	if bracket != '{' && bracket != '[' {
		return values
	}
	for i = envelope.SkipSpace(l.text, i+1); i < len(l.text) && l.text[i] != '}' && l.text[i] != ']'; {
		var name any = len(values)
		if bracket == '{' {
			end, reason := envelope.ValueEnd(l.text, i)
			var s string
			if reason != "" || json.Unmarshal(l.text[i:end], &s) != nil {
				return values
			}
			name = s
			i = envelope.SkipSpace(l.text, envelope.SkipSpace(l.text, end)+1) // past the colon
		}
		end, reason := envelope.ValueEnd(l.text, i)
		if reason != "" {
			return values
		}
		values[name] = span{i, end}
		if i = envelope.SkipSpace(l.text, end); i < len(l.text) && l.text[i] == ',' {
			i = envelope.SkipSpace(l.text, i+1)
		}
	}
	return values
}
