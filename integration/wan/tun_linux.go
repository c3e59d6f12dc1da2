package wan

import (
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	device    = "wan0"
	mtu       = 1500
	txQueue   = 10_000            // packets that the kernel keeps for us
	maxPacket = vnetBytes + 1<<16 // a whole train

	tunSetOffload = 0x400454d0 // linux/if_tun.h
	offloads      = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN
)

// openTUN makes the side's device, with its address, and switches it on.
func (s *Side) openTUN(prefix netip.Prefix) (tun *os.File, err error) {
	err = s.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		// Not a File before it has its device: until then there is nothing to poll.
		if err := attach(fd, s.Address, prefix); err != nil {
			unix.Close(fd)
			return err
		}
		tun = os.NewFile(uintptr(fd), device)
		return nil
	})
	return tun, err
}

func attach(fd int, address netip.Addr, prefix netip.Prefix) error {
	r, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
		return fmt.Errorf("make the TUN device: %w", err)
	}
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), tunSetOffload, offloads); e != 0 {
		return fmt.Errorf("let the TUN device segment: %w", e)
	}
	err = configure(device, func(sock int, r *unix.Ifreq) error {
		if err := r.SetInet4Addr(address.AsSlice()); err != nil {
			return err
		}
		return unix.IoctlIfreq(sock, unix.SIOCSIFADDR, r)
	})
	if err != nil {
		return err
	}
	for _, set := range []struct {
		request uint
		value   func(*unix.Ifreq) error
	}{
		{unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask(prefix.Bits())) }},
		{unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(txQueue); return nil }},
	} {
		err := configure(device, func(sock int, r *unix.Ifreq) error {
			if err := set.value(r); err != nil {
				return err
			}
			return unix.IoctlIfreq(sock, set.request, r)
		})
		if err != nil {
			return err
		}
	}
	return raise(device)
}

func mask(bits int) []byte {
	m := ^uint32(0) << (32 - bits)
	return []byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}
}
