package config

import "reflect"

// Same says that the two would be collected, landed and serialized alike.
func (s Source) Same(other Source) bool {
	mine, theirs := s.config(), other.config()
	s.config, other.config, s.open, other.open = nil, nil, nil, nil
	return reflect.DeepEqual(s, other) && reflect.DeepEqual(mine, theirs)
}

// Differences names the keys of the file whose values differ, but for sources and slo, which the sources have. A value that is left out is its default.
func (p *Pipeline) Differences(other *Pipeline) (keys []string) {
	a, b := reflect.ValueOf(*p), reflect.ValueOf(*other)
	for i := range a.NumField() {
		key := a.Type().Field(i).Tag.Get("yaml")
		if key != "-" && key != "slo" && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			keys = append(keys, key)
		}
	}
	return keys
}
