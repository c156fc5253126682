// Package trust reads whom clients trust.
//
// What enters: a file of PEM that a configuration names. What leaves: the authorities in it. It starts no goroutine.
package trust

import (
	"crypto/x509"
	"fmt"
	"os"

	"headwater/internal/retry"
)

// Authorities reads the certificates in a file of PEM. That there are none is a permanent error.
func Authorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, retry.Stop(fmt.Errorf("%s has no certificate in PEM", path))
	}
	return pool, nil
}
