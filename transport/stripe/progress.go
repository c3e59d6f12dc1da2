package stripe

import "antipode/transport/wire"

// Progress is the state of the receiver as the sender should know it, without
// the last word, and a channel that closes when it has changed.
func (r *Receiver) Progress() (wire.Progress, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return wire.Progress{Next: r.next, Have: r.have(), Credit: r.credit(), Notice: r.notice}, r.signal.wait()
}

// have is what lies above the watermark, the lowest ranges first. What does not
// fit is acknowledged later.
func (r *Receiver) have() []wire.Range {
	var ranges []wire.Range
	for n := r.next + 1; n < r.highest; n++ {
		if !r.has(n) {
			continue
		}
		if ranges = extend(ranges, n); len(ranges) > wire.MaxRanges {
			return ranges[:wire.MaxRanges]
		}
	}
	if r.end != nil && r.end.Number > r.next {
		ranges = extend(ranges, r.end.Number)
	}
	return ranges[:min(len(ranges), wire.MaxRanges)]
}

// extend appends a number above all that there are.
func extend(ranges []wire.Range, n uint64) []wire.Range {
	if k := len(ranges); k > 0 && ranges[k-1][1] == n {
		ranges[k-1][1]++
		return ranges
	}
	return append(ranges, wire.Range{n, n + 1})
}

// Notice shows why nothing is taken at the moment; nil takes it back.
func (r *Receiver) Notice(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notice = wire.FromError(why)
	r.signal.fire()
}

// Received is how many bytes were taken in; notice is "" if nothing is wrong.
func (r *Receiver) Received() (bytes int64, notice string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.notice != nil {
		notice = r.notice.Error()
	}
	return r.received, notice
}

// IsComplete reports whether the whole stream, with its end, has come in: no
// link is needed any more.
func (r *Receiver) IsComplete() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end != nil && r.next > r.end.Number
}

// Held is how many chunks are in the reorder buffer.
func (r *Receiver) Held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.slots)
}
