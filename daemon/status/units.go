package status

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Duration writes d short, to two units: "0s", "850ms", "38s", "12m", "2h10m",
// "3d4h". Whole days replace hours beyond 48 h.
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-d)
	}
	const day = 24 * time.Hour
	switch {
	case d == 0:
		return "0s"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return two(d, time.Second, "s", 0, "")
	case d < 10*time.Minute:
		return two(d, time.Minute, "m", time.Second, "s")
	case d < time.Hour:
		return two(d, time.Minute, "m", 0, "")
	case d < 48*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "m")
	}
	return two(d, day, "d", time.Hour, "h")
}

func two(d, unit time.Duration, name string, rest time.Duration, restName string) string {
	s := fmt.Sprintf("%d%s", d/unit, name)
	if rest > 0 && d%unit >= rest {
		s += fmt.Sprintf("%d%s", d%unit/rest, restName)
	}
	return s
}

// Bytes writes a size in binary units with three significant digits: "812 B",
// "1.00 MiB", "34.2 GiB".
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	return scaled(float64(n), 1024, "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
}

// ofBytes writes a part of a size, with one unit if it is the same: "3.1 of 9.8 TiB".
func ofBytes(done, of int64) string {
	part, whole := Bytes(done), Bytes(of)
	if number, found := strings.CutSuffix(part, whole[strings.IndexByte(whole, ' '):]); found {
		part = number
	}
	return part + " of " + whole
}

// Rate writes bytes per second as both kinds of people read it: files in bytes,
// lines in bits.
func Rate(bytesPerSecond int64) string {
	return fmt.Sprintf("%s/s, %s", Bytes(bytesPerSecond), bits(bytesPerSecond))
}

func bits(bytesPerSecond int64) string {
	n := float64(bytesPerSecond) * 8
	if n < 1000 {
		return fmt.Sprintf("%.0f bit/s", n)
	}
	return scaled(n, 1000, "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")
}

func scaled(v, base float64, units ...string) string {
	unit := ""
	for _, unit = range units {
		if v /= base; v < 999.5 {
			break
		}
	}
	digits := 2
	if v >= 9.995 {
		digits = 1
	}
	if v >= 99.95 {
		digits = 0
	}
	return fmt.Sprintf("%.*f %s", digits, v, unit)
}

// percent returns done of all in 0..100; ok is false when all is unknown. An
// estimate that was too low is not 100 % before the end.
func percent(done, all int64) (p int, ok bool) {
	if all <= 0 {
		return 0, false
	}
	return int(min(99, float64(done)/float64(all)*100)), true
}

// seedingText says how far a first copy is: never a lag.
func seedingText(s *Seeding, m *Moving) string {
	if s == nil && m != nil {
		s = &Seeding{Done: m.Bytes, Estimate: m.Estimate, ETA: m.ETA}
	}
	if s == nil {
		return "none yet"
	}
	parts := []string{"none yet"}
	if p, ok := percent(s.Done, s.Estimate); ok {
		parts = append(parts, fmt.Sprintf("%d %%", p))
	} else if s.Done > 0 {
		parts = append(parts, Bytes(s.Done))
	}
	if s.ETA > 0 {
		parts = append(parts, "ETA "+Duration(s.ETA))
	}
	return strings.Join(parts, ", ")
}

// Printable replaces control characters: names and errors come from disks and
// peers, and must not steer a terminal.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, s)
}
