package ledger

import (
	"strings"

	"headwater/envelope"
	"headwater/schema"
)

// Adopt takes the columns of files that another job has made into the version, as if a day had had values of these types: record is the type of whole records. No day is
// marked to be rewritten. It reports whether that has changed anything.
func (v *Version) Adopt(record schema.Type) (changed bool, err error) {
	e := &schema.Evidence{Seen: schema.SeenObject, Fields: map[string]*schema.Evidence{envelope.KeyRawData: {}}}
	pins := map[string]string{}
	e.Merge(evidenceOf(record, "", pins))
	none := func(schema.Type) ([]string, error) { return nil, nil }
	changed, err = v.Add(Day{Evidence: e, Place: func(int64) Place { return Place{} }, Touched: none}, Rules{})
	for path, pin := range pins {
		if n := v.Find(path); err == nil && n != nil && n.Pin == "" {
			n.Pin, changed = pin, true
		}
	}
	v.Rescued = v.Rescued || v.Record.mayRescue()
	return changed, err
}

// evidenceOf is what would have been seen at the place path, below the record, for it to have this type; pins gets the types that nothing which is seen has.
func evidenceOf(t schema.Type, path string, pins map[string]string) *schema.Evidence {
	e := &schema.Evidence{}
	switch t.Kind {
	case schema.Boolean:
		e.Seen = schema.SeenBool
	case schema.Long:
		e.Seen = schema.SeenInt
	case schema.Double:
		e.Seen = schema.SeenInt | schema.SeenFraction
	case schema.String:
		e.Seen = schema.SeenString
	case schema.Decimal:
		e.Seen = schema.SeenInt | schema.SeenBigInt
		pins[below(path)] = t.String()
	case schema.Timestamp:
		e.Seen = schema.SeenString
		pins[below(path)] = "timestamp(iso)"
	case schema.List:
		e.Seen, e.Elem = schema.SeenArray, evidenceOf(*t.Elem, path+"[]", pins)
	case schema.Map:
		e.Seen, e.Values = schema.SeenObject, evidenceOf(*t.Elem, path+"[]", pins)
	case schema.Struct:
		e.Seen, e.Fields = schema.SeenObject, map[string]*schema.Evidence{}
		for _, f := range t.Fields {
			e.Fields[f.Name] = evidenceOf(f.Type, strings.TrimPrefix(path+"."+f.Name, "."), pins)
		}
	}
	return e
}

// below is the path as Find has it: of what is in raw_data, from there on.
func below(path string) string { return strings.TrimPrefix(path, envelope.KeyRawData+".") }
