// Package trust reads whom clients trust.
//
// What enters: a file of PEM that a configuration names, or a certificate. What leaves: the authorities in it; clients that trust it alone. It starts no goroutine.
package trust

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
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

// Only trusts whoever has the very certificate, by its DER, whatever names and authorities are in it.
func Only(certificate []byte) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // in favour of a stricter look
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, certificate) {
				return errors.New("the certificate is not that of the process that was to be asked")
			}
			return nil
		},
	}
}

// Direct asks a process of this machine, whose certificate this is if it has one, and gives how its URLs begin. It never asks a proxy, which would get what
// the process is told.
func Direct(certificate []byte) (c *http.Client, scheme string) {
	t := &http.Transport{DisableKeepAlives: true}
	if certificate == nil {
		return &http.Client{Transport: t}, "http://"
	}
	t.TLSClientConfig = Only(certificate)
	return &http.Client{Transport: t}, "https://"
}
