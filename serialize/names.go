package serialize

import "unicode/utf8"

// names finds the place of a key among an object's fields. Objects of one source have their keys in nearly the same
// order, so the key that followed the one before last time is tried first, and the map only if it is another.
type names struct {
	list []string
	// written has each key as it is mostly found: ,"key": in the JSON text. It is empty where a key can be found only with escapes.
	written []string
	index   map[string]int32
	// after has, for each field and, first, for the beginning of the object, the field that followed it last.
	after []int32
}

// find is the index of key, -1 if it is not there; before is the index of the key met before it, -1 at the beginning.
func (n *names) find(key []byte, before int32) int32 {
	if len(n.list) == 0 {
		return -1
	}
	if i := n.after[before+1]; int(i) < len(n.list) && n.list[i] == string(key) {
		return i
	}
	i, found := n.index[string(key)]
	if !found {
		return -1
	}
	n.after[before+1] = i
	return i
}

// next is the field that followed before last time, and its key as written; the text is empty if that is not known.
func (n *names) next(before int32) (i int32, text string) {
	if len(n.list) == 0 {
		return -1, ""
	}
	if i = n.after[before+1]; int(i) >= len(n.list) {
		return -1, ""
	}
	return i, n.written[i]
}

// add appends key, which is not there yet.
func (n *names) add(key string) int32 {
	i := int32(len(n.list))
	if n.index == nil {
		n.index = map[string]int32{}
		n.after = append(n.after, 0)
	}
	n.list = append(n.list, key)
	n.written = append(n.written, written(key))
	n.index[key] = i
	n.after = append(n.after, i+1)
	return i
}

// removeLast undoes the last add. Guesses that lead to it are noticed by find.
func (n *names) removeLast() string {
	last := len(n.list) - 1
	key := n.list[last]
	delete(n.index, key)
	n.list, n.written, n.after = n.list[:last], n.written[:last], n.after[:last+1]
	return key
}

func written(key string) string {
	for i := range len(key) {
		if c := key[i]; !plain[c] && c < utf8.RuneSelf {
			return ""
		}
	}
	if !utf8.ValidString(key) {
		return ""
	}
	return `,"` + key + `":`
}
