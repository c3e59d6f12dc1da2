//go:build zfs || machine

package smoke

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// pools returns the two pools; a machine without them fails the test.
func pools(t *testing.T) (src, dst string) {
	t.Helper()
	src, dst = os.Getenv("ANTIPODE_ZFS_SRC"), os.Getenv("ANTIPODE_ZFS_DST")
	if src == "" || dst == "" {
		t.Fatal("ANTIPODE_ZFS_SRC and ANTIPODE_ZFS_DST are not set: run by make test-zfs")
	}
	return src, dst
}

// needsMachine skips what would change a host: modules, namespaces, disks.
func needsMachine(t *testing.T) {
	t.Helper()
	if os.Getenv("ANTIPODE_MACHINE") == "" {
		t.Skip("only in the test machine: it loads modules and writes on whole disks")
	}
}

// try runs a bash script and returns what it printed and whether it ended well.
func try(t *testing.T, script string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must is try for what has to succeed.
func must(t *testing.T, script string) string {
	t.Helper()
	out, err := try(t, script)
	if err != nil {
		t.Fatalf("%s\n%s\n%v", script, out, err)
	}
	return out
}

// send returns the stream that "zfs send ARGS" makes.
func send(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "zfs", append([]string{"send"}, args...)...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("zfs send %v: %v: %s", args, err, complaint.Bytes())
	}
	return out
}

// receive feeds a stream to "zfs receive ARGS".
func receive(t *testing.T, stream []byte, args ...string) (string, error) {
	t.Helper()
	return receiveFrom(t, bytes.NewReader(stream), args...)
}

func receiveFrom(t *testing.T, stream io.Reader, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "zfs", append([]string{"receive"}, args...)...)
	cmd.Stdin = stream
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func mustReceive(t *testing.T, stream []byte, args ...string) {
	t.Helper()
	if out, err := receive(t, stream, args...); err != nil {
		t.Fatalf("zfs receive %v: %v: %s", args, err, out)
	}
}

// value is one property of a dataset.
func value(t *testing.T, property, dataset string) string {
	t.Helper()
	return must(t, "zfs get -Hp -o value "+property+" '"+dataset+"'")
}

// dataset makes a filesystem for this test and destroys it, and all below it,
// afterwards.
func dataset(t *testing.T, name string, options ...string) string {
	t.Helper()
	must(t, "zfs create "+strings.Join(options, " ")+" "+name)
	t.Cleanup(func() { destroy(t, name) })
	return name
}

// destroy removes a dataset and its dependents, half received ones included.
func destroy(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command("zfs", "destroy", "-R", name)
	if out, err := cmd.CombinedOutput(); err != nil && !bytes.Contains(out, []byte("does not exist")) {
		t.Errorf("zfs destroy -R %s: %v: %s", name, err, out)
	}
}
