package wan

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Side is one end of the link: a network namespace with an address.
type Side struct {
	Address netip.Addr
	net     *os.File // the namespace, which lives as long as this
}

// newSide makes a namespace in which only the loopback is.
func newSide(address netip.Addr) (*Side, error) {
	s := &Side{Address: address}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		s.net, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, s.Do(func() error { return raise("lo") })
}

// Do runs f on a thread that is in the namespace. Sockets that f makes stay in
// it; goroutines that f starts do not.
func (s *Side) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(s.net.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// Prefix is the beginning of a command that runs the rest of it in the namespace,
// while this process lives.
func (s *Side) Prefix() []string {
	return []string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), s.net.Fd()), "--"}
}

// SetCongestion makes name the congestion control of sockets that do not choose. It
// is the route's, because the namespace's own may only be one that the host allows
// for everybody. It needs iproute2.
func (s *Side) SetCongestion(name string) error {
	args := append(s.Prefix(), "ip", "route", "replace", prefix.String(), "dev", device, "src", s.Address.String(), "congctl", name)
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("set congestion control %s: %w: %s", name, err, out)
	}
	return nil
}

// onThread runs f on a thread whose namespace may change, and changes it back: a
// thread that ended would take children along that asked for it (Pdeathsig).
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		err = f()
		back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)
		if back == nil {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		done <- errors.Join(err, back)
	}()
	return <-done
}

// raise switches a device of this thread's namespace on.
func raise(device string) error {
	return configure(device, func(fd int, r *unix.Ifreq) error {
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
			return err
		}
		r.SetUint16(r.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
	})
}

func configure(device string, how func(fd int, r *unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(device)
	if err == nil {
		err = how(fd, r)
	}
	if err != nil {
		return fmt.Errorf("configure %s: %w", device, err)
	}
	return nil
}
