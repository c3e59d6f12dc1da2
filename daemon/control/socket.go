package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxSocketPath is what fits into the kernel's sockaddr_un (unix(7)), less its
// terminating NUL.
const MaxSocketPath = 107

// ErrInUse means that a daemon answers on the socket.
var ErrInUse = errors.New("another daemon answers there")

// Listen makes the socket at path, 0600, and its directory, 0700, where it is
// missing. A socket that nobody answers on was left by a daemon that was killed,
// and is removed; anything else under that name is left alone. Connections of
// other users than root and our own are closed. Errors: ErrInUse.
func Listen(path string) (net.Listener, error) {
	if len(path) > MaxSocketPath {
		return nil, fmt.Errorf("control socket %s: the path has %d bytes, the kernel takes %d", path, len(path), MaxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make directory of control socket: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	return bind(path)
}

// bind relies on the kernel's word about each caller in the moment before the
// mode is set.
func bind(path string) (net.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("keep others out of the control socket: %w", err), l.Close())
	}
	return &listener{UnixListener: l, uid: uint32(os.Geteuid())}, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something that is no socket is there; move it away or name another socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		return errors.Join(ErrInUse, c.Close())
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	}
	return fmt.Errorf("see whether anybody answers: %w", err)
}

// listener lets in only who may command the daemon. Closing it removes the
// socket.
type listener struct {
	*net.UnixListener
	uid uint32
}

// Accept drops strangers without a word; the mode of the socket has told them.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(c); err == nil && mayCommand(uid, l.uid) {
			return c, nil
		}
		c.Close() //nolint:errcheck // nothing was said on it
	}
}

func mayCommand(caller, own uint32) bool { return caller == 0 || caller == own }

func peerUID(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(controlErr, err); err != nil {
		return 0, fmt.Errorf("ask who is calling: %w", err)
	}
	return cred.Uid, nil
}

// dial connects to the socket and says in an Error what is wrong if it cannot.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, &Error{Kind: KindDenied, Object: socket, Text: "this user may not command the daemon", Next: "run the command as root, or as the daemon's user"}
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, &Error{Kind: KindDown, Object: socket, Text: "no daemon answers", Next: "start it with `antipode daemon`, or name its socket with --socket"}
}
