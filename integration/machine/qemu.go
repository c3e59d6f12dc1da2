package machine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// diskBytes is the size of each of the four sparse disks: two pools, two blank.
const diskBytes = 4 << 30

// run is one guest: a folder of sockets, disks and control files, one QEMU and
// one virtiofsd a share.
type run struct {
	Guest
	work    string
	qemu    *exec.Cmd
	daemons []*exec.Cmd
	outputs sync.WaitGroup
	sockets []net.Listener
}

func (r *run) path(name string) string { return filepath.Join(r.work, name) }

// start has QEMU running when it returns nil.
func (r *run) start(ctx context.Context, argv []string) error {
	if err := r.writeControl(argv); err != nil {
		return err
	}
	for i := range 4 {
		if err := makeDisk(r.path(fmt.Sprint("disk", i)), i < 2); err != nil {
			return err
		}
	}
	children, err := os.Create(r.path("children"))
	if err != nil {
		return err
	}
	defer children.Close()
	for i, s := range r.shares() {
		if err := r.startShare(ctx, i, s, children); err != nil {
			return err
		}
	}
	if err := r.listen("stdout", r.Stdout); err != nil {
		return err
	}
	if err := r.listen("stderr", r.Stderr); err != nil {
		return err
	}
	r.qemu = r.bundled(ctx, "qemu-system-x86_64", r.qemuArguments()...)
	r.qemu.Stdout, r.qemu.Stderr = children, children
	return r.qemu.Start()
}

// shares is the control share, then the caller's.
func (r *run) shares() []Share {
	return append([]Share{{Dir: r.path("control")}}, r.Shares...)
}

// writeControl makes the folder through which host and guest's init talk.
func (r *run) writeControl(argv []string) error {
	var shares strings.Builder
	for i, s := range r.Shares {
		if !filepath.IsAbs(s.Dir) || strings.ContainsAny(s.Dir, " \t\n") {
			return fmt.Errorf("share %q: not an absolute path without spaces", s.Dir)
		}
		// No program runs from a share: virtiofsd writes into the guest's memory past
		// the emulation, which would go on with what it has translated of a page that
		// held other code before.
		mode := "rw,noexec"
		if s.ReadOnly {
			mode = "ro,noexec"
		}
		fmt.Fprintf(&shares, "share%d %s %s\n", i+1, mode, s.Dir)
	}
	files := map[string]string{
		"settings": fmt.Sprintf("LIMIT=%d\n", int(r.Limit.Seconds())),
		"shares":   shares.String(),
		"job":      r.script(argv),
	}
	if err := os.Mkdir(r.path("control"), 0o700); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(r.path("control/"+name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// makeDisk makes a sparse file, with one partition over all of it if asked:
// zpool would wait for udev to see a partition of its own.
func makeDisk(name string, partitioned bool) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(diskBytes); err != nil || !partitioned {
		return err
	}
	const firstSector, sectorBytes = 2048, 512
	var mbr [sectorBytes]byte
	entry := mbr[446:]
	entry[4] = 0x83 // type: Linux
	binary.LittleEndian.PutUint32(entry[8:], firstSector)
	binary.LittleEndian.PutUint32(entry[12:], diskBytes/sectorBytes-firstSector)
	mbr[510], mbr[511] = 0x55, 0xaa
	_, err = f.WriteAt(mbr[:], 0)
	return err
}

// bundled is a program of the image, started through its own loader so that it
// needs no library of the host. The context's end kills it, and so does the
// end of this process.
func (r *run) bundled(ctx context.Context, program string, args ...string) *exec.Cmd {
	lib := filepath.Join(r.Image, "qemu/lib")
	argv := append([]string{"--library-path", lib, filepath.Join(r.Image, "qemu/bin", program)}, args...)
	cmd := exec.CommandContext(ctx, filepath.Join(lib, "ld-linux-x86-64.so.2"), argv...)
	cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+filepath.Join(r.Image, "qemu/mod"))
	// A group of its own: the terminal's Ctrl-C reaches this process, which then ends the child.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// startShare starts the virtiofsd of share i and waits for its socket.
func (r *run) startShare(ctx context.Context, i int, s Share, log *os.File) error {
	socket := r.path(fmt.Sprint("share", i))
	args := []string{
		"--socket-path=" + socket, "--shared-dir=" + s.Dir, "--sandbox=none",
		"--cache=auto", "--inode-file-handles=never", "--log-level=error",
	}
	if s.ReadOnly {
		args = append(args, "--readonly")
	}
	cmd := r.bundled(ctx, "virtiofsd", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	r.daemons = append(r.daemons, cmd)
	return waitFor(ctx, socket)
}

// waitFor returns when the file exists.
func waitFor(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(name); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no socket %s came up: %w", filepath.Base(name), ctx.Err())
		case <-tick.C:
		}
	}
}

// listen makes the socket that QEMU connects a serial port of the guest to, and
// copies to w what comes from it.
func (r *run) listen(name string, w io.Writer) error {
	l, err := net.Listen("unix", r.path(name))
	if err != nil {
		return err
	}
	r.sockets = append(r.sockets, l)
	r.outputs.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return // stop closed the socket: QEMU never came
		}
		defer conn.Close()
		if _, err := io.Copy(w, conn); err != nil {
			// The guest must not stall on an output that nobody takes.
			_, _ = io.Copy(io.Discard, conn)
		}
	})
	return nil
}

// wait returns when QEMU has ended and all of the output has been copied.
func (r *run) wait() error {
	err := r.qemu.Wait()
	for _, l := range r.sockets {
		l.Close()
	}
	r.outputs.Wait()
	return err
}

// stop ends what still runs, by its process id, and reaps it.
func (r *run) stop() {
	for _, l := range r.sockets {
		l.Close()
	}
	children := r.daemons
	if r.qemu != nil && r.qemu.Process != nil && r.qemu.ProcessState == nil {
		children = append(children, r.qemu)
	}
	for _, c := range children {
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			fmt.Fprintf(r.Stderr, "machine: process %d: %v\n", c.Process.Pid, err)
		}
		_ = c.Wait()
	}
}

func (r *run) qemuArguments() []string {
	args := []string{
		"-L", filepath.Join(r.Image, "qemu/fw"), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-M", "pc", "-rtc", "base=utc", "-smp", fmt.Sprint(r.CPUs), "-m", fmt.Sprint(r.MemoryMiB),
		// virtiofsd reads and writes the guest's memory itself.
		"-object", fmt.Sprintf("memory-backend-memfd,id=mem,size=%dM,share=on", r.MemoryMiB), "-machine", "memory-backend=mem",
		"-kernel", filepath.Join(r.Image, "vmlinux"), "-initrd", filepath.Join(r.Image, "initrd-"+r.ZFS+".cpio"),
		"-append", kernelArguments, "-serial", "file:" + r.path("console"), "-device", "virtio-serial-pci",
	}
	args = append(args, accelerate()...)
	for i, name := range []string{"stdout", "stderr"} {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=%s,path=%s", name, r.path(name)),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,nr=%d", name, i+1))
	}
	for i := range r.shares() {
		tag := fmt.Sprint("share", i)
		if i == 0 {
			tag = "control"
		}
		args = append(args, "-chardev", fmt.Sprintf("socket,id=fs%d,path=%s", i, r.path(fmt.Sprint("share", i))),
			"-device", fmt.Sprintf("vhost-user-fs-pci,chardev=fs%d,tag=%s", i, tag))
	}
	for i := range 4 {
		args = append(args, "-drive", fmt.Sprintf("file=%s,if=none,id=disk%d,format=raw,cache=unsafe,discard=unmap", r.path(fmt.Sprint("disk", i)), i),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	return args
}

// kernelArguments: a panic ends the guest instead of stopping it, what only
// costs time under emulation is left out, and no_timer_check, because the check
// counts ticks against a busy loop: on a busy host it finds the timer broken.
// Clearing all memory when it is given out (Debian's default) and the string
// instructions, of which every step is emulated, take half of a kernel's time.
const kernelArguments = "console=ttyS0 rdinit=/init panic=-1 oops=panic quiet mitigations=off nokaslr no_timer_check random.trust_cpu=1 " +
	"init_on_alloc=0 clearcpuid=rep_good hardened_usercopy=off randomize_kstack_offset=off apparmor=0 audit=0 " +
	"cryptomgr.notests=1 initcall_blacklist=crypto_kdf108_init,jent_mod_init,load_system_certificate_list"

// accelerate emulates the processor unless ANTIPODE_MACHINE_ACCEL=kvm says that
// this host's KVM is good for it. That /dev/kvm exists does not say so: on a
// host that is itself a guest it may abort in the middle of a boot.
func accelerate() []string {
	if os.Getenv("ANTIPODE_MACHINE_ACCEL") == "kvm" {
		return []string{"-accel", "kvm", "-cpu", "host"}
	}
	// Without fast string instructions, which are slow here, and without what costs a check or a level of page tables.
	const processor = "max,-erms,-fsrm,-fsrs,-fzrm,-la57,-smap,-smep,-umip,-pku"
	return []string{"-accel", "tcg,thread=multi,tb-size=512", "-cpu", processor}
}
