// Command kubernetes checks what kubeconform does not: it decodes manifests into the types of Kubernetes and of the Prometheus operator, where a field that is
// unknown or comes twice is a fault, and holds every pod against Pod Security's level "restricted" as the API server does, and against OpenShift's restricted-v2.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run checks every file and prints how many objects and pods it has.
func run(files []string) error {
	if len(files) == 0 {
		return errors.New("usage: kubernetes FILE...")
	}
	c, err := newChecker()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range files {
		errs = append(errs, c.file(name))
	}
	fmt.Printf("%d objects, %d pods\n", c.objects, c.pods)
	return errors.Join(errs...)
}

type checker struct {
	decoder       runtime.Decoder
	restricted    policy.Evaluator
	objects, pods int
}

func newChecker() (*checker, error) {
	if err := monitoring.AddToScheme(scheme.Scheme); err != nil {
		return nil, err
	}
	restricted, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	decoder := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, json.SerializerOptions{Yaml: true, Strict: true})
	return &checker{decoder: decoder, restricted: restricted}, err
}

func (c *checker) file(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	var errs []error
	for {
		document, err := documents.Read()
		if err == io.EOF {
			return errors.Join(errs...)
		}
		if err == nil {
			err = c.document(document)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
}

func (c *checker) document(text []byte) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	c.objects++
	object, kind, err := c.decoder.Decode(text, nil, nil)
	switch {
	case runtime.IsNotRegisteredError(err) && kind != nil && kind.Group == "route.openshift.io":
		return nil // kubeconform has a schema of it
	case err != nil:
		return err
	}
	named, ok := object.(meta.Object)
	pod := podOf(object)
	if !ok || pod == nil {
		return nil
	}
	c.pods++
	if err := c.pod(pod); err != nil {
		return fmt.Errorf("%s %s: %w", kind.Kind, named.GetName(), err)
	}
	return nil
}

// podOf is what an object makes pods of; nil if it makes none.
func podOf(object runtime.Object) *core.PodTemplateSpec {
	switch o := object.(type) {
	case *apps.Deployment:
		return &o.Spec.Template
	case *apps.StatefulSet:
		return &o.Spec.Template
	case *batch.Job:
		return &o.Spec.Template
	case *batch.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	case *core.Pod:
		return &core.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
	}
	return nil
}

func (c *checker) pod(pod *core.PodTemplateSpec) error {
	var errs []error
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	if got := policy.AggregateCheckResults(c.restricted.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !got.Allowed {
		errs = append(errs, fmt.Errorf("pod security restricted: %s: %s", got.ForbiddenReason(), got.ForbiddenDetail()))
	}
	return errors.Join(append(errs, openShift(pod))...)
}

// openShift is what restricted-v2 asks beyond that. It picks the user and the groups, and refuses those that are named, but for a group of files that a cluster
// of other makers may want: example values for OpenShift leave it out, which is looked for with OPENSHIFT=1.
func openShift(pod *core.PodTemplateSpec) error {
	var errs []error
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
			errs = append(errs, fmt.Errorf("restricted-v2: container %s names its user", c.Name))
		}
		if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
			errs = append(errs, fmt.Errorf("container %s: its root can be written", c.Name))
		}
	}
	if p := pod.Spec.SecurityContext; p != nil {
		if p.RunAsUser != nil || p.SELinuxOptions != nil {
			errs = append(errs, errors.New("restricted-v2: runAsUser or seLinuxOptions is named"))
		}
		if os.Getenv("OPENSHIFT") != "" && (p.FSGroup != nil || len(p.SupplementalGroups) > 0) {
			errs = append(errs, errors.New("restricted-v2: fsGroup or supplementalGroups is named"))
		}
	}
	if pod.Spec.AutomountServiceAccountToken == nil || *pod.Spec.AutomountServiceAccountToken {
		errs = append(errs, errors.New("the pod has a token of the API server, which nothing in it needs"))
	}
	return errors.Join(errs...)
}
