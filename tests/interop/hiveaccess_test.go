package interop

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headwater/schema"
	"headwater/table"
	"headwater/table/hive"
	"headwater/tests/interop/fixture"
)

// TestHiveAccess: metastores that want TLS, and a password, which Hive can want since 4.
func TestHiveAccess(t *testing.T) {
	for _, version := range fixture.Metastores[1:] {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			hiveAccess(t, version)
		})
	}
}

func hiveAccess(t *testing.T, version string) {
	certs, others := t.TempDir(), t.TempDir()
	fixture.Certificates(t, certs)
	fixture.Certificates(t, others)
	password := version >= "4"
	properties := map[string]string{
		"metastore.use.SSL": "true", "metastore.keystore.path": keystore(t, certs), "metastore.keystore.password": "changeit",
	}
	if password {
		properties["metastore.authentication"], properties["metastore.execute.setugi"] = "CONFIG", "false"
		properties["metastore.authentication.config.username"], properties["metastore.authentication.config.password"] = "carol", "s3cret"
	}
	addr := fixture.Metastore(t, fixture.Hive{Version: version, Properties: properties})
	for _, c := range []struct {
		name     string
		change   func(*hive.Config)
		password bool
		want     string // of the error
	}{
		{"let in", func(*hive.Config) {}, false, ""},
		{"no TLS", func(c *hive.Config) { c.TLS = nil }, false, "hive.tls"},
		{"another authority", func(c *hive.Config) { c.TLS.CA = filepath.Join(others, "ca.pem") }, false, "unknown authority"},
		{"another password", func(c *hive.Config) { c.SASL.Password = "secret" }, true, "it does not believe that this is carol, see hive.sasl"},
		{"no password", func(c *hive.Config) { c.SASL = nil }, true, "hive.sasl"},
	} {
		if c.password && !password {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			o := hive.Options{Config: hive.DefaultConfig(), Location: "file://" + t.TempDir()}
			o.Config.URIs, o.Config.TLS = []string{"thrift://" + addr}, &hive.TLS{CA: filepath.Join(certs, "ca.pem")}
			if password {
				o.Config.SASL = &hive.SASL{Mechanism: "PLAIN", Username: "carol", Password: "s3cret"}
			}
			c.change(&o.Config)
			m, err := hive.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			s := columns(schema.Field{Name: "id", Type: long})
			err = m.Ensure(t.Context(), table.Table{Name: orders, Schema: s})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), addr) {
					t.Errorf("the error is %v, want %q and the address in it", err, c.want)
				}
				return
			}
			got, terr := m.Table(t.Context(), orders)
			if err != nil || terr != nil || !schema.Equal(got.Schema, s) {
				t.Errorf("%v, %v, %v", got, err, terr)
			}
		})
	}
}

// keystore has the server's certificate and key, as Java reads them.
func keystore(t *testing.T, certs string) (path string) {
	t.Helper()
	path = filepath.Join(certs, "server.p12")
	out, err := exec.Command("openssl", "pkcs12", "-export", "-in", filepath.Join(certs, "server.pem"), "-inkey", filepath.Join(certs, "server.key"),
		"-out", path, "-passout", "pass:changeit").CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	return path
}
