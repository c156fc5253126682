package sftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"headwater/collect/file"
	"headwater/internal/retry"
	"headwater/internal/setting"
)

// dial connects and logs in. The connection ends with ctx.
func (s *source) dial(ctx context.Context) (file.Tree, error) {
	trust, err := s.trust()
	if err != nil {
		return nil, err
	}
	auth, err := s.auth()
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: s.c.Timeout}
	raw, err := d.DialContext(ctx, "tcp", s.at.Host)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", s.at.Origin, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	late := time.AfterFunc(s.c.Timeout, func() { _ = raw.Close() }) // bytes that drip in do not help
	t, err := s.session(raw, trust, auth)
	if !late.Stop() && err == nil {
		err = errors.Join(t.Close(), os.ErrDeadlineExceeded)
	}
	if err != nil {
		stop()
		_ = raw.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("connecting to %s: %w", s.at.Origin, err)
	}
	t.stop = stop
	return t, nil
}

// session speaks SSH on a connection, and SFTP on that.
func (s *source) session(raw net.Conn, trust hostKeys, auth []ssh.AuthMethod) (*tree, error) {
	var untrusted error
	c := ssh.ClientConfig{
		User: s.at.User, Auth: auth, HostKeyAlgorithms: trust.algorithms,
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			untrusted = trust.check(host, remote, key) // Invariant 1
			return untrusted
		},
	}
	conn, channels, requests, err := ssh.NewClientConn(file.Patient(raw, s.c.Timeout), s.at.Host, &c)
	switch {
	case untrusted != nil:
		return nil, retry.Stop(untrusted)
	case err != nil && strings.Contains(err.Error(), "unable to authenticate"):
		return nil, file.Refused(fmt.Errorf("the server does not let user %s in: %w", s.at.User, err))
	case err != nil:
		return nil, err
	}
	client := ssh.NewClient(conn, channels, requests)
	files, err := sftp.NewClient(client)
	if err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("the server lets user %s in but offers no SFTP: %w", s.at.User, err)
	}
	return newTree(raw, client, files, s.c.Timeout), nil
}

// auth is what the server gets to know of the user, in this order.
func (s *source) auth() (methods []ssh.AuthMethod, err error) {
	if s.c.PrivateKey != "" {
		key, err := s.signer()
		if err != nil {
			return nil, err
		}
		methods = append(methods, ssh.PublicKeys(key))
	}
	if password := s.c.Password.Reveal(); password != "" {
		methods = append(methods, ssh.Password(password), ssh.KeyboardInteractive(
			func(_, _ string, questions []string, echos []bool) ([]string, error) {
				answers := make([]string, len(questions))
				for i := range answers {
					if echos[i] {
						return nil, fmt.Errorf("the server asks %q, which nobody is there to answer", questions[i])
					}
					answers[i] = password
				}
				return answers, nil
			}))
	}
	return methods, nil
}

// signer is the private key. Its errors never have the key's text.
func (s *source) signer() (ssh.Signer, error) {
	pem := []byte(s.c.PrivateKey.Reveal())
	if !strings.Contains(s.c.PrivateKey.Reveal(), "-----BEGIN") {
		var err error
		if pem, err = os.ReadFile(setting.At(s.base, s.c.PrivateKey.Reveal())); err != nil {
			return nil, fmt.Errorf("reading sftp.private_key: %w", err)
		}
	}
	key, err := ssh.ParsePrivateKey(pem)
	if _, locked := errors.AsType[*ssh.PassphraseMissingError](err); locked && s.c.Passphrase != "" {
		key, err = ssh.ParsePrivateKeyWithPassphrase(pem, []byte(s.c.Passphrase.Reveal()))
	}
	if err != nil {
		return nil, retry.Stop(fmt.Errorf("reading sftp.private_key: %w; it must be a key of OpenSSH or in PEM, and sftp.passphrase its passphrase", err))
	}
	return key, nil
}

// hostKeys says which servers are trusted.
type hostKeys struct {
	check ssh.HostKeyCallback
	// algorithms are those of the keys that are known, so that the server shows one of them; nil is any.
	algorithms []string
}

func (s *source) trust() (hostKeys, error) {
	switch {
	case s.c.InsecureIgnoreHostKey:
		s.log.Warn("the key of the server is not looked at: anybody between here and there can read the password and the files", "server", s.at.Origin)
		return hostKeys{check: ssh.InsecureIgnoreHostKey()}, nil
	case s.c.KnownHosts == "":
		return hostKeys{check: func(host string, _ net.Addr, key ssh.PublicKey) error {
			return s.unknown("sftp.known_hosts is missing, so that no server is trusted", host, key)
		}}, nil
	}
	known, err := s.knownHosts()
	if err != nil {
		return hostKeys{}, err
	}
	return hostKeys{algorithms: s.algorithms(known), check: func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := known(host, remote, key)
		var wrong *knownhosts.KeyError
		switch {
		case errors.As(err, &wrong) && len(wrong.Want) == 0:
			return s.unknown("sftp.known_hosts does not have the server", host, key)
		case errors.As(err, &wrong):
			return fmt.Errorf("the server has another key than line %d of sftp.known_hosts says. Either it was given a new one, or somebody pretends to be it. Its fingerprint is %s",
				wrong.Want[0].Line, ssh.FingerprintSHA256(key))
		}
		return err
	}}, nil
}

// unknown tells a person what to find out and what to write.
func (s *source) unknown(why, host string, key ssh.PublicKey) error {
	return fmt.Errorf("%s. If whoever runs it says that the fingerprint of its key is %s, add this line: %s",
		why, ssh.FingerprintSHA256(key), knownhosts.Line([]string{host}, key))
}

// knownHosts reads the keys that are trusted, from a file or from the configuration itself.
func (s *source) knownHosts() (ssh.HostKeyCallback, error) {
	path := setting.At(s.base, s.c.KnownHosts)
	if _, _, _, _, _, err := ssh.ParseKnownHosts([]byte(s.c.KnownHosts)); err == nil {
		f, err := os.CreateTemp("", "known_hosts-")
		if err != nil {
			return nil, err
		}
		defer os.Remove(f.Name())
		_, err = f.WriteString(s.c.KnownHosts)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		path = f.Name()
	}
	known, err := knownhosts.New(path)
	if err != nil {
		return nil, fmt.Errorf("reading sftp.known_hosts: %w", err)
	}
	return known, nil
}

// algorithms are those of the server's known keys; nil, any, if there are none.
func (s *source) algorithms(known ssh.HostKeyCallback) (all []string) {
	var want *knownhosts.KeyError
	if !errors.As(known(s.at.Host, &net.TCPAddr{}, nobody{}), &want) {
		return nil
	}
	for _, k := range want.Want {
		switch kind := k.Key.Type(); kind {
		case ssh.KeyAlgoRSA: // the kind of key that has two ways to sign
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			all = append(all, kind)
		}
	}
	return all
}

// nobody is a key that no server has.
type nobody struct{}

func (nobody) Type() string                        { return "" }
func (nobody) Marshal() []byte                     { return nil }
func (nobody) Verify([]byte, *ssh.Signature) error { return errors.New("this key signs nothing") }
