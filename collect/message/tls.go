package message

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"headwater/internal/retry"
	"headwater/internal/setting"
)

// TLS is whom a client trusts and who it says it is. The zero value trusts the system's authorities and says nothing.
type TLS struct {
	// CA is a file of PEM with the authorities to trust instead of the system's.
	CA string `yaml:"ca"`
	// Cert and Key are files of PEM with the client's own certificate and its key.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Validate adds the faults; used says that the URL asks for TLS.
func (t *TLS) Validate(f *setting.Faults, used bool, scheme string) {
	if (t.Cert == "") != (t.Key == "") {
		f.Add([]string{"tls"}, "must have both cert and key, or neither")
	}
	if !used && *t != (TLS{}) {
		f.Add([]string{"tls"}, "is not used without a url that begins with %s://", scheme)
	}
}

// Config is what a client hands to crypto/tls; relative paths are relative to the folder base. The files are read each time, so that
// renewed certificates are found.
func (t *TLS) Config(base string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	at := func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(base, path)
	}
	if t.CA != "" {
		pem, err := os.ReadFile(at(t.CA))
		if err != nil {
			return nil, fmt.Errorf("reading tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, retry.Stop(fmt.Errorf("reading tls.ca: %s has no certificate in PEM", at(t.CA)))
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(at(t.Cert), at(t.Key))
		if err != nil {
			return nil, fmt.Errorf("reading tls.cert and tls.key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
