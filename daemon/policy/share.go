package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Defaults of what bounds retention.
const (
	DefaultBacklog = 100
	DefaultBrake   = 50 // per cent
	DefaultMinFree = 5  // per cent
)

// ParseShare reads a share of something in per cent, above 0 and up to 100, such as
// "50%"; "off" is 0.
func ParseShare(s string) (float64, error) {
	if s == "off" {
		return 0, nil
	}
	digits, isPercent := strings.CutSuffix(s, "%")
	share, err := strconv.ParseFloat(digits, 64)
	if !isPercent || err != nil || math.IsNaN(share) || share <= 0 || share > 100 {
		return 0, fmt.Errorf(`%q is not a share; want "0.1%%" to "100%%", or "off"`, s)
	}
	return share, nil
}
