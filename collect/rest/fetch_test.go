package rest

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"headwater/internal/setting"
)

// TestFetcher: values are filled in and escaped, items have their numbers, and who has enough ends it.
func TestFetcher(t *testing.T) {
	t.Parallel()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String()+" "+r.Header.Get("X-From"))
		switch r.FormValue("page") {
		case "1":
			_, _ = w.Write([]byte(`[{"n":9007199254740993,"x":1.0},{"x":2}]`))
		case "2":
			_, _ = w.Write([]byte(`[{"n":"7"}]`))
		default:
			_, _ = w.Write([]byte(`[]`))
		}
	}))
	defer server.Close()
	c := DefaultConfig()
	c.URL, c.Records, c.Incremental.Path = server.URL+"/{of}", ".[]", ".n"
	c.Incremental.Format, c.Incremental.Initial = spellInteger, "0"
	c.Headers = map[string]setting.Secret{"X-From": "{from}"}
	c.Paginate.PageNumber = &PageNumber{Param: "page"}
	if faults := c.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	f, err := NewFetcher(c, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	fetch := func(pages int) error {
		return f.Fetch(t.Context(), []string{"{of}", "A/B", "{from}", "7"}, func(items []Fetched) (bool, error) {
			for _, it := range items {
				got = append(got, fmt.Sprintf("%s %s %s %v", it.Data, it.Number, it.Position, it.Origin == server.URL+"/A/B"))
			}
			pages--
			return pages > 0, nil
		})
	}
	for _, pages := range []int{1, 3} {
		if err := fetch(pages); err != nil {
			t.Fatal(err)
		}
	}
	first := []string{`{"n":9007199254740993,"x":1.0} 9007199254740993 1/0 true`, `{"x":2} null 1/1 true`}
	if want := slices.Concat(first, first, []string{`{"n":"7"} "7" 2/0 true`}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := "/A%2FB?page=1 7 /A%2FB?page=1 7 /A%2FB?page=2 7 /A%2FB?page=3 7"; strings.Join(asked, " ") != want {
		t.Errorf("asked %q", asked)
	}
	enough := errors.New("enough")
	if err := f.Fetch(t.Context(), nil, func([]Fetched) (bool, error) { return true, enough }); !errors.Is(err, enough) {
		t.Errorf("the result is %v", err)
	}
}
