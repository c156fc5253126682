package flow

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"headwater/tests/binary"
)

// TestRestPage runs the pipeline that docs/sources/rest.md shows, on an API as it is meant there, through to the tables, twice.
func TestRestPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(top, "docs/sources/rest.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	if m == nil {
		t.Fatal("the page shows no pipeline")
	}
	var count atomic.Int64
	count.Store(1200) // one a minute
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		orders := int(count.Load())
		limit, err := strconv.Atoi(r.FormValue("limit"))
		after, _ := strconv.Atoi(r.FormValue("after"))
		if r.Header.Get("Authorization") != "Bearer s3cret-token" || r.URL.Path != "/v2/orders" || err != nil || r.FormValue("updated_since") == "" {
			http.Error(w, "who, and what?", http.StatusUnauthorized)
			return
		}
		meta, data := map[string]any{"next": nil}, []any{}
		for id := after; id < min(orders, after+limit); id++ {
			at := fmt.Sprintf("2026-02-01T%02d:%02d:00Z", id/60%24, id%60)
			data = append(data, map[string]any{"id": id, "total": json.Number("12345678901234567.10"), "updated_at": at})
		}
		if after+limit < orders {
			meta["next"] = after + limit
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"meta": meta, "data": data}) // a client that is gone is no fault of the server's
	}))
	defer server.Close()
	yaml := "database: shop\n" + strings.Replace(string(m[1]), "https://api.shop.example", server.URL, 1)
	p := binary.New(t, binary.Build(t), yaml)
	env := []string{"SHOP_TOKEN=s3cret-token"}
	for range 2 {
		p.Run(t, env, "run", "--once").Must(t)
		got := p.Run(t, env, "query", "--format", "csv", "select count(*), count(distinct id), min(id), max(id) from shop.orders").Must(t)
		orders := count.Load()
		if want := fmt.Sprintf("\n%d,%d,0,%d\n", orders, orders, orders-1); !strings.HasSuffix(got, want) {
			t.Errorf("the table has %q, want %q", got, want)
		}
		count.Add(100)
	}
	if r := p.Run(t, []string{"SHOP_TOKEN=s3cret-wrong"}, "run", "--once"); r.Code == 0 || !strings.Contains(r.Stderr, "401") || strings.Contains(r.Stdout+r.Stderr, "s3cret") {
		t.Errorf("with a wrong token: %d\n%s", r.Code, r.Stderr)
	}
}
