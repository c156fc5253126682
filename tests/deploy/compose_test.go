package deploy

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"headwater/tests/binary"
)

const trial = top + "/deploy/compose"

// project is what the test looks at of a compose file, as the compose specification's own library has read it.
type project struct {
	Services map[string]struct {
		Image string
		Build *struct {
			Context, Dockerfile string
		}
		Command   []string
		DependsOn map[string]any `json:"depends_on"`
		Ports     []struct {
			HostIP string `json:"host_ip"`
		}
		Volumes []struct{ Type, Source, Target string }
	}
}

// TestCompose reads the compose file of the trial, and wants what it refers to to be there: files, services at the addresses that the files name, stages.
func TestCompose(t *testing.T) {
	file, err := filepath.Abs(trial + "/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", ".", file)
	cmd.Dir = top + "/tools/compose"
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, said.String())
	}
	var p project
	if err := json.Unmarshal(out, &p); err != nil {
		t.Fatal(err)
	}
	var stages []string
	for name, s := range p.Services {
		if s.Image == "" && s.Build == nil || strings.Contains(strings.TrimPrefix(s.Image, "localhost/"), ".") && strings.Contains(strings.Split(s.Image, "/")[0], ".") {
			t.Errorf("service %s has the image %q, want a name without a host", name, s.Image)
		}
		if s.Build != nil {
			exists(t, name, filepath.Join(s.Build.Context, s.Build.Dockerfile))
		}
		for _, v := range s.Volumes {
			if v.Type == "bind" {
				exists(t, name, v.Source)
			}
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("service %s has a port on %q, want this machine's own", name, port.HostIP)
			}
		}
		if strings.Contains(s.Image, "headwater") {
			stages = append(stages, s.Command[0])
			if s.Command[1] != "/etc/headwater/pipeline.yaml" {
				t.Errorf("service %s has the command %v", name, s.Command)
			}
		}
	}
	slices.Sort(stages)
	if !slices.Equal(stages, []string{"collect", "land", "serve"}) {
		t.Errorf("the stages are %v", stages)
	}
	for _, name := range []string{"pipeline/pipeline.yaml", "prometheus/prometheus.yml", "hive/hive-site.xml"} {
		text, err := os.ReadFile(filepath.Join(trial, name))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`\b([a-z][a-z0-9-]*):[0-9]{4,5}\b`).FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s has no address", name)
		}
		for _, m := range found {
			if _, ok := p.Services[m[1]]; !ok {
				t.Errorf("%s has the address %s, and there is no such service", name, m[0])
			}
		}
	}
	cmd = exec.Command(binary.Build(t), "check", trial+"/pipeline/pipeline.yaml")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// exists wants what a service is given to be there. A part of deploy/ that this tree does not have at all is only told of.
func exists(t *testing.T, service, path string) {
	t.Helper()
	_, err := os.Stat(path)
	if err == nil {
		return
	}
	for _, part := range []string{"airflow", "prometheus", "grafana"} {
		folder, abs := filepath.Abs(top + "/deploy/" + part)
		if _, missing := os.Stat(folder); abs == nil && os.IsNotExist(missing) && strings.HasPrefix(path, folder) {
			t.Logf("service %s: there is no %s in this tree", service, folder)
			return
		}
	}
	t.Errorf("service %s: %v", service, err)
}
