package config

import (
	"strconv"
	"strings"

	"github.com/agext/levenshtein"
)

// nearest is the known name that was most likely meant by name, or "". At most
// a third of the letters may differ (one of three, two of six), so that a
// suggestion is never a guess out of the blue.
func nearest(name string, known []string) string {
	best, bestDistance := "", 1+max(1, min(3, len(name)/3))
	folded := strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	for _, k := range known {
		other := strings.ToLower(strings.ReplaceAll(k, "-", "_"))
		d := levenshtein.Distance(folded, other, nil)
		if swapped(folded, other) {
			d = 1
		}
		if d < bestDistance && k != name {
			best, bestDistance = k, d
		}
	}
	if best != "" {
		return best
	}
	// A name cut short or written out ("interval" for heartbeat_interval) is near too.
	for _, k := range known {
		if len(folded) >= 3 && strings.HasPrefix(k, folded) ||
			len(folded) >= 4 && strings.Contains(k, folded) || len(k) >= 4 && strings.Contains(folded, k) {
			return k
		}
	}
	return ""
}

// swapped reports whether a is b with two neighbouring letters exchanged.
func swapped(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i+1 < len(a); i++ {
		if a[i] != b[i] {
			return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
		}
	}
	return false
}

// didYouMean is the sentence that follows a wrong word, or nothing.
func didYouMean(name string, known []string) string {
	if s := nearest(clip(name), known); s != "" {
		return " (did you mean " + quote(s) + "?)"
	}
	return ""
}

// either lists words as a choice: "a", "b" or "c".
func either(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// quote shows somebody else's text in an error: in quotes, without control
// characters, not at full length.
func quote(s string) string { return strconv.Quote(clip(s)) }

// clip shortens text to what fits in a sentence.
func clip(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	cut := []rune(s[:most])
	if n := len(cut); n > 0 {
		cut = cut[:n-1] // the last one may be half a character
	}
	return string(cut) + "…"
}
