package wire

// Kind is what went wrong, for the program on the other side to branch on.
type Kind string

// Error is an answer that is not a success. It carries what the operator on the
// other side needs: what failed, on which object, and the next step.
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
		s += " (" + e.Next + ")"
	}
	return s
}
