package serialize

import (
	"context"
	"fmt"

	"headwater/schema"
	"headwater/schema/ledger"
)

// Adopt takes the columns of the raw table, as the files of another job have them, into the source's ledger, and returns the version that has them. flat are those of the flat
// table's files; the result names what of them no field of the raw table gives.
func (s *Schema) Adopt(ctx context.Context, raw, flat schema.Type) (v *ledger.Version, unexplained []string, err error) {
	v, err = s.Log.Change(ctx, "adopt", func(v *ledger.Version) (bool, error) {
		before := layoutOf(v)
		changed, err := v.Adopt(raw)
		if err == nil && changed {
			s.run.keepNames(v, before)
		}
		return changed, err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("beginning the schema ledger: %w", err)
	}
	_, gives := s.Tables(v)
	return v, missing(flat, gives), nil
}

// Explains names the columns of a flat table's files that no field of the raw table gives, or gives with another type.
func (s *Schema) Explains(raw, flat schema.Type) ([]string, error) {
	v := &ledger.Version{Record: &ledger.Node{}}
	before := layoutOf(v)
	if _, err := v.Adopt(raw); err != nil {
		return nil, err
	}
	s.run.keepNames(v, before)
	_, gives := s.Tables(v)
	return missing(flat, gives), nil
}

func missing(flat, gives schema.Type) (names []string) {
	of := map[string]schema.Type{}
	for _, f := range gives.Fields {
		of[f.Name] = f.Type
	}
	for _, f := range flat.Fields {
		if to, found := of[f.Name]; !found {
			names = append(names, fmt.Sprintf("%s, which no field of the raw table gives: it stays, and is null on new days", f.Name))
		} else if !schema.Equal(to, f.Type) {
			names = append(names, fmt.Sprintf("%s, which is %s there and %s by the raw table", f.Name, f.Type, to))
		}
	}
	return names
}
