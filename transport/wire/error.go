package wire

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"antipode/fsdrivers/dataset"
)

// Kind is what went wrong, for the program on the other side to branch on.
type Kind string

// Kinds of the transport itself. Those of package dataset are in kinds.
const (
	KindInternal     Kind = "internal"       // anything the other side cannot branch on
	KindMalformed    Kind = "malformed"      // a message or a frame breaks a rule or a limit
	KindVersion      Kind = "version"        // the two sides speak different protocols
	KindUnauthorized Kind = "unauthorized"   // the key is not one of a peer
	KindUnknown      Kind = "unknown"        // no such transfer or endpoint, for this peer
	KindGone         Kind = "gone"           // the incarnation ended; ask for the commit
	KindSuperseded   Kind = "superseded"     // a newer incarnation took its place
	KindAborted      Kind = "aborted"        // somebody ended the transfer
	KindLinkWait     Kind = "link-wait"      // nothing was heard for wait_for_link
	KindMismatch     Kind = "mismatch"       // a chunk came twice with different content
	KindDigest       Kind = "digest"         // a chunk's payload is not what its digest says
	KindBeyondCredit Kind = "beyond-credit"  // a chunk that was not yet asked for
	KindTooLarge     Kind = "too-large"      // longer than it said, or than a limit
	KindTooMany      Kind = "too-many"       // the limit of concurrent transfers is reached
	KindPairing      Kind = "pairing-failed" // wrong, used or expired token
)

// Sentinels of the transport, for errors.Is on either side.
var (
	ErrMalformed    = errors.New("malformed message")
	ErrVersion      = errors.New("other protocol version")
	ErrUnauthorized = errors.New("key is not known")
	ErrUnknown      = errors.New("no such transfer")
	ErrGone         = errors.New("incarnation has ended")
	ErrSuperseded   = errors.New("superseded by a newer incarnation")
	ErrAborted      = errors.New("transfer was aborted")
	ErrLinkWait     = errors.New("link was down for too long")
	ErrMismatch     = errors.New("chunk came twice with different content")
	ErrDigest       = errors.New("chunk does not match its digest")
	ErrBeyondCredit = errors.New("chunk is beyond the credit")
	ErrTooLarge     = errors.New("too large")
	ErrTooMany      = errors.New("too many transfers")
	ErrPairing      = errors.New("pairing failed")
)

// kinds pairs what travels with what is branched on. It is never written to.
var kinds = [...]struct {
	kind   Kind
	err    error
	status int
}{
	{KindMalformed, ErrMalformed, http.StatusBadRequest},
	{KindVersion, ErrVersion, http.StatusUpgradeRequired},
	{KindUnauthorized, ErrUnauthorized, http.StatusForbidden},
	{KindUnknown, ErrUnknown, http.StatusNotFound},
	{KindGone, ErrGone, http.StatusGone},
	{KindSuperseded, ErrSuperseded, http.StatusGone},
	{KindAborted, ErrAborted, http.StatusGone},
	{KindLinkWait, ErrLinkWait, http.StatusGone},
	{KindMismatch, ErrMismatch, http.StatusConflict},
	{KindDigest, ErrDigest, http.StatusUnprocessableEntity},
	{KindBeyondCredit, ErrBeyondCredit, http.StatusRequestedRangeNotSatisfiable},
	{KindTooLarge, ErrTooLarge, http.StatusRequestEntityTooLarge},
	{KindTooMany, ErrTooMany, http.StatusTooManyRequests},
	{KindPairing, ErrPairing, http.StatusForbidden},
	{"not-found", dataset.ErrNotFound, http.StatusConflict},
	{"not-dataset", dataset.ErrNotDataset, http.StatusConflict},
	{"exists", dataset.ErrExists, http.StatusConflict},
	{"changed", dataset.ErrChanged, http.StatusConflict},
	{"held", dataset.ErrHeld, http.StatusConflict},
	{"base-missing", dataset.ErrBaseMissing, http.StatusConflict},
	{"diverged", dataset.ErrDiverged, http.StatusConflict},
	{"no-space", dataset.ErrNoSpace, http.StatusInsufficientStorage},
	{"refused", dataset.ErrRefused, http.StatusForbidden},
	{"stale-checkpoint", dataset.ErrStaleCheckpoint, http.StatusConflict},
	{"busy", dataset.ErrBusy, http.StatusConflict},
	{"stuck", dataset.ErrStuck, http.StatusConflict},
	{"tool-missing", dataset.ErrToolMissing, http.StatusConflict},
	{"cut", dataset.ErrCut, http.StatusConflict},
}

// Error is an answer that is not a success. It carries what the operator on the
// other side needs: what failed, on which object, and the next step. Unwrap
// leads to the sentinel of its kind, so that errors.Is(err, dataset.ErrNoSpace)
// holds on the far side of the wire too.
type Error struct {
	Kind   Kind   `json:"kind"`
	Object string `json:"object,omitempty"`
	Text   string `json:"text"`
	Next   string `json:"next,omitempty"`
	Free   int64  `json:"free,omitempty"` // of a "no-space": bytes
	Need   int64  `json:"need,omitempty"` // of a "no-space": bytes
}

// Errorf makes an error of a kind of the transport.
func Errorf(k Kind, format string, args ...any) *Error {
	e := &Error{Kind: k, Text: fmt.Sprintf(format, args...)}
	e.clean()
	return e
}

// FromError makes the message for an error: itself if it is one already, else
// the kind of the sentinel that it wraps, or KindInternal. nil gives nil.
func FromError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.in(err)
	}
	e := &Error{Kind: KindInternal, Text: err.Error()}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			e.Kind = k.kind
			break
		}
	}
	if s, ok := errors.AsType[*dataset.SpaceError](err); ok {
		e.Object, e.Free, e.Need = s.Where, s.Free, s.Need
	}
	e.clean()
	return e
}

// in keeps what was wrapped around e, which says what was being done.
func (e *Error) in(err error) *Error {
	whole, own := err.Error(), e.Error()
	if whole == own {
		return e
	}
	c := *e
	c.Text, c.Object, c.Next = whole, "", ""
	if e.Kind == "no-space" {
		c.Object = e.Object
	}
	c.clean()
	return &c
}

// Error returns the sentence with its object and the next step.
func (e *Error) Error() string {
	s := e.Text
	if e.Object != "" && !strings.Contains(s, e.Object) {
		s = e.Object + ": " + s
	}
	if e.Next != "" {
		s += " (" + e.Next + ")"
	}
	return s
}

// Unwrap returns the sentinel of the kind, with its evidence where there is
// some; nil for KindInternal and for a kind that this release does not know.
func (e *Error) Unwrap() error {
	if e.Kind == "no-space" && (e.Free > 0 || e.Need > 0) {
		return &dataset.SpaceError{Where: e.Object, Free: e.Free, Need: e.Need}
	}
	for _, k := range kinds {
		if k.kind == e.Kind {
			return k.err
		}
	}
	return nil
}

// Status is the HTTP status that goes with the kind.
func (e *Error) Status() int {
	for _, k := range kinds {
		if k.kind == e.Kind {
			return k.status
		}
	}
	return http.StatusInternalServerError
}

// clean bounds the texts and takes out what could write on a terminal; they
// come from a peer or from a child's output.
func (e *Error) clean() {
	e.Kind = Kind(printable(string(e.Kind), MaxKindBytes))
	e.Object = printable(e.Object, dataset.MaxPathBytes)
	e.Text = printable(e.Text, MaxTextBytes)
	e.Next = printable(e.Next, MaxTextBytes)
}

// printable replaces control characters and cuts at a rune's edge.
func printable(s string, limit int) string {
	if strings.ContainsFunc(s, isUnprintable) || !utf8.ValidString(s) {
		s = strings.Map(func(r rune) rune {
			if isUnprintable(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(s, "?"))
	}
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// isUnprintable holds for control and for format characters: the latter can
// turn a line around (bidirectional overrides).
func isUnprintable(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// Validate checks an error that came from a peer, and cleans its texts.
func (e *Error) Validate() error {
	if e == nil || e.Kind == "" {
		return malformed("error", "it has no kind")
	}
	e.clean()
	return nil
}
