package drivertest

import (
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func freeCases() map[string]func(*side) {
	return map[string]func(*side){"what destroying snapshots frees is told": frees}
}

func frees(s *side) {
	can, both := s.driver().(fsdrivers.Freer)
	if !both {
		s.Fatal("the driver cannot tell what goes, and the other side's can")
	}
	const size = 256 << 10
	s.must(s.Write(s.d.Path, "big", noise(7, size)), "write")
	big := s.snap(s.d)
	s.transfer(step(s.d, s.b, big))
	s.must(s.Write(s.d.Path, "big", noise(8, size)), "write over it")
	last := s.snap(s.d)
	s.transfer(step(s.d, big, last))
	gone := s.a
	gone.Name += "-gone"
	told := func(list ...dataset.Snapshot) int64 {
		s.Helper()
		bytes, err := can.Frees(s.Context(), s.d.Path, list)
		s.must(err, "ask what goes")
		return bytes
	}
	if with, without := told(s.a, big), told(s.a, gone); with < size || without >= size {
		s.Errorf("got %d bytes with the snapshot that alone holds %d, and %d without", with, size, without)
	}
	if none := told(); none != 0 {
		s.Errorf("nothing frees %d bytes", none)
	}
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.a, s.b, big, last})
}
