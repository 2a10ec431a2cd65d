package page

import (
	"fmt"
	"strconv"
	"time"
)

// Bytes is a size for people, in binary units.
func Bytes(n int64) string {
	value := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if value < 1024 {
			return number(value, unit) + " " + unit
		}
		value /= 1024
	}
	return number(value, "GiB") + " GiB"
}

func number(value float64, unit string) string {
	if unit == "B" || value >= 100 {
		return strconv.FormatFloat(value, 'f', 0, 64)
	}
	return strconv.FormatFloat(value, 'f', 1, 64)
}

// Duration is a time span for people, in its two largest units.
func Duration(d time.Duration) string {
	switch s := int(d.Round(time.Second) / time.Second); {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", max(d.Seconds(), 0))
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
}

// age says how long ago something was, in one unit; nothing where one of both times is not known.
func age(now, then time.Time) string {
	if now.IsZero() || then.IsZero() {
		return ""
	}
	const day = 24 * time.Hour
	switch d := now.Sub(then); {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d days ago", d/day)
	}
}

// percent has a decimal where it is small.
func percent(p float64) string {
	if p < 10 {
		return strconv.FormatFloat(p, 'f', 1, 64)
	}
	return strconv.FormatFloat(p, 'f', 0, 64)
}

// change is a size with how it differs from the one before.
func change(was, is int64) string {
	if is >= was {
		return "+" + Bytes(is-was)
	}
	return "−" + Bytes(was-is)
}
