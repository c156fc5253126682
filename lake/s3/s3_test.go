package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"headwater/lake"
	"headwater/lake/laketest"
	"headwater/tests/interop/fixture"
)

func TestMain(m *testing.M) {
	fixture.SetAWS()
	laketest.Main(m, at)
}

func at(location string) (lake.Store, error) { return Open(context.Background(), location) }

func TestStore(t *testing.T) { suite(t, fixture.NewS3(t), "") }

func TestRace(t *testing.T) { races(t, fixture.NewS3(t), "") }

// encrypted is what MinIO does besides.
const encrypted = "&sse=aws:kms&kms_key=lake-key&storage_class=REDUCED_REDUNDANCY&tags=team:big%20data,a%2Bb:c/d"

// TestMinIO has the same of another server, and objects that are put with what company policies want.
func TestMinIO(t *testing.T) {
	server := fixture.NewMinIO(t)
	t.Run("Given", func(t *testing.T) { takesGiven(t, server.Bucket(t, "given")+encrypted) })
	t.Run("Store", func(t *testing.T) { suite(t, server, encrypted) })
	t.Run("Race", func(t *testing.T) { races(t, server, encrypted) })
}

// suite has the store of the server keep the contract, and be trusted for it.
func suite(t *testing.T, server fixture.S3, query string) {
	var n atomic.Int32
	open := func(t *testing.T) lake.Store {
		s, err := at(server.Bucket(t, fmt.Sprintf("bucket-%d", n.Add(1))) + query)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := open(t).(*Store).Probe(t.Context()); err != nil {
		t.Errorf("it is not trusted: %v", err)
	}
	laketest.Run(t, open)
}

func races(t *testing.T, server fixture.S3, query string) {
	s, err := Open(t.Context(), server.Bucket(t, "goroutines")+query)
	if err != nil {
		t.Fatal(err)
	}
	laketest.Race(t, s)
	laketest.RaceProcesses(t, server.Bucket(t, "processes")+query, at)
	for how, put := range map[string]func(context.Context, write, []byte) (lake.Object, error){"put": s.single, "upload": s.probeParts} {
		for round := range 5 {
			races16(t, s, fmt.Sprintf("sixteen/%s/%d", how, round), put)
		}
	}
}

// races16 has 16 writers make one object, and then replace it.
func races16(t *testing.T, s *Store, key string, put func(context.Context, write, []byte) (lake.Object, error)) {
	for _, refusal := range []error{lake.ErrExists, lake.ErrChanged} {
		cond := lake.Condition{IfAbsent: true}
		if errors.Is(refusal, lake.ErrChanged) {
			o, err := s.Stat(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			cond = lake.Condition{IfVersion: o.Version}
		}
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				w := write{key: key, id: rand.Text(), cond: cond, with: s.given}
				_, err := put(t.Context(), w, fmt.Appendf(nil, "%v %d", cond, i))
				for errors.Is(err, errConflict) {
					_, err = put(t.Context(), w, fmt.Appendf(nil, "%v %d", cond, i))
				}
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, refusal):
					t.Errorf("%s: %v", key, err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Errorf("%s: %d writers think that the object is theirs (%+v)", key, won.Load(), cond)
		}
	}
}

// takesGiven has a server keep what objects are put with.
func takesGiven(t *testing.T, location string) {
	s, err := Open(t.Context(), location)
	if err != nil {
		t.Fatal(err)
	}
	for key, size := range map[string]int{"one part": 1, "two parts": partSize + 1} {
		if _, err := s.PutTagged(t.Context(), key, bytes.NewReader(make([]byte, size)), lake.Condition{IfAbsent: true}, map[string]string{"startOffset": "7"}); err != nil {
			t.Fatal(err)
		}
		head, err := s.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &s.bucket, Key: s.key(key)})
		if err != nil {
			t.Fatal(err)
		}
		if head.ServerSideEncryption != "aws:kms" || aws.ToString(head.SSEKMSKeyId) != "arn:aws:kms:lake-key" || head.StorageClass != "REDUCED_REDUNDANCY" {
			t.Errorf("%s: encrypted by %s with %s, class %s", key, head.ServerSideEncryption, aws.ToString(head.SSEKMSKeyId), head.StorageClass)
		}
		tagging, err := s.client.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: &s.bucket, Key: s.key(key)})
		if err != nil {
			t.Fatal(err)
		}
		tags := map[string]string{}
		for _, tag := range tagging.TagSet {
			tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
		}
		if diff := cmp.Diff(map[string]string{"team": "big data", "a+b": "c/d", "startOffset": "7"}, tags); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
}

// TestSweep: what a killed process has begun to upload is given up when it is old enough.
func TestSweep(t *testing.T) {
	s, err := Open(t.Context(), fixture.NewS3(t).Bucket(t, "lake"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &s.bucket, Key: s.key("topics/t/half.json.gz")}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		age   time.Duration
		given int
	}{{24 * time.Hour, 0}, {0, 1}, {0, 0}} {
		if n, err := s.sweep(t.Context(), want.age); n != want.given || err != nil {
			t.Errorf("older than %s: %d, %v, want %d", want.age, n, err, want.given)
		}
	}
}
