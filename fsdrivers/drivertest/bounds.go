package drivertest

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"antipode/fsdrivers/dataset"
)

func boundsCases() []testCase {
	return append(onBothSides(map[string]func(*side){
		"space is told in bytes":                      space,
		"nothing is wrong with a healthy file system": probe,
	}),
		testCase{"a snapshot that is being sent is not destroyed", destroySending},
	)
}

func fullCases() []testCase {
	return []testCase{
		{"a full file system is named, and the receive works once there is room", func(w *world) { full(w, 0) }},
		{"a file system may fill up in the middle of a receive", func(w *world) { full(w, big) }},
	}
}

func outsideCases() []testCase {
	return []testCase{
		{"no path reaches outside of the target", isolation},
		{"no snapshot name reaches outside of the target", nameIsolation},
		{"no name to set aside under reaches outside of the target", asideIsolation},
	}
}

func space(s *side) {
	u, err := s.driver().Space(s.Context(), s.d.Path)
	s.must(err, "space")
	if u.Where == "" || u.Free <= 0 || u.Size <= 0 || u.Free > u.Size {
		s.Errorf("got %+v, want a place with some room", u)
	}
}

func probe(s *side) {
	for _, f := range s.driver().Probe(s.Context()) {
		if f.Fatal {
			s.Errorf("got %+v", f)
		}
		if f.What == "" || f.Cure == "" {
			s.Errorf("a finding without what or cure: %+v", f)
		}
	}
}

// full receives four times as much as there is room for, at the least.
func full(w *world, leave int64) {
	f := ability[Filler](w)
	d, s1 := w.sent("db", "base")
	w.must(w.Write(d.Path, "big", noise(12, 4*big)), "write")
	st := step(d, s1, w.snap(d))
	f.Fill(leave)
	_, err := w.receive(st, w.stream(st))
	w.want(err, "receive", dataset.ErrNoSpace)
	var evidence *dataset.SpaceError
	if !errors.As(err, &evidence) || evidence.Where == "" {
		w.Errorf("got error %v, want one that names the file system", err)
	}
	w.wantPublished(d, s1)
	if leave > 0 { // without a single byte even removing may have to wait
		w.wantClean(d)
	}
	f.Drain()
	w.must(w.Target().Sweep(w.Context()), "sweep")
	w.wantClean(d)
	w.must(w.Target().Abort(w.Context(), d.Path), "abort")
	w.transfer(st)
	w.wantPublished(d, s1, st.To)
	w.wantContent(d, st.To, "big", string(noise(12, 4*big)))
}

// hostilePaths cannot be made by ParsePath; a driver must not rely on that.
func hostilePaths() []dataset.Path {
	return []dataset.Path{
		"", ".", "..", "../outside", "/..", "/../outside", "/../../outside", "/a/../../../outside",
		"a/../../outside", "/./x", "//x", "/x/", "/.antipode", "/.antipode/x", "/x/.antipode/y",
		"/x\x00y", "/x\ny", dataset.Path("/" + strings.Repeat("n", 300)), "/\xff",
	}
}

// unchanged fails if do changes anything outside of the target.
func unchanged(w *world, do func()) {
	w.Helper()
	g := ability[Guard](w)
	before := g.Outside()
	do()
	if after := g.Outside(); !slices.Equal(before, after) {
		w.Errorf("outside of the target: got %q, want %q", after, before)
	}
}

func isolation(w *world) {
	d, s := w.sent("db", "x")
	st := step(d, dataset.Snapshot{}, s)
	whole := w.stream(st)
	unchanged(w, func() {
		for _, path := range hostilePaths() {
			in := incoming(st)
			in.Step.Dataset.Path = path
			if _, err := w.Target().Receive(w.Context(), in, bytes.NewReader(whole)); err == nil {
				w.Errorf("receive into %q: got no error", path)
			}
			if _, err := w.Target().Activate(w.Context(), path, s, "aside"); err == nil {
				w.Errorf("activate %q: got no error", path)
			}
			if err := w.Target().SwapMark(w.Context(), path, dataset.Mark{}, markOf(1, "x")); err == nil {
				w.Errorf("mark %q: got no error", path)
			}
			if err := w.Target().Hold(w.Context(), path, s, tag); err == nil {
				w.Errorf("hold on %q: got no error", path)
			}
			if list, _ := w.Target().Snapshots(w.Context(), path); len(list) != 0 {
				w.Errorf("list %q: got %v", path, list)
			}
			// These may say that nothing is there.
			_ = w.Target().Destroy(w.Context(), path, s)
			_ = w.Target().Release(w.Context(), path, tag)
			_ = w.Target().Abort(w.Context(), path)
			_, _ = w.Target().Pending(w.Context(), path)
			_, _ = w.Target().Space(w.Context(), path)
		}
	})
	w.wantPublished(d, s)
	found, err := w.Target().Find(w.Context(), "/", true)
	w.must(err, "find replicas")
	wantPaths(w, found, d)
}

// hostileNames are no snapshot's.
func hostileNames() []string {
	return []string{
		"", ".", "..", "../x", "../../outside", "a/b", "/outside", ".hidden", "x\x00y", "x\ny", "x@y", "x#y",
		dataset.Dir, strings.Repeat("n", 201), "\xff",
	}
}

func nameIsolation(w *world) {
	d, s := w.sent("db", "x")
	other := w.dataset("other", "y")
	st := step(other, dataset.Snapshot{}, w.snap(other))
	whole := w.stream(st)
	unchanged(w, func() {
		for _, name := range hostileNames() {
			in := incoming(st)
			in.Step.To.Name = name
			if _, err := w.Target().Receive(w.Context(), in, bytes.NewReader(whole)); err == nil {
				w.Errorf("receive a snapshot named %q: got no error", name)
			}
			bad := s
			bad.Name = name
			if err := w.Target().Hold(w.Context(), d.Path, bad, tag); err == nil {
				w.Errorf("hold %q: got no error", name)
			}
			_ = w.Target().Destroy(w.Context(), d.Path, bad) // may say that it is gone
		}
	})
	w.wantPublished(d, s)
	w.wantPublished(other)
}

func asideIsolation(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	a := w.activate(d, s1, "aside-1")
	unchanged(w, func() {
		for _, name := range []string{"", ".", "..", "../x", "../../../outside", "a/b", "/outside", "x\x00y"} {
			if _, err := w.Target().Activate(w.Context(), d.Path, s2, name); err == nil {
				w.Errorf("set aside as %q: got no error", name)
			}
		}
	})
	w.wantAt(a.Live, "a", "one")
}
