package placement

import "fmt"

const (
	mebi = int64(1) << 20
	gibi = int64(1) << 30
	// manyGibi is from where tenths of a GiB say nothing to people.
	manyGibi = 100 * gibi
)

// Size writes bytes as people read them, in tables and in reasons alike: whole MiB below a GiB,
// then GiB with a tenth, without one where there is none and from 100 GiB on. Less than none is none.
func Size(n int64) string {
	n = max(n, 0)
	switch {
	case n > 0 && n < mebi:
		return fmt.Sprintf("%d bytes", n)
	case n < gibi:
		return exactSize(n)
	case n%gibi == 0 || n >= manyGibi:
		return fmt.Sprintf("%d GiB", n/gibi+n%gibi/(gibi/2))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/float64(gibi))
}

// SizeAtMost is Size for a bound: what it writes is no more than n.
func SizeAtMost(n int64) string {
	tenths := max(n, 0) / mebi * 10 / (gibi / mebi)
	switch {
	case n < gibi || n%gibi == 0:
		return Size(n)
	case n >= manyGibi:
		return fmt.Sprintf("%d GiB", n/gibi)
	}
	return fmt.Sprintf("%d.%d GiB", tenths/10, tenths%10)
}

// exactSize has every MiB: for a value that is to be typed into a policy, and for two that Size
// would write alike.
func exactSize(n int64) string { return fmt.Sprintf("%d MiB", max(n, 0)/mebi) }

// Sizes writes two figures that people compare, so that they see which is more.
func Sizes(a, b int64) (string, string) {
	a, b = max(a, 0), max(b, 0)
	step := gibi / 10
	if max(a, b) >= manyGibi {
		step = gibi
	}
	apart := max(a-b, b-a)
	switch {
	case max(a, b) < gibi || apart == 0 || apart >= 2*step:
		return Size(a), Size(b)
	case a/mebi == b/mebi:
		return fmt.Sprintf("%d bytes", a), fmt.Sprintf("%d bytes", b)
	}
	return exactSize(a), exactSize(b)
}
