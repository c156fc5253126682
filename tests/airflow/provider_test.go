package airflow

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headwater/tests/interop/fixture"
)

// provider is the folder of the package for Airflow.
const provider = "../../deploy/airflow"

// wheel builds the provider's wheel with a Python and installs it into a folder of its own, for PYTHONPATH.
func wheel(t *testing.T, python string) string {
	t.Helper()
	dir := t.TempDir()
	source, built, installed := filepath.Join(dir, "source"), filepath.Join(dir, "wheel"), filepath.Join(dir, "installed")
	if err := os.CopyFS(source, os.DirFS(provider)); err != nil {
		t.Fatal(err)
	}
	run(t, nil, python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", built, source)
	wheels, err := filepath.Glob(filepath.Join(built, "airflow_provider_headwater-*.whl"))
	if err != nil || len(wheels) != 1 {
		t.Fatalf("the wheels are %v, %v", wheels, err)
	}
	run(t, nil, python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", installed, wheels[0])
	return installed
}

func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestProvider: the wheel installs into both Airflows, and its own tests pass there.
func TestProvider(t *testing.T) {
	for major, name := range map[int]string{2: "Airflow 2", 3: "Airflow 3"} {
		t.Run(name, func(t *testing.T) {
			python := fixture.AirflowPython(t, major)
			// The tests are copied from the sources, beside which the package would be found without its wheel.
			tests := t.TempDir()
			for _, folder := range []string{"tests", "dags"} {
				if err := os.CopyFS(filepath.Join(tests, folder), os.DirFS(filepath.Join(provider, folder))); err != nil {
					t.Fatal(err)
				}
			}
			readme, err := os.ReadFile(filepath.Join(provider, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(tests, "README.md"), readme, 0o600); err != nil {
				t.Fatal(err)
			}
			env := append(fixture.AirflowEnv(python, t.TempDir()), "PYTHONPATH="+wheel(t, python))
			out := run(t, env, python, "-m", "unittest", "discover", "-v", "-s", filepath.Join(tests, "tests"))
			if strings.Contains(out, "skipped") || !strings.Contains(out, "test_dag_file") || !strings.Contains(out, "test_is_stopped_in_wait") {
				t.Errorf("not all tests have run:\n%s", out)
			}
		})
	}
}
