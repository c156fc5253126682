package message

import (
	"crypto/tls"
	"fmt"

	"headwater/internal/setting"
	"headwater/internal/trust"
)

// TLS is whom a client trusts and who it says it is. The zero value trusts the system's authorities and says nothing.
type TLS struct {
	// CA is a file of PEM with the authorities to trust instead of the system's.
	CA string `yaml:"ca"`
	// Cert and Key are files of PEM with the client's own certificate and its key.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// validate adds the faults; used says that the URL asks for TLS.
func (t *TLS) validate(f *setting.Faults, used bool, scheme string) {
	if (t.Cert == "") != (t.Key == "") {
		f.Add([]string{"tls"}, "must have both cert and key, or neither")
	}
	if !used && *t != (TLS{}) {
		f.Add([]string{"tls"}, "is not used without a url that begins with %s://", scheme)
	}
}

// Config is what a client of a host hands to crypto/tls; relative paths are relative to the folder base. The files are read each time, so that
// renewed certificates are found.
func (t *TLS) Config(base, host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		var err error
		if c.RootCAs, err = trust.Authorities(setting.At(base, t.CA)); err != nil {
			return nil, fmt.Errorf("reading tls.ca: %w", err)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(setting.At(base, t.Cert), setting.At(base, t.Key))
		if err != nil {
			return nil, fmt.Errorf("reading tls.cert and tls.key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
