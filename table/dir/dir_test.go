package dir

import (
	"testing"

	"headwater/lake/mem"
	"headwater/table"
	"headwater/table/tabletest"
)

func TestCatalog(t *testing.T) {
	tabletest.Run(t, func(t *testing.T) table.Catalog {
		c, err := Open(t.Context(), mem.New())
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}
