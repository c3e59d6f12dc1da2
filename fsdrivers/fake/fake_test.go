package fake_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/drivertest"
	"antipode/fsdrivers/fake"
)

const into = "/backup/fra1"

// harness is two disks and the drivers that are made on them.
type harness struct {
	t              *testing.T
	sent, received *fake.Disk
	beyond         *fake.Disk
	resumable      bool
	source         *fake.Source
	target         *fake.Target
}

func newHarness(t *testing.T, resumable bool) *harness {
	h := &harness{t: t, sent: fake.NewDisk("fra1", 1<<30), received: fake.NewDisk("sin1", 1<<30), beyond: fake.NewDisk("syd1", 1<<30), resumable: resumable}
	h.sent.MakeDir("/data")
	h.received.Resumable(resumable)
	h.beyond.Resumable(resumable)
	h.received.Make("/backup/other") // what no driver may touch
	h.Reopen()
	return h
}

func (h *harness) Source() fsdrivers.Source { return fake.Bookmarking{Source: h.source} }
func (h *harness) Target() fsdrivers.Target { return h.target }
func (h *harness) Now() time.Time           { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }

func (h *harness) SourceWith(include func(string) bool) fsdrivers.Source {
	return h.sent.SourceWith(include)
}

func (h *harness) MakeForeign(d dataset.Path, name string) { h.sent.MakeForeign(d, name, time.Now()) }

func (h *harness) SourceAtTarget() fsdrivers.Source { return h.received.Source() }

func (h *harness) Reopen() {
	h.source, h.target = h.sent.Source(), h.received.Target(into, h.Now)
}

func (h *harness) Path(name string) dataset.Path {
	if name == "" {
		return "/data"
	}
	return dataset.Path("/data/" + name)
}
func (h *harness) Make(name string) dataset.Dataset { return h.sent.Make(h.Path(name)) }

func (h *harness) MakeDir(name string) dataset.Path {
	h.sent.MakeDir(h.Path(name))
	return h.Path(name)
}

func (h *harness) Write(d dataset.Path, file string, data []byte) error {
	return h.sent.Write(d, file, data)
}

func (h *harness) Delete(d dataset.Path, file string) error {
	return h.sent.Delete(d, file)
}

func (h *harness) Read(d dataset.Path, snapshot, file string) ([]byte, error) {
	files, err := h.received.SnapshotFiles(into, d, snapshot)
	return pick(files, file, err)
}

func (h *harness) Beyond() fsdrivers.Target { return h.beyond.Target(into, h.Now) }

func (h *harness) ReadBeyond(d dataset.Path, snapshot, file string) ([]byte, error) {
	files, err := h.beyond.SnapshotFiles(into, d, snapshot)
	return pick(files, file, err)
}

func (h *harness) WriteAt(where, file string, data []byte) error {
	return h.received.Write(dataset.Path(where), file, data)
}

func (h *harness) ReadAt(where, file string) ([]byte, error) {
	files, err := h.received.Files(dataset.Path(where))
	return pick(files, file, err)
}

func pick(files map[string][]byte, file string, err error) ([]byte, error) {
	data, ok := files[file]
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", file, fs.ErrNotExist)
	}
	return data, err
}

func (h *harness) Fill(leave int64) { h.received.FillBut(leave) }
func (h *harness) Drain()           { h.received.Drain() }

func (h *harness) RemoveSent(d dataset.Path, s string)     { h.sent.RemoveSnapshot("", d, s) }
func (h *harness) RemoveReceived(d dataset.Path, s string) { h.received.RemoveSnapshot(into, d, s) }
func (h *harness) Vanish(d dataset.Path)                   { h.sent.Remove(d) }

func (h *harness) ForeignCopy(d dataset.Path, s string) {
	if err := h.received.ForeignCopy(into, d, s, "/backup/copy"); err != nil {
		h.t.Fatal(err)
	}
}

// Litter crashes the disk once the part was taken in, as far as can be told
// from outside: the reader hangs after it.
func (h *harness) Litter(in dataset.Incoming, part []byte) {
	r := &hanging{rest: bytes.NewReader(part), reached: make(chan struct{}), end: make(chan struct{})}
	done := make(chan error)
	go func() {
		_, err := h.target.Receive(h.t.Context(), in, r)
		done <- err
	}()
	<-r.reached
	h.received.Crash()
	close(r.end)
	if err := <-done; err == nil {
		h.t.Fatal("receive on a disk that crashed: got no error")
	}
}

func (h *harness) Resumes() bool { return h.resumable }

func (h *harness) Leftovers() (all []string) {
	for i := range h.received.Litter(into) {
		all = append(all, fmt.Sprint("unfinished receive ", i))
	}
	return all
}

func (h *harness) Outside() (all []string) {
	for _, p := range h.received.Datasets() {
		if !dataset.Path(into).Contains(p) {
			all = append(all, string(p))
		}
	}
	slices.Sort(all)
	return all
}

// hanging is a reader that hangs after the last byte until end is closed.
type hanging struct {
	rest         *bytes.Reader
	reached, end chan struct{}
}

func (r *hanging) Read(p []byte) (int, error) {
	if r.rest.Len() == 0 {
		close(r.reached)
		<-r.end
	}
	return r.rest.Read(p)
}

func TestContract(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness { return newHarness(t, false) }, drivertest.DestroysAll, drivertest.ComparesAll, drivertest.Resumes)
}

func TestContractResumable(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness { return newHarness(t, true) }, drivertest.DestroysAll, drivertest.ComparesAll)
}
