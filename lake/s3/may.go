package s3

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Denied says whether an error of a Store is that its account is known to the store and has not the right. Other refusals are of who is not known there.
func Denied(err error) bool { return codeOf(err) == "AccessDenied" }

// MayWrite says whether the account may put objects, and puts nothing: it sends a part of an upload that there is not, for which S3 asks for the same right.
func (s *Store) MayWrite(ctx context.Context, key string) (bool, error) {
	_, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &s.bucket, Key: s.key(key), PartNumber: aws.Int32(1), UploadId: aws.String("00000000-0000-0000-0000-000000000000"), Body: strings.NewReader("x"),
	})
	switch {
	case err == nil, codeOf(err) == "NoSuchUpload":
		return true, nil
	case Denied(err):
		return false, nil
	}
	return false, fail(ctx, "trying to write object", key, err)
}
