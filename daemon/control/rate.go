package control

import (
	"time"

	"antipode/daemon/status"
)

// Rate is the verb RateRequest -> RateResponse.
const Rate Verb = "rate"

// RateRequest shows the rate limits, or sets or clears one.
type RateRequest struct {
	Job string `json:"job,omitempty"` // "" is the host, and when nothing is changed all
	// Rate to set, in bytes per second; 0 is no limit, nil leaves it.
	Rate  *int64    `json:"rate,omitempty"`
	Until time.Time `json:"until,omitzero"` // when Rate ends; zero: when it is cleared
	Clear bool      `json:"clear,omitempty"`
}

// RateResponse is what holds now.
type RateResponse struct {
	Budgets []RateBudget `json:"budgets"`
}

// RateBudget is the budget of a job, or of the host when Job is "".
type RateBudget struct {
	Job string `json:"job,omitempty"`
	status.Limit
	ByFile int64 `json:"by_file"` // what the configuration says for now; 0 is no limit
}
