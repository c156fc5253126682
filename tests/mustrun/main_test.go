package main

import (
	"strings"
	"testing"
)

const list = `# why
headwater/a TestOne # the acceptance test
headwater/a TestTwo/part
`

const good = `{"Action":"start","Package":"headwater/a"}
{"Action":"run","Package":"headwater/a","Test":"TestOne"}
{"Action":"output","Package":"headwater/a","Test":"TestOne","Output":"noise\n"}
{"Action":"pass","Package":"headwater/a","Test":"TestOne"}
{"Action":"pass","Package":"headwater/a","Test":"TestTwo/part"}
{"Action":"output","Package":"headwater/a","Output":"ok  \theadwater/a\t0.1s\n"}
{"Action":"pass","Package":"headwater/a"}
`

func TestRun(t *testing.T) {
	skipped := strings.Replace(good, `"pass","Package":"headwater/a","Test":"TestOne"`, `"skip","Package":"headwater/a","Test":"TestOne"`, 1)
	without := strings.Replace(good, `{"Action":"pass","Package":"headwater/a","Test":"TestTwo/part"}`+"\n", "", 1)
	failed := strings.Replace(good, `"pass","Package":"headwater/a","Test":"TestOne"`, `"fail","Package":"headwater/a","Test":"TestOne"`, 1)
	hung := strings.Replace(good, `{"Action":"pass","Package":"headwater/a","Test":"TestOne"}`+"\n", "", 1)
	for name, c := range map[string]struct {
		events        string
		strict        bool
		fails         bool
		prints, hides string
	}{
		"all passed":          {good, true, false, "ok  \theadwater/a\t0.1s\n2 passed, 0 failed, 0 skipped\n", "noise"},
		"skipped":             {skipped, true, true, "noise\n", "impossible"},
		"skipped on a laptop": {skipped, false, false, "must run: headwater/a TestOne: skip\n1 passed, 0 failed, 1 skipped\n", "impossible"},
		"not run":             {without, true, true, "must run: headwater/a TestTwo/part was not run\n", "noise"},
		"failed":              {failed, false, true, "noise\n", "impossible"},
		"hung":                {hung, true, true, "--- UNFINISHED: headwater/a TestOne\nnoise\n", "impossible"},
		"package failed":      {good + `{"Action":"fail","Package":"headwater/b"}` + "\n", false, true, "2 passed", "noise"},
		"does not build":      {good + `{"Action":"build-output","ImportPath":"headwater/b","Output":"b.go:1: x\n"}` + "\n" + `{"Action":"build-fail","ImportPath":"headwater/b"}` + "\n", false, true, "b.go:1: x\n", "noise"},
		"nothing ran":         {"", false, true, "0 passed, 0 failed, 0 skipped\n", "noise"},
		"no JSON":             {"go: some trouble\n" + good, true, false, "go: some trouble\n", "noise"},
	} {
		var out strings.Builder
		err := run(strings.NewReader(c.events), &out, list, c.strict)
		if (err != nil) != c.fails {
			t.Errorf("%s: got error %v", name, err)
		}
		if !strings.Contains(out.String(), c.prints) || strings.Contains(out.String(), c.hides) {
			t.Errorf("%s: printed\n%s", name, out.String())
		}
	}
}
