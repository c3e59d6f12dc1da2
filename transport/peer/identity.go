package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// IdentityFile is the name of the node's private key in its state directory.
const IdentityFile = "identity.key"

const (
	pemType = "PRIVATE KEY" // PKCS #8, RFC 5958
	// maxIdentityBytes is far above the 119 bytes of an Ed25519 key.
	maxIdentityBytes = 16 << 10
)

// ErrIdentity means that the key file is there and cannot be used. It is never
// replaced by itself: a new key would lock the node out at all its peers.
var ErrIdentity = errors.New("unusable node key")

// Identity is a node's private key with a certificate made for it in memory.
// Values are immutable and may be shared.
type Identity struct {
	fingerprint Fingerprint
	certificate tls.Certificate
}

// Fingerprint is what peers pin.
func (id Identity) Fingerprint() Fingerprint { return id.fingerprint }

// IsZero tells whether there is no key.
func (id Identity) IsZero() bool { return id.fingerprint.IsZero() }

// NewIdentity makes a key that lives in memory only.
func NewIdentity() (Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("make node key: %w", err)
	}
	return identityOf(key)
}

// LoadOrCreate returns the key in stateDir/identity.key. If there is none it
// makes the directory (0700) and a key (0600) that is durable on return.
// ErrIdentity if the file is readable by others, not ours, or damaged.
func LoadOrCreate(stateDir string) (Identity, error) {
	id, err := Load(stateDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := create(stateDir); err != nil {
		return Identity{}, fmt.Errorf("create node key in %s: %w", stateDir, err)
	}
	return Load(stateDir)
}

// Load returns the key in stateDir/identity.key; fs.ErrNotExist if there is
// none, ErrIdentity if it is readable by others, not ours, or damaged.
func Load(stateDir string) (Identity, error) {
	path := filepath.Join(stateDir, IdentityFile)
	text, err := readPrivate(path)
	if err != nil {
		return Identity{}, fmt.Errorf("read node key: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return Identity{}, fmt.Errorf("%w %s: %w: restore it from a backup, or move it away and pair this node again with every peer",
			ErrIdentity, path, err)
	}
	return identityOf(key)
}

// readPrivate reads a file that only we can have read or written. The checks
// are made on the open descriptor, so the file cannot be exchanged in between.
func readPrivate(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%w %s: it is a symbolic link: put the key file itself there", ErrIdentity, path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := private(path, info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, maxIdentityBytes))
}

func private(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w %s: not a regular file: move it away", ErrIdentity, path)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w %s: it belongs to user %d and this process runs as user %d: `chown %d %s` if you trust its content",
			ErrIdentity, path, st.Uid, os.Geteuid(), os.Geteuid(), path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w %s: its mode is %#o, so others can use it: `chmod 600 %s`, and if others may have read it, move it away and pair again",
			ErrIdentity, path, mode, path)
	}
	return nil
}

func parseKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, fmt.Errorf("no PEM block %q", pemType)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key is a %T, not Ed25519", key)
	}
	return ed, nil
}

// create writes a new key. The link fails if another process was faster, whose
// key is then as good as ours.
func create(stateDir string) error {
	if err := makeDir(stateDir); err != nil {
		return err
	}
	text, err := newKeyText()
	if err != nil {
		return err
	}
	tmp, err := writeTemp(stateDir, text)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, filepath.Join(stateDir, IdentityFile)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(stateDir)
}

// makeDir makes dir and what is missing above it, each durable in its parent.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func newKeyText() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// writeTemp returns the name of a synced file of mode 0600 in dir.
func writeTemp(dir string, text []byte) (string, error) {
	f, err := os.CreateTemp(dir, IdentityFile+".tmp-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// identityOf makes the certificate that carries the key through TLS. Nobody
// reads anything in it but the key, so its dates are as wide as RFC 5280 goes.
func identityOf(key ed25519.PrivateKey) (Identity, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Identity{}, fmt.Errorf("encode public key: %w", err)
	}
	digest := sha256.Sum256(spki)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(digest[:16]),
		Subject:      pkix.Name{CommonName: "antipode"},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Identity{}, fmt.Errorf("make certificate: %w", err)
	}
	return Identity{
		fingerprint: fingerprintOfSPKI(spki),
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
	}, nil
}
