package table

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// Layout is where a table lies whose place and spelling somebody else has chosen. Its keys are named as those of every table, and mean other objects.
type Layout struct {
	// Prefix begins the keys of the table's objects in the store, without a slash at its end.
	Prefix string `json:"prefix"`
	// Folders and Values are how many digits year, month and day have at least in the names of the folders, and in a metastore's values: 2 for 07.
	Folders [3]int `json:"folders"`
	Values  [3]int `json:"values"`
}

// dayFolder begins what follows the table in the key of an object in a day's folder.
var dayFolder = regexp.MustCompile(`^year=(\d+)/month=(\d+)/day=(\d+)/`)

// Spell is the day's year, month and day with at least these numbers of digits.
func (d Day) Spell(digits [3]int) [3]string {
	var out [3]string
	for i, n := range [3]int{d.Year, d.Month, d.Day} {
		out[i] = fmt.Sprintf("%0*d", digits[i], n)
	}
	return out
}

// DayPath is the day's folder, or partition, as it is spelled there: year=2026/month=07/day=05.
func DayPath(spelled [3]string) string {
	return fmt.Sprintf("year=%s/month=%s/day=%s", spelled[0], spelled[1], spelled[2])
}

// Below is what follows the table's place in the store, of an object, or folder of a day, that follows its name as rest in keys.
func (l Layout) Below(rest string) string { return respell(rest, [3]int{1, 1, 1}, l.Folders) }

// Above undoes Below. What lies in folders of days that are spelled in another way is nowhere that anybody looks.
func (l Layout) Above(below string) string {
	rest := respell(below, l.Folders, [3]int{1, 1, 1})
	if dayFolder.MatchString(below) && l.Below(rest) != below {
		return "_others/" + below
	}
	return rest
}

func respell(rest string, from, to [3]int) string {
	m := dayFolder.FindStringSubmatch(rest + "/")
	if m == nil {
		return rest
	}
	var d Day
	for i, n := range []*int{&d.Year, &d.Month, &d.Day} {
		*n, _ = strconv.Atoi(m[i+1])
	}
	old := DayPath(d.Spell(from))
	if !strings.HasPrefix(rest+"/", old+"/") {
		return rest
	}
	return DayPath(d.Spell(to)) + rest[len(old):]
}

// ParseFolder reads the key of any file in the folder of a day that readers of the table's folder would read; false if it is none.
func ParseFolder(key string) (Place, bool) {
	if name := path.Base(key); name[0] == '_' || name[0] == '.' {
		return Place{}, false
	}
	return ParseKey(path.Join(path.Dir(key), partFile(0)))
}

// InDay says whether rest, which follows a table's name in a key, is in the folder of a day.
func InDay(rest string) bool { return dayFolder.MatchString(rest) }
