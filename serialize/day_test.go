package serialize

import (
	"testing"
	"time"

	"headwater/table"
)

// Clocks that skip midnight, or have it twice: every instant lies on the day that the clock on the wall says.
func TestDayStart(t *testing.T) {
	for _, zone := range []string{"UTC", "America/Santiago", "America/Havana", "Africa/Cairo", "Asia/Beirut", "Asia/Kathmandu"} {
		where, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		end := time.Date(2027, 1, 1, 0, 0, 0, 0, where)
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, where); at.Before(end); at = at.Add(15 * time.Minute) {
			d, ms := table.DayOf(at), at.UnixMilli()
			if from, to := dayStart(d, 0, where), dayStart(d, 1, where); ms < from || ms >= to {
				t.Errorf("%s is not on %s", at, d)
			}
		}
	}
}
