package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"headwater/tests/binary"
	"headwater/tests/interop/fixture"
)

// s3As is a client of a bucket that knows nothing of us.
func s3As(server fixture.S3, key, secret string) *s3.Client {
	return s3.New(s3.Options{BaseEndpoint: &server.Endpoint, UsePathStyle: true, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(key, secret, "")})
}

// putPolicies gives each bucket the policy that was rendered for it.
func putPolicies(t *testing.T, server fixture.S3, rendered string) {
	t.Helper()
	n := 0
	for d := json.NewDecoder(strings.NewReader(rendered)); d.More(); n++ {
		var one struct {
			Bucket string
			Policy json.RawMessage
		}
		if err := d.Decode(&one); err != nil {
			t.Fatalf("%v in %s", err, rendered)
		}
		if _, err := s3As(server, "root", "rootsecret123").PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &one.Bucket, Policy: aws.String(string(one.Policy))}); err != nil {
			t.Fatalf("%v: %s", err, one.Policy)
		}
	}
	if n == 0 {
		t.Fatalf("nothing was rendered: %s", rendered)
	}
}

// answered is yes, the code of a refusal, or an error's text.
func answered(err error) string {
	if err == nil {
		return "yes"
	}
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return refused.ErrorCode()
	}
	return err.Error()
}

// TestAccessOnS3 gives a server of S3 the rendered policies, and asks it, and then has access verify ask all doors: all is as access: says, until it is not.
func TestAccessOnS3(t *testing.T) {
	t.Parallel()
	server := fixture.NewS3(t)
	raw, tables := server.Bucket(t, "acme-raw"), strings.Replace(server.Bucket(t, "acme-lake"), "?", "/team/a?", 1)
	text := strings.Replace(accessed, ", tls: {cert: cert.pem, key: key.pem}", "", 1) + fmt.Sprintf("lake: {raw: %q, tables: %q}\n", raw, tables)
	p := binary.New(t, binary.Build(t), text)
	p.Write(t, "ann.secret", []byte("ann-marker\n"))
	p.Write(t, "bob.secret", []byte("bob-marker\n"))
	env := append([]string{}, fixture.S3Env...)
	for _, name := range []string{"ann", "bob", "carl", "dora", "otto", "pipeline"} {
		server.User(t, name, name+"secret123")
		if name != "pipeline" {
			env = append(env, "HEADWATER_S3_"+strings.ToUpper(name)+"="+name+":"+name+"secret123")
		}
	}
	putPolicies(t, server, p.Run(t, nil, "access render", "--for", "s3", "--own", "pipeline").Must(t))
	own := []string{"AWS_ACCESS_KEY_ID=pipeline", "AWS_SECRET_ACCESS_KEY=pipelinesecret123", "AWS_EC2_METADATA_DISABLED=true"}
	proc := p.Start(t, own, "run") // it may all that it needs by the policy alone
	var doors struct{ HTTP, Kafka string }
	binary.EventuallyOr(t, "to be ready", func() bool {
		data, err := os.ReadFile(filepath.Join(p.Dir, "headwater-data/run.json"))
		if err != nil || json.Unmarshal(data, &doors) != nil || doors.HTTP == "" {
			return false
		}
		_, code := shell(t, "", "curl", "--silent", "--fail", "http://"+doors.HTTP+"/readyz")
		return code == 0
	}, proc.Stderr)
	for _, source := range []string{"orders", "salaries"} {
		if said, code := shell(t, "", "curl", "--silent", "--show-error", "--fail", "--retry", "10", "http://"+doors.HTTP+"/ingest/"+source, "--data", `{"n":1}`); code != 0 {
			t.Fatal(said)
		}
	}
	find := func(pattern string) (key string) {
		t.Helper()
		binary.EventuallyOr(t, pattern, func() bool {
			found, err := filepath.Glob(filepath.Join(server.Dir, pattern))
			if err != nil || len(found) == 0 {
				return false
			}
			key, err = filepath.Rel(server.Dir, found[0])
			return err == nil
		}, proc.Stderr)
		return key
	}
	for key, may := range map[string]string{
		find("acme-raw/topics/orders_raw/date=*/*.json.gz"):          "ann carl",
		find("acme-lake/team/a/market/orders/_runs/*/*.parquet"):     "ann bob dora",
		find("acme-lake/team/a/market/orders_raw/_runs/*/*.parquet"): "ann bob dora",
		find("acme-lake/team/a/market/salaries/_runs/*/*.parquet"):   "ann dora",
		find("acme-lake/team/a/_headwater/schema/market.orders/*"):   "",
	} {
		bucket, key, _ := strings.Cut(key, "/")
		for _, name := range []string{"ann", "bob", "carl", "dora", "otto"} {
			want := "AccessDenied"
			if strings.Contains(may, name) {
				want = "yes"
			}
			client := s3As(server, name, name+"secret123")
			_, get := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
			_, list := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: aws.String(key[:strings.LastIndex(key, "/")+1])})
			_, all := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
			_, put := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String(key + ".other"), Body: strings.NewReader("x")})
			_, gone := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
			if answered(get) != want || answered(list) != want || answered(all) != "AccessDenied" || answered(put) != "AccessDenied" || answered(gone) != "AccessDenied" {
				t.Errorf("%s, %s: get %s, list %s (want %s); list all %s, put %s, delete %s", name, key, answered(get), answered(list), want, answered(all), answered(put), answered(gone))
			}
		}
	}
	verify := func() (said string, code int) {
		r := p.Run(t, env, "access verify")
		return r.Stdout + r.Stderr, r.Code
	}
	row := func(said, user, door, what, could, should string) {
		t.Helper()
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(user) + ` +` + door + ` +` + regexp.QuoteMeta(what) + ` +` + could + ` +` + should + `\b`).MatchString(said) {
			t.Errorf("there is no line of %s, %s, %s, could %s, should %s", user, door, what, could, should)
		}
	}
	said, code := verify()
	if code != 0 || strings.Contains(said, "marker") || strings.Contains(said, "secret123") {
		t.Fatalf("verify ended with %d: %s", code, said)
	}
	row(said, "bob", "http", "query market.orders", "yes", "yes")
	row(said, "bob", "http", "query market.salaries", "no", "no")
	row(said, "(nobody)", "http", "status", "no", "no")
	row(said, "carl", "kafka", "read orders_raw", "yes", "yes")
	row(said, "carl", "kafka", "write orders_raw", "no", "no")
	row(said, "otto", "kafka", "write orders_raw", "yes", "yes")
	row(said, "otto", "kafka", "read orders_raw", "no", "no")
	row(said, "ann", "kafka", "write headwater_cursors", "no", "no")
	row(said, "(nobody)", "kafka", "come in", "no", "no")
	row(said, "bob", "s3", "read market.orders", "yes", "yes")
	row(said, "bob", "s3", "read market.salaries", "no", "no")
	row(said, "dora", "s3", "list the schema ledger", "no", "no")
	row(said, "carl", "s3", "read raw objects", "yes", "yes")
	row(said, "ann", "s3", "write raw objects", "no", "no")
	row(said, "(nobody)", "s3", "read raw objects", "no", "no")

	// One who may write the raw layer, and one who may not read any more: both are found, and nothing was written to find it.
	rendered := p.Run(t, nil, "access render", "--for", "s3", "--own", "pipeline").Must(t)
	putPolicies(t, server, strings.NewReplacer(`"pipeline"`, `"pipeline", "carl"`, `"ann",`, "").Replace(rendered))
	said, code = verify()
	if code != 3 {
		t.Errorf("verify ended with %d: %s", code, said)
	}
	row(said, "carl", "s3", "write raw objects", "yes", "no")
	row(said, "ann", "s3", "read market.salaries", "no", "yes")
	if err := filepath.WalkDir(server.Dir, func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(path, "access-verify") {
			t.Errorf("%s was written", path)
		}
		if os.IsNotExist(err) { // the process writes and deletes meanwhile
			return nil
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	putPolicies(t, server, rendered)

	// The file says other things than the process has read.
	p.Write(t, filepath.Base(p.File), []byte(strings.NewReplacer("operate: [ingestion, otto]", "operate: [ingestion]", "raw: [ingestion, carl]", "raw: [ingestion, bob]").Replace(text)))
	said, code = verify()
	if code != 3 {
		t.Errorf("verify ended with %d: %s", code, said)
	}
	row(said, "otto", "http", "runs", "yes", "no")
	row(said, "otto", "kafka", "write orders_raw", "yes", "no")
	row(said, "carl", "kafka", "read orders_raw", "yes", "no")
	row(said, "bob", "kafka", "read orders_raw", "no", "yes")
	row(said, "bob", "s3", "read raw objects", "no", "yes")
	p.Write(t, filepath.Base(p.File), []byte(text))

	records, err := exec.CommandContext(t.Context(), fixture.Kcat(t), "-b", doors.Kafka, "-X", "security.protocol=sasl_plaintext", "-X", "sasl.mechanism=SCRAM-SHA-512",
		"-X", "sasl.username=carl", "-X", "sasl.password=carl-marker", "-C", "-t", "orders_raw", "-o", "beginning", "-e", "-q").CombinedOutput()
	if err != nil || strings.Count(string(records), "\n") != 1 {
		t.Errorf("orders_raw has %q, %v", records, err)
	}
	// Doors that are not there are said, not guessed.
	_ = proc.Cmd.Process.Signal(syscall.SIGTERM)
	proc.Wait(t, 3*time.Minute)
	said, code = verify()
	if code != 4 || !strings.Contains(said, "no process runs") {
		t.Errorf("without a process verify ended with %d: %s", code, said)
	}
	row(said, "bob", "http", "query market.orders", `\?`, "yes")
	row(said, "bob", "s3", "read market.orders", "yes", "yes")
}
