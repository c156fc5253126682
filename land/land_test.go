package land

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFirst(t *testing.T) {
	r := newRig(t, 1, "a_raw")
	r.produce("a_raw", 0, at("0", "2026-07-05T10:00:00"), at("1", "2026-07-06T10:00:00"))
	l := r.land(nil)
	want := map[string]string{"a_raw/date=2026-07-05/a_raw+0+0000000000": "0", "a_raw/date=2026-07-06/a_raw+0+0000000001": "1"}
	if diff := cmp.Diff(want, r.files()); diff != "" {
		t.Error(diff)
	}
	t.Logf("%+v", l.Status())
}
