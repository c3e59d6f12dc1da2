package main

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"antipode/integration/stage"
)

// rivals are the other ways to carry the same stream between two machines, on this
// one: each ends with `sync -f TARGET`, as the bare pipe does.
type rivals struct {
	b    *bench
	ssh  *sshd  // nil: it is not installed
	self string // this program, which is both ends of the TLS pipe
	none []string

	vs        map[string][]float64 // the rival's time over ours
	sshCPU    []float64            // seconds
	ownCPU    []float64            // of both daemons and their children
	pipeCPU   []float64
	checksums []float64 // share of the daemons' own processor time
}

// prepareRivals looks which are installed, and starts an sshd.
func (b *bench) prepareRivals(ctx context.Context) (*rivals, func(), error) {
	r := &rivals{b: b, vs: map[string][]float64{}}
	mark := b.Mark()
	stop := func() { _ = b.StrikeTo(mark) }
	var err error
	if r.self, err = os.Executable(); err != nil {
		return nil, nil, err
	}
	if path, err := exec.LookPath("sshd"); err != nil {
		r.none = append(r.none, "ssh")
	} else if r.ssh, err = b.startSSHD(ctx, path); err != nil {
		stop()
		return nil, nil, fmt.Errorf("start an sshd: %w", err)
	}
	if _, err := exec.LookPath("mbuffer"); err != nil {
		r.none = append(r.none, "mbuffer")
	}
	for _, name := range r.none {
		fmt.Printf("# %s is not installed; its figures are left out\n", name)
	}
	return r, stop, nil
}

// run copies once with each rival, in turn with pipe and own, which just ran.
func (r *rivals) run(ctx context.Context, pipe, own copied) error {
	r.pipeCPU = append(r.pipeCPU, pipe.cpu.Seconds())
	r.ownCPU = append(r.ownCPU, own.cpu.Seconds())
	r.checksums = append(r.checksums, checksumSeconds(own.stream)/own.daemon.Seconds())
	copies := map[string]func(context.Context) (copied, error){"mbuffer": r.mbuffer, "tls": r.tls, "ssh": r.overSSH}
	for _, name := range slices.Sorted(maps.Keys(copies)) {
		if slices.Contains(r.none, name) {
			continue
		}
		c, err := r.b.clean(func() (copied, error) { return copies[name](ctx) })
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.b.note("%s: %.2f s, cpu %.2f s", name, c.took.Seconds(), c.cpu.Seconds())
		r.vs[name] = append(r.vs[name], c.took.Seconds()/own.took.Seconds())
		if name == "ssh" {
			r.sshCPU = append(r.sshCPU, c.cpu.Seconds())
		}
	}
	return nil
}

func (r *rivals) figures() {
	for _, name := range slices.Sorted(maps.Keys(r.vs)) {
		figure("local_vs_"+name, median(r.vs[name]), "ratio")
	}
	if len(r.sshCPU) > 0 {
		figure("ssh_cpu_seconds", median(r.sshCPU), "s")
		figure("cpu_vs_ssh", (median(r.ownCPU)-median(r.pipeCPU))/(median(r.sshCPU)-median(r.pipeCPU)), "ratio")
	}
	figure("checksum_share", median(r.checksums), "share")
}

func (r *rivals) mbuffer(ctx context.Context) (copied, error) {
	return r.b.piped(ctx, "mbuffer", `btrfs send -q "$0" | mbuffer -q -m 64M | btrfs receive -q "$1"`)
}

// tls is a plain pipe through one TLS connection.
func (r *rivals) tls(ctx context.Context) (copied, error) {
	address, err := stage.FreeAddress("127.0.0.4")
	if err != nil {
		return copied{}, err
	}
	const script = `"$2" receive "$3" | btrfs receive -q "$1" & btrfs send -q "$0" | "$2" send "$3" && wait $!`
	return r.b.piped(ctx, "tls", script, r.self, address)
}

// overSSH is what syncoid and btrbk do. The far end runs below our sshd, which has
// waited for it when the command returns, or soon after.
func (r *rivals) overSSH(ctx context.Context) (copied, error) {
	before, err := r.ssh.cpu()
	if err != nil {
		return copied{}, err
	}
	c, err := r.b.piped(ctx, "ssh", `btrfs send -q "$0" | ssh -F "$2" bench btrfs receive -q "$1"`, r.ssh.config)
	if err != nil {
		return copied{}, err
	}
	var after time.Duration
	err = stage.Until(ctx, func() (bool, error) {
		if err := r.ssh.process.Process.Signal(syscall.Signal(0)); err != nil {
			return false, err
		}
		now, err := r.ssh.cpu()
		same := now == after
		after = now
		return same && now > before, err
	})
	c.cpu += after - before
	return c, err
}

// sshd is one of our own, on loopback, with keys of its own.
type sshd struct {
	config  string // of the client
	process *exec.Cmd
}

func (b *bench) startSSHD(ctx context.Context, program string) (*sshd, error) {
	dir, err := os.MkdirTemp(b.Dir, "ssh-")
	if err != nil {
		return nil, err
	}
	address, err := stage.FreeAddress("127.0.0.5")
	if err != nil {
		return nil, err
	}
	host, port, _ := strings.Cut(address, ":")
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		if _, err := stage.Tool(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(key)); err != nil {
			return nil, err
		}
	}
	public, err := os.ReadFile(file("user.pub"))
	if err != nil {
		return nil, err
	}
	server := fmt.Sprintf("ListenAddress %s\nPort %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n",
		host, port, file("host"), file("authorized"))
	client := fmt.Sprintf("Host bench\nHostName %s\nPort %s\nIdentityFile %s\nIdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile %s\nBatchMode yes\nLogLevel ERROR\n",
		host, port, file("user"), file("known"))
	err = errors.Join(os.WriteFile(file("authorized"), public, 0o600), os.WriteFile(file("sshd_config"), []byte(server), 0o600),
		os.WriteFile(file("config"), []byte(client), 0o600), os.MkdirAll("/run/sshd", 0o755))
	if err != nil {
		return nil, err
	}
	s := &sshd{config: file("config"), process: exec.Command(program, "-D", "-e", "-f", file("sshd_config"))}
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := s.process.Start(); err != nil {
		return nil, err
	}
	b.Later(func(context.Context) error {
		_ = s.process.Process.Kill() // it may have ended
		_ = s.process.Wait()
		return nil
	})
	return s, stage.Until(ctx, func() (bool, error) {
		_, err := stage.Tool(ctx, "ssh", "-F", s.config, "bench", "true")
		return err == nil, nil
	})
}

// cpu is the processor time of the sshd and of all sessions that have ended.
func (s *sshd) cpu() (time.Duration, error) {
	own, children, err := stage.CPU(s.process.Process.Pid)
	return own + children, err
}

// checksumSeconds is the processor time that all checksums of a stream of so many
// bytes take on this machine: xxHash on either side, for the chunks, and one CRC-32C
// in the gate.
func checksumSeconds(bytes int64) float64 {
	const piece, passes = 64 << 20, 4
	data := make([]byte, piece)
	table := crc32.MakeTable(crc32.Castagnoli)
	began := threadTime()
	var sums uint64
	for range passes {
		for part := range slices.Chunk(data, 1<<20) {
			sums += xxhash.Sum64(part) + xxhash.Sum64(part) + uint64(crc32.Checksum(part, table))
		}
	}
	runtime.KeepAlive(sums)
	return (threadTime() - began).Seconds() / (piece * passes) * float64(bytes)
}

// threadTime is the processor time of this process, which does nothing else now.
func threadTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
