// Package azure is a lake in a container of Azure Blob Storage, of an account without a hierarchical namespace.
//
// What enters: the calls of lake.Store. What leaves: block blobs below a prefix of a container, each written by one request or, beyond a block's size,
// by blocks that appear when their list is put. A version is the ETag, which every write changes. No goroutine outlives a call but those of http.Transport.
//
// Invariants:
//  1. A conditional write carries If-None-Match or If-Match itself; nothing is looked up first.
//  2. A refusal that an own earlier try brought about, whose answer was lost, is told from another's by a number in the blob's metadata.
//  3. Writers that race share a blob's blocks, which have the writer's number in their names; who finds them gone begins anew.
//  4. A connection on which nothing moves for a minute is given up.
//  5. Memory is one block for each Put.
package azure

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"headwater/internal/retry"
	"headwater/internal/stall"
	"headwater/lake"
)

const (
	// patience is how long a connection may give and take nothing.
	patience = time.Minute
	// tries of a request, by the SDK, for what may pass, and of a write that another disturbs.
	tries = 5
	// writeKey is the metadata that tells our write from another's; Azure allows no dash in it.
	writeKey = "headwaterwrite"
	// blockSize is what a blob is cut into.
	blockSize = 8 << 20
	// maxBlocks is how many of them a blob may have.
	maxBlocks = 50_000
)

// The environment that Azure's own tools take.
const (
	accountEnv = "AZURE_STORAGE_ACCOUNT"
	keyEnv     = "AZURE_STORAGE_KEY"
	sasEnv     = "AZURE_STORAGE_SAS_TOKEN"
)

// Store is a lake.Store in a container.
type Store struct {
	client *container.Client
	prefix string // empty or with a slash at its end
}

var _ lake.Store = (*Store)(nil)

// location is what a URL says.
type location struct{ container, prefix, account, endpoint string }

var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// parseURL reads azblob://container/prefix?account=acme&endpoint=https://acme.blob.core.windows.net, all but the container optional: without an
// account, the environment's.
func parseURL(text string) (location, error) {
	var l location
	var err error
	l.container, l.prefix, err = lake.ParseURL(text, "azblob://container/prefix?account=acme", "account and endpoint", checkKey, map[string]*string{"account": &l.account, "endpoint": &l.endpoint})
	if err != nil {
		return l, err
	}
	if l.account != "" && !accountName.MatchString(l.account) {
		return l, fmt.Errorf("takes an account of 3 to 24 lower case letters and digits, got %q", l.account)
	}
	if l.endpoint != "" {
		e, err := url.Parse(l.endpoint)
		if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil || e.RawQuery != "" {
			return l, fmt.Errorf("has an endpoint that is no address as https://acme.blob.core.windows.net: %q", l.endpoint)
		}
	}
	return l, nil
}

// CheckURL says what is wrong with the URL of a store, without asking it.
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

// Open makes a store of a URL, see CheckURL, and asks nobody: what is wrong there is the first call's error. Credentials are AZURE_STORAGE_KEY,
// AZURE_STORAGE_SAS_TOKEN, or what Azure's tools find by themselves.
func Open(_ context.Context, text string) (*Store, error) { return open(text, patience) }

func open(text string, patience time.Duration) (*Store, error) {
	l, err := parseURL(text)
	if err != nil {
		return nil, fmt.Errorf("the lake's URL %w", err)
	}
	if l.account == "" {
		l.account = os.Getenv(accountEnv)
	}
	if l.account == "" {
		return nil, retry.Stop(fmt.Errorf("the lake's URL names no account: write azblob://%s?account=acme, or set %s", l.container, accountEnv))
	}
	if l.endpoint == "" {
		l.endpoint = "https://" + l.account + ".blob.core.windows.net"
	}
	address := strings.TrimSuffix(l.endpoint, "/") + "/" + l.container
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.DialContext, base.MaxIdleConnsPerHost = stall.Dial(patience), 64
	options := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: &http.Client{Transport: base}, Retry: policy.RetryOptions{MaxRetries: tries - 1, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 10 * time.Second},
	}}
	s := &Store{prefix: l.prefix}
	s.client, err = connect(l.account, address, options)
	if err != nil {
		return nil, fmt.Errorf("configuring Azure Blob Storage: %w", err)
	}
	return s, nil
}

func connect(account, address string, options *container.ClientOptions) (*container.Client, error) {
	if key := os.Getenv(keyEnv); key != "" {
		shared, err := container.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, retry.Stop(fmt.Errorf("%s is no key of an account: %w", keyEnv, err))
		}
		return container.NewClientWithSharedKeyCredential(address, shared, options)
	}
	if sas := os.Getenv(sasEnv); sas != "" {
		return container.NewClientWithNoCredential(address+"?"+strings.TrimPrefix(sas, "?"), options)
	}
	found, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options.ClientOptions})
	if err != nil {
		return nil, err
	}
	return container.NewClient(address, found, options)
}

// checkKey says what is wrong with a key. Azure takes a backslash for a slash, and leaves out dots at the end of a segment.
func checkKey(key string) error {
	if err := lake.CheckKey(key); err != nil {
		return err
	}
	if strings.Contains(key, `\`) || strings.HasSuffix(key, ".") || strings.Contains(key, "./") {
		return retry.Stop(fmt.Errorf("key %q has a backslash, or a dot at the end of a segment, which Azure has under another name", key))
	}
	return nil
}

// statusOf is the HTTP status of an answer that was an error, 0 if there was no answer.
func statusOf(err error) int {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return e.StatusCode
	}
	return 0
}

// brief is an answer's error in one line: the SDK's own has the whole answer.
func brief(err error) error {
	e, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return err
	}
	return fmt.Errorf("the store answers %d %s", e.StatusCode, e.ErrorCode)
}

// fail says what was tried, and makes of the store's answers what the contract has for them.
func fail(ctx context.Context, verb, key string, err error) error {
	if c := ctx.Err(); c != nil {
		return fmt.Errorf("%s %s: %w", verb, key, c)
	}
	switch status := statusOf(err); {
	case bloberror.HasCode(err, bloberror.ContainerNotFound):
		err = retry.Stop(fmt.Errorf("the container does not exist, create it: %w", brief(err)))
	case status == http.StatusNotFound:
		err = lake.ErrNotExist
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		err = retry.Stop(fmt.Errorf("the store refuses it, check the credentials and the rights that they have: %w", brief(err)))
	case status == http.StatusBadRequest:
		err = retry.Stop(brief(err))
	case status != 0:
		err = brief(err)
	}
	return fmt.Errorf("%s %s: %w", verb, key, err)
}

// version is an ETag without its quotes, which listings leave out.
func version(tag *azcore.ETag) string {
	if tag == nil {
		return ""
	}
	return strings.Trim(string(*tag), `"`)
}

// tagOf is the ETag of a version.
func tagOf(version string) *azcore.ETag {
	tag := azcore.ETag(strconv.Quote(version))
	return &tag
}

func valueOf[T any](at *T) (value T) {
	if at != nil {
		value = *at
	}
	return value
}

// Stat implements lake.Store.
func (s *Store) Stat(ctx context.Context, key string) (lake.Object, error) {
	if err := checkKey(key); err != nil {
		return lake.Object{}, fail(ctx, "looking up object", key, err)
	}
	o, _, err := s.head(ctx, key)
	if err != nil {
		return lake.Object{}, fail(ctx, "looking up object", key, err)
	}
	return o, nil
}

// head is the object and the number of the write that made it.
func (s *Store) head(ctx context.Context, key string) (o lake.Object, writer string, err error) {
	got, err := s.client.NewBlobClient(s.prefix+key).GetProperties(ctx, nil)
	if err != nil {
		return lake.Object{}, "", err
	}
	for name, value := range got.Metadata {
		if strings.EqualFold(name, writeKey) {
			writer = valueOf(value)
		}
	}
	return lake.Object{Key: key, Size: valueOf(got.ContentLength), Version: version(got.ETag), Modified: valueOf(got.LastModified)}, writer, nil
}

// List implements lake.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[lake.Object, error] {
	return func(yield func(lake.Object, error) bool) {
		asked := s.prefix + lake.Askable(prefix)
		last := ""
		for pages := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &asked}); pages.More(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(lake.Object{}, fail(ctx, "listing objects below", strconv.Quote(prefix), err))
				return
			}
			for _, entry := range page.Segment.BlobItems {
				key := strings.TrimPrefix(valueOf(entry.Name), s.prefix)
				if lake.CheckKey(key) != nil || !strings.HasPrefix(key, prefix) || key <= after {
					continue // what more was asked for; or no object of ours can have it
				}
				if key <= last {
					yield(lake.Object{}, fail(ctx, "listing objects below", strconv.Quote(prefix), retry.Stop(fmt.Errorf("the store has %s after %s: %w", key, last, errHierarchical))))
					return
				}
				last = key
				o := lake.Object{Key: key, Size: valueOf(entry.Properties.ContentLength), Version: version(entry.Properties.ETag), Modified: valueOf(entry.Properties.LastModified)}
				if !yield(o, nil) {
					return
				}
			}
		}
		if err := ctx.Err(); err != nil {
			yield(lake.Object{}, fail(ctx, "listing objects below", strconv.Quote(prefix), err))
		}
	}
}

var errHierarchical = errors.New("the account has a hierarchical namespace, in which folders are objects and the order is another: use one without")

// Delete implements lake.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return fail(ctx, "deleting object", key, err)
	}
	if _, err := s.client.NewBlobClient(s.prefix+key).Delete(ctx, nil); err != nil {
		return fail(ctx, "deleting object", key, err)
	}
	return nil
}

// Sweep has nothing to do: blocks that nobody lists are seen nowhere and are forgotten after a week.
func (s *Store) Sweep(context.Context) (int, error) { return 0, nil }

// Probe writes, and deletes, a small object to find out whether the store can be written to, refuses what conditional writes must refuse, and has
// no folders.
func (s *Store) Probe(ctx context.Context) error {
	folder := "_headwater/probe-" + rand.Text()
	key := folder + "/probe"
	try := func(cond lake.Condition) error {
		_, err := s.Put(ctx, key, strings.NewReader("probe"), cond)
		return err
	}
	if err := try(lake.Condition{IfAbsent: true}); err != nil {
		return fmt.Errorf("probing the store: %w", err)
	}
	absent, other := try(lake.Condition{IfAbsent: true}), try(lake.Condition{IfVersion: "0x1"})
	_, hierarchy := s.Stat(ctx, folder)
	if err := s.Delete(ctx, key); err != nil {
		return fmt.Errorf("probing the store: %w", err)
	}
	switch {
	case hierarchy == nil:
		_ = s.Delete(ctx, folder) // it is empty
		return retry.Stop(fmt.Errorf("probing the store: %w", errHierarchical))
	case !errors.Is(hierarchy, lake.ErrNotExist):
		return fmt.Errorf("probing the store: %w", hierarchy)
	case !errors.Is(absent, lake.ErrExists) || !errors.Is(other, lake.ErrChanged):
		return retry.Stop(fmt.Errorf("the store does not keep to the conditions of writes, and two writers would overwrite each other: putting what exists gave %v, and another version %v", absent, other))
	}
	return nil
}

// Close has nothing to do: connections that are idle end by themselves.
func (s *Store) Close() error { return nil }
