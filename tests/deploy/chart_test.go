package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"headwater/tests/binary"
)

const chart = top + "/deploy/helm/headwater"

// object is what the tests look at of a manifest.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Template    template
		JobTemplate struct{ Spec struct{ Template template } } `yaml:"jobTemplate"`
		Groups      []struct{ Name string }
	}
}

type template struct {
	Spec struct{ Containers []container }
}

type container struct {
	Args    []string
	Env     []struct{ Name string }
	EnvFrom []struct{ SecretRef struct{ Name string } } `yaml:"envFrom"`
}

// manifests are the objects of a file of many.
func manifests(t *testing.T, text []byte) (all []object) {
	t.Helper()
	documents := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var o object
		if err := documents.Decode(&o); err != nil {
			if err.Error() == "EOF" {
				return all
			}
			t.Fatal(err)
		}
		all = append(all, o)
	}
}

func (o object) containers() []container {
	return append(o.Spec.Template.Spec.Containers, o.Spec.JobTemplate.Spec.Template.Spec.Containers...)
}

// kube runs the programs of scripts/setup-kubernetes.sh.
type kube struct {
	t   *testing.T
	bin string
}

// try gives what the program prints on its standard output, and if it fails on the other too.
func (k kube) try(env []string, program string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(k.bin, program), args...)
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		out = append(out, said.Bytes()...)
	}
	return string(out), err
}

func (k kube) must(env []string, program string, args ...string) string {
	k.t.Helper()
	out, err := k.try(env, program, args...)
	if err != nil {
		k.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// conform is kubeconform with Kubernetes' own schemas and that of OpenShift's Route.
func (k kube) conform(file string) (string, error) {
	return k.try(nil, "kubeconform", "-strict", "-summary", "-skip", "ServiceMonitor,PrometheusRule",
		"-schema-location", k.bin+"/schemas/{{.ResourceKind}}{{.KindSuffix}}.json", "-schema-location", "testdata/schemas/{{.ResourceKind}}{{.KindSuffix}}.json", file)
}

// TestChart renders the chart with every file of example values, holds what comes out against the schemas of Kubernetes, its types, Pod Security and OpenShift's
// restricted-v2, and has the program check the pipeline and the command lines.
func TestChart(t *testing.T) {
	k := kube{t, installed(t, "setup-kubernetes.sh")}
	examples, err := filepath.Glob(chart + "/examples/*.yaml")
	if err != nil || len(examples) < 3 {
		t.Fatalf("there are the examples %v, %v; want three", examples, err)
	}
	for _, example := range examples {
		name := strings.TrimSuffix(filepath.Base(example), ".yaml")
		t.Run(name, func(t *testing.T) {
			k := kube{t, k.bin}
			k.must(nil, "helm", "lint", "--strict", chart, "--values", example)
			rendered := k.must(nil, "helm", "template", "hw", chart, "--namespace", "data", "--values", example)
			file := filepath.Join(t.TempDir(), name+".yaml")
			if err := os.WriteFile(file, []byte(rendered), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := k.conform(file)
			if err != nil || !strings.Contains(out, "Invalid: 0, Errors: 0") {
				t.Errorf("kubeconform: %v\n%s", err, out)
			}
			var env []string
			if name == "openshift" {
				env = []string{"OPENSHIFT=1"}
			}
			t.Log(k.must(env, "kubernetes", file))
			objects := manifests(t, []byte(rendered))
			checkPipeline(t, objects)
			checkMonitoring(t, objects)
		})
	}
}

// checkPipeline has the program check the pipeline file of the ConfigMap, and read every command line up to the file, which is not there.
func checkPipeline(t *testing.T, objects []object) {
	t.Helper()
	bin := binary.Build(t)
	secrets := t.TempDir()
	for _, name := range []string{"sftp/key", "sftp/known_hosts", "kafka/ca.crt"} {
		path := filepath.Join(secrets, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "KAFKA_PASSWORD=a", "HOOKS_SECRET=b", "HOOKS_TOKEN=c", "SHOP_SECRET=d")
	files, lines := 0, 0
	for _, o := range objects {
		if text, ok := o.Data["pipeline.yaml"]; ok {
			files++
			if strings.Contains(text, "e+") {
				t.Errorf("a number is not as it was written:\n%s", text)
			}
			p := binary.New(t, bin, strings.ReplaceAll(text, "/run/secrets", secrets))
			p.Run(t, env, "check").Must(t)
		}
		for _, c := range o.containers() {
			lines++
			cmd := exec.Command(bin, c.Args...)
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			if code(err) != 2 || !strings.Contains(string(out), "/etc/headwater/pipeline.yaml: no such file") {
				t.Errorf("headwater %s: %v, want it to miss its pipeline file alone\n%s", strings.Join(c.Args, " "), err, out)
			}
		}
	}
	if files != 1 || lines == 0 {
		t.Errorf("there are %d pipeline files and %d containers, want one and some", files, lines)
	}
}

// checkMonitoring wants a PrometheusRule to have rules, and the dashboards to be those of deploy/.
func checkMonitoring(t *testing.T, objects []object) {
	t.Helper()
	for _, o := range objects {
		if o.Kind == "PrometheusRule" && len(o.Spec.Groups) == 0 {
			t.Error("the PrometheusRule has no group")
		}
		for name, text := range o.Data {
			if want, err := os.ReadFile(filepath.Join(chart, "files/dashboards", name)); filepath.Ext(name) == ".json" && (err != nil || strings.TrimSpace(string(want)) != strings.TrimSpace(text)) {
				t.Errorf("the dashboard %s is not that of the chart: %v", name, err)
			}
		}
	}
}

// TestChartChoices wants what values choose among to be what comes out.
func TestChartChoices(t *testing.T) {
	k := kube{t, installed(t, "setup-kubernetes.sh")}
	kinds := func(args ...string) (all []string) {
		for _, o := range manifests(t, []byte(k.must(nil, "helm", append([]string{"template", "hw", chart}, args...)...))) {
			if slices.Contains([]string{"Deployment", "StatefulSet", "CronJob"}, o.Kind) {
				all = append(all, o.Kind+" "+o.Metadata.Name+" "+strings.Join(o.containers()[0].Args, " "))
			}
		}
		slices.Sort(all)
		return all
	}
	const file = " /etc/headwater/pipeline.yaml"
	stages := []string{"Deployment hw-headwater-collect collect" + file, "Deployment hw-headwater-land land" + file, "Deployment hw-headwater-serve serve" + file}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--set", "run.enabled=true"}, []string{"StatefulSet hw-headwater-run run" + file}},
		{nil, stages},
		{[]string{"--set", "serialize.by=airflow,serve.enabled=false"}, stages[:2]},
		{[]string{"--set", "serialize.by=cronjob,serialize.sources={a_b}"}, append([]string{"CronJob hw-headwater-a-b-648fa9 serialize" + file + " --source a_b --date yesterday"}, stages...)},
	} {
		if got := kinds(c.args...); !slices.Equal(got, c.want) {
			t.Errorf("with %v there are\n%s\nwant\n%s", c.args, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	for fault, set := range map[string]string{
		"pipeline":          "pipeline.data_dir=/elsewhere",
		"replicas":          "land.replicas=-1",
		"colect":            "colect.replicas=1",
		"no tables":         "serve.enabled=false",
		"serialize.sources": "serialize.by=cronjob,existingConfigMap=mine",
		"host":              "ingress.enabled=true",
	} {
		if out, err := k.try(nil, "helm", "template", "hw", chart, "--set", set); err == nil || !strings.Contains(out, fault) {
			t.Errorf("with --set %s helm says, %v, no word of %s:\n%s", set, err, fault, out)
		}
	}
}

// TestChecksCatch has the checks of manifests find the faults of testdata/bad.yaml.
func TestChecksCatch(t *testing.T) {
	k := kube{t, installed(t, "setup-kubernetes.sh")}
	out, err := k.try(nil, "kubernetes", "testdata/bad.yaml")
	if err == nil {
		t.Error("bad manifests pass")
	}
	for _, want := range []string{`unknown field "spec.template.spec.containers[0].imagePullPolice"`, "Deployment root-user: pod security restricted: runAsNonRoot != true", "Deployment named-user: restricted-v2", `unknown field "spec.endpoints[0].intervall"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the check does not say %q:\n%s", want, out)
		}
	}
	if out, err := k.conform("testdata/bad.yaml"); err == nil || !strings.Contains(out, "imagePullPolice") {
		t.Errorf("kubeconform, %v, does not find the unknown field:\n%s", err, out)
	}
}
