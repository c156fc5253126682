package deploy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headwater/tests/binary"
)

// repository is a clone of a project in which gitlab-ci-local runs what GitLab would.
type repository struct {
	t          *testing.T
	dir, local string
	path       []string
}

// newRepository commits what fill has put into a folder.
func newRepository(t *testing.T, local string, path []string, fill func(dir string) error) repository {
	t.Helper()
	r := repository{t: t, dir: t.TempDir(), local: local, path: path}
	if err := fill(r.dir); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch", "main"},
		{"remote", "add", "origin", "git@gitlab.example:data/pipelines.git"},
		{"add", "--all"},
		{"-c", "user.name=t", "-c", "user.email=t@t.example", "commit", "--quiet", "--message", "all"},
		{"update-ref", "refs/remotes/origin/main", "HEAD"},
		{"symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = r.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return r
}

func (r repository) run(args ...string) (string, error) {
	cmd := exec.Command("node", append([]string{r.local}, args...)...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+strings.Join(append(r.path, os.Getenv("PATH")), ":"), "HOME="+r.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// jobs are the names that gitlab-ci-local lists.
func (r repository) jobs() []string {
	r.t.Helper()
	out, err := r.run("--list-csv-all")
	if err != nil {
		r.t.Fatalf("gitlab-ci-local: %v\n%s", err, out)
	}
	var names []string
	for line := range strings.Lines(out) {
		if name, _, ok := strings.Cut(line, ";"); ok && name != "name" {
			names = append(names, name)
		}
	}
	return names
}

// TestGitLab has gitlab-ci-local, which checks them against GitLab's schema, read the pipeline of the project, and run the jobs of the one for teams on its example:
// they pass, and each of them fails for what it is there for.
func TestGitLab(t *testing.T) {
	local := installed(t, "setup-gitlab-ci-local.sh")
	own := newRepository(t, local, nil, func(dir string) error {
		text, err := os.ReadFile(top + "/.gitlab-ci.yml")
		return errors.Join(err, os.WriteFile(filepath.Join(dir, ".gitlab-ci.yml"), text, 0o600), os.WriteFile(filepath.Join(dir, "go.sum"), nil, 0o600))
	})
	if got := own.jobs(); !slices.Contains(got, "test") || !slices.Contains(got, "build:chart") {
		t.Errorf("the project's pipeline has the jobs %v", got)
	}

	tools := installed(t, "setup-kubernetes.sh")
	bin := t.TempDir()
	if err := os.Symlink(binary.Build(t), filepath.Join(bin, "headwater")); err != nil {
		t.Fatal(err)
	}
	// There is no cluster: what would change one is written down, and helm only reads its flags.
	asked := filepath.Join(bin, "asked")
	helm := fmt.Sprintf("#!/bin/sh\ncase $1 in\nupgrade|rollback) echo \"$@\" >>%s; exec %[2]s \"$@\" --help ;;\nesac\nexec %[2]s \"$@\"\n", asked, filepath.Join(tools, "helm"))
	if err := os.WriteFile(filepath.Join(bin, "helm"), []byte(helm), 0o700); err != nil {
		t.Fatal(err)
	}
	team := newRepository(t, local, []string{bin}, func(dir string) error {
		text, err := os.ReadFile(top + "/deploy/gitlab/headwater.gitlab-ci.yml")
		return errors.Join(err, os.CopyFS(dir, os.DirFS(top+"/deploy/gitlab/example")), os.WriteFile(filepath.Join(dir, "headwater.gitlab-ci.yml"), text, 0o600),
			os.Rename(packaged(t, tools), filepath.Join(dir, "chart")))
	})
	all := []string{"headwater:check", "headwater:test", "headwater:build", "headwater:package"}
	there := team.jobs()
	for _, name := range append(slices.Clone(all), "headwater:deploy:staging", "headwater:deploy:production", "headwater:rollback:staging", "headwater:rollback:production") {
		if !slices.Contains(there, name) {
			t.Errorf("there is no job %s among %v", name, there)
		}
	}
	run := func(jobs ...string) (string, error) {
		return team.run(append([]string{"--force-shell-executor", "--variable", "HEADWATER_UPLOAD=no"}, jobs...)...)
	}
	if out, err := run(all...); err != nil {
		t.Fatalf("%v: %v\n%s", all, err, out)
	}
	archives, err := filepath.Glob(team.dir + "/build/pipelines-*.tar.gz")
	if err != nil || len(archives) != 1 {
		t.Errorf("the archives are %v, %v, want one", archives, err)
	}
	if out, err := run("headwater:deploy:staging", "headwater:rollback:staging"); err != nil {
		t.Errorf("deploying and rolling back: %v\n%s", err, out)
	}
	got, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"upgrade --install shop chart --namespace data-pipelines-staging --values build/staging/shop.values.yaml --values environments/staging.yaml --rollback-on-failure",
		"rollback shop 0 --namespace data-pipelines-staging --wait",
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("helm was not asked for %q, but for\n%s", want, got)
		}
	}
	for file, broken := range map[string]struct{ old, replacement, job, says string }{
		"pipelines/shop.yaml":          {"every: 5m", "evry: 5m", "headwater:check", "evry"},
		"tests/shop.csv":               {"FR,2", "FR,3", "headwater:test", "-FR,3"},
		"environments/production.yaml": {"by: cronjob", "by: cron", "headwater:build", "serialize"},
	} {
		path := filepath.Join(team.dir, file)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := strings.Replace(string(good), broken.old, broken.replacement, 1)
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(broken.job); err == nil || bad == string(good) || !strings.Contains(out, broken.says) {
			t.Errorf("with %s in %s the job %s ends with %v and says no word of it:\n%s", broken.replacement, file, broken.job, err, out)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// packaged is the chart as one file, as a registry has it.
func packaged(t *testing.T, tools string) string {
	t.Helper()
	dir := t.TempDir()
	kube{t, tools}.must(nil, "helm", "package", chart, "--destination", dir)
	found, err := filepath.Glob(dir + "/*.tgz")
	if err != nil || len(found) != 1 {
		t.Fatalf("helm package made %v, %v", found, err)
	}
	return found[0]
}
