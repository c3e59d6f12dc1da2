package control

import (
	"context"
	"errors"
	"net/http"

	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// Kind is what went wrong, for the program that asked to branch on.
type Kind string

// The kinds.
const (
	KindUsage    Kind = "usage"     // the request makes no sense; asking again will not help
	KindNotFound Kind = "not-found" // no such job, dataset, peer, snapshot
	KindRefused  Kind = "refused"   // possible, and not done: a policy or the state stands in the way
	KindConflict Kind = "conflict"  // both sides contradict each other
	KindBusy     Kind = "busy"      // later
	KindTimeout  Kind = "timeout"   // not done in time
	KindDenied   Kind = "denied"    // the caller may not use this socket
	KindDown     Kind = "down"      // no daemon answers
	KindInternal Kind = "internal"  // everything else
)

// Error is an answer that is not a success: what failed, and the next step.
type Error struct {
	Kind   Kind   `json:"kind"`
	Object string `json:"object,omitempty"`
	Text   string `json:"text"`
	Next   string `json:"next,omitempty"`
}

// Error returns the sentence with its object and the next step.
func (e *Error) Error() string {
	s := e.Text
	if e.Object != "" {
		s = e.Object + ": " + s
	}
	if e.Next != "" {
		s += "; next: " + e.Next
	}
	return s
}

// ErrorOf makes an answer of any error: one that is or wraps an *Error keeps its
// kind and next step, the others get a kind by what they wrap.
func ErrorOf(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	out := &Error{Kind: KindInternal, Text: err.Error()}
	if n, ok := errors.AsType[interface {
		error
		Next() string
	}](err); ok {
		out.Kind, out.Next = KindConflict, n.Next()
		out.Text = status.WithoutNext(out.Text, out.Next)
	}
	for _, k := range kindOf {
		if errors.Is(err, k.err) {
			out.Kind = k.kind
			break
		}
	}
	return out
}

var kindOf = [...]struct {
	err  error
	kind Kind
}{
	{context.DeadlineExceeded, KindTimeout},
	{dataset.ErrNotFound, KindNotFound},
	{dataset.ErrBusy, KindBusy},
	{dataset.ErrRefused, KindRefused},
	{dataset.ErrDiverged, KindConflict},
}

// httpStatus is for those who look at the socket with curl.
func (e *Error) httpStatus() int {
	switch e.Kind {
	case KindUsage:
		return http.StatusBadRequest
	case KindNotFound:
		return http.StatusNotFound
	case KindRefused, KindConflict:
		return http.StatusConflict
	case KindBusy:
		return http.StatusServiceUnavailable
	case KindTimeout:
		return http.StatusGatewayTimeout
	case KindDenied:
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}
