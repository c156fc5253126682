package s3

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"headwater/lake"
)

// location is what a URL says.
type location struct {
	bucket, prefix, region, endpoint, profile string
	given                                     given
}

// given is what every object of a store is put with, empty where the bucket decides.
type given struct {
	encryption, kmsKey, acl, class string
	tags                           map[string]string
}

// parseURL reads s3://bucket/prefix?region=eu-west-1&endpoint=http://127.0.0.1:7070&profile=ingest, all but the bucket optional: without a
// region, the SDK's own ways to find one (AWS_REGION); with an endpoint, another store than Amazon's; profile is one of the shared
// configuration files. Credentials are never in the URL: the SDK finds them in the environment, the profile or the machine's role.
// sse, kms_key, acl, storage_class and tags are what objects are put with.
func parseURL(text string) (location, error) {
	var l location
	var tags string
	into := map[string]*string{
		"region": &l.region, "endpoint": &l.endpoint, "profile": &l.profile,
		"sse": &l.given.encryption, "kms_key": &l.given.kmsKey, "acl": &l.given.acl, "storage_class": &l.given.class, "tags": &tags,
	}
	var err error
	l.bucket, l.prefix, err = lake.ParseURL(text, "s3://bucket/prefix?region=eu-west-1", strings.Join(slices.Sorted(maps.Keys(into)), ", "), lake.CheckKey, into)
	if err != nil {
		return l, err
	}
	if l.endpoint != "" {
		e, err := url.Parse(l.endpoint)
		if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil {
			return l, fmt.Errorf("has an endpoint that is no address as https://minio.example:9000: %q", l.endpoint)
		}
	}
	if l.given.tags, err = parseTags(tags); err != nil {
		return l, err
	}
	return l, l.given.check()
}

// Place is the bucket of a URL that CheckURL allows, and what begins all its keys, which is empty or ends with a slash.
func Place(text string) (bucket, prefix string, err error) {
	l, err := parseURL(text)
	return l.bucket, l.prefix, err
}

// S3A are the settings by which Hadoop's s3a, and so Spark, finds the bucket of a URL that CheckURL allows. Credentials are not among them: it looks for
// them where the SDK does, but for a profile.
func S3A(text string) (map[string]string, error) {
	l, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	of, all := "fs.s3a.bucket."+l.bucket+".", map[string]string{}
	if l.region != "" {
		all[of+"endpoint.region"] = l.region
	}
	if l.endpoint != "" {
		all[of+"endpoint"], all[of+"path.style.access"] = l.endpoint, "true"
		all[of+"connection.ssl.enabled"] = strconv.FormatBool(strings.HasPrefix(l.endpoint, "https://"))
		if l.region == "" {
			all[of+"endpoint.region"] = "us-east-1" // what stores of one's own take for any
		}
	}
	return all, nil
}

// CheckURL says what is wrong with the URL of a store, without asking it.
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

// encryptions are the ways in which the store encrypts with keys of its own.
var encryptions = []string{string(types.ServerSideEncryptionAes256), string(types.ServerSideEncryptionAwsKms), string(types.ServerSideEncryptionAwsKmsDsse)}

// storageClass is how names of classes look; stores of one's own may have others than Amazon's.
var storageClass = regexp.MustCompile(`^[A-Z][A-Z0-9_-]{0,63}$`)

func (g given) check() error {
	if g.encryption != "" && !slices.Contains(encryptions, g.encryption) {
		return fmt.Errorf("takes an sse of %s, got %q", strings.Join(encryptions, ", "), g.encryption)
	}
	if g.kmsKey != "" && !strings.HasPrefix(g.encryption, string(types.ServerSideEncryptionAwsKms)) {
		return fmt.Errorf("takes kms_key beside sse=%s, which names what the key is for", types.ServerSideEncryptionAwsKms)
	}
	if known := types.ObjectCannedACL("").Values(); g.acl != "" && !slices.Contains(known, types.ObjectCannedACL(g.acl)) {
		return fmt.Errorf("takes an acl of %v, got %q", known, g.acl)
	}
	switch types.StorageClass(g.class) {
	case "":
	case types.StorageClassGlacier, types.StorageClassDeepArchive:
		return fmt.Errorf("has storage_class=%s, whose objects cannot be read without being restored first, and they are read, when tables are made and at every restart: have a lifecycle rule of the bucket move them there later", g.class)
	default:
		if !storageClass.MatchString(g.class) {
			return fmt.Errorf("takes a storage_class as STANDARD_IA, got %q", g.class)
		}
	}
	return nil
}

// maxTags is how many tags S3 lets an object have.
const maxTags = 10

// tagText is what tags may have in them.
var tagText = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// parseTags reads key:value,key:value.
func parseTags(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	tags := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(pair, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if _, twice := tags[key]; twice || !found {
			return nil, fmt.Errorf("takes tags as team:data,env:prod, each key once, got %q", text)
		}
		tags[key] = value
	}
	return tags, checkTags(tags)
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("has %d tags, and objects have at most %d", len(tags), maxTags)
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		value := tags[key]
		switch {
		case key == "" || utf8.RuneCountInString(key) > 128 || utf8.RuneCountInString(value) > 256:
			return fmt.Errorf("has the tag %q: %q; keys have 1 to 128 characters, values up to 256", key, value)
		case !tagText.MatchString(key) || !tagText.MatchString(value):
			return fmt.Errorf("has the tag %q: %q; tags are letters, digits, spaces and _ . : / = + - @", key, value)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return fmt.Errorf("has the tag %q, and aws: is Amazon's own", key)
		}
	}
	return nil
}

// tagging is the header of tags, nil without any.
func tagging(tags map[string]string) *string {
	if len(tags) == 0 {
		return nil
	}
	query := url.Values{}
	for key, value := range tags {
		query.Set(key, value)
	}
	text := strings.ReplaceAll(query.Encode(), "+", "%20") // a plus is no space everywhere
	return &text
}

// onPut is given as one request has it.
func (g given) onPut(in *s3.PutObjectInput) {
	in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryption(g.encryption), optional(g.kmsKey)
	in.ACL, in.StorageClass, in.Tagging = types.ObjectCannedACL(g.acl), types.StorageClass(g.class), tagging(g.tags)
}

// onUpload is given as the beginning of an upload has it; its parts and its completion need none of it.
func (g given) onUpload(in *s3.CreateMultipartUploadInput) {
	in.ServerSideEncryption, in.SSEKMSKeyId = types.ServerSideEncryption(g.encryption), optional(g.kmsKey)
	in.ACL, in.StorageClass, in.Tagging = types.ObjectCannedACL(g.acl), types.StorageClass(g.class), tagging(g.tags)
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// with is given with more tags.
func (g given) with(tags map[string]string) (given, error) {
	if len(tags) == 0 {
		return g, nil
	}
	all := maps.Clone(tags)
	maps.Copy(all, g.tags)
	if len(all) < len(tags)+len(g.tags) {
		return g, fmt.Errorf("the store's URL has tags of the names that its objects get: %s", strings.Join(slices.Sorted(maps.Keys(tags)), ", "))
	}
	g.tags = all
	return g, checkTags(all)
}
