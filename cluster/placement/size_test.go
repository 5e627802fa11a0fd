package placement

import "testing"

func TestSize(t *testing.T) {
	const mib, gib = int64(1) << 20, int64(1) << 30
	for _, tt := range []struct {
		n    int64
		want string
	}{
		{-1, "0 MiB"}, {0, "0 MiB"}, {1000, "1000 bytes"}, {mib, "1 MiB"}, {gib - 1, "1023 MiB"}, {gib, "1 GiB"}, {gib + mib, "1.0 GiB"},
		{20*gib + 64*mib, "20.1 GiB"}, {60 * gib, "60 GiB"}, {100*gib - 1, "100.0 GiB"}, {249*gib + gib/2, "250 GiB"}, {249*gib + gib/2 - 1, "249 GiB"}, {1 << 62, "4294967296 GiB"},
	} {
		if got := Size(tt.n); got != tt.want {
			t.Errorf("%d bytes are written as %q, want %q", tt.n, got, tt.want)
		}
	}
}

func TestSizeAtMost(t *testing.T) {
	const mib, gib = int64(1) << 20, int64(1) << 30
	for _, tt := range []struct {
		n    int64
		want string
	}{
		{-1, "0 MiB"}, {gib - 1, "1023 MiB"}, {gib, "1 GiB"}, {20288 * mib, "19.8 GiB"}, {20*gib - 1, "19.9 GiB"}, {100*gib - 1, "99.9 GiB"}, {250*gib - 1, "249 GiB"}, {250 * gib, "250 GiB"},
	} {
		if got := SizeAtMost(tt.n); got != tt.want {
			t.Errorf("at most %d bytes are written as %q, want %q", tt.n, got, tt.want)
		}
	}
}

// Two figures of which one is the reason must not be written alike.
func TestSizes(t *testing.T) {
	const mib, gib = int64(1) << 20, int64(1) << 30
	for _, tt := range []struct {
		name         string
		a, b         int64
		first, other string
	}{
		{"far apart", 10 * gib, 32*gib + 64*mib, "10 GiB", "32.1 GiB"},
		{"alike", 8 * gib, 8 * gib, "8 GiB", "8 GiB"},
		{"they differ by what QEMU takes", 8 * gib, 8*gib + 64*mib, "8192 MiB", "8256 MiB"},
		{"large ones that do", 200 * gib, 200*gib + 512*mib, "204800 MiB", "205312 MiB"},
		{"by less than a MiB", 8 * gib, 8*gib + 1, "8589934592 bytes", "8589934593 bytes"},
		{"less than a GiB", 512 * mib, 513 * mib, "512 MiB", "513 MiB"},
		{"none is left", -5 * gib, gib + 64*mib, "0 MiB", "1.1 GiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a, b := Sizes(tt.a, tt.b); a != tt.first || b != tt.other {
				t.Errorf("written as %q and %q, want %q and %q", a, b, tt.first, tt.other)
			}
		})
	}
}
