package lab

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// TestVolumes proves that the lab's shared storage hangs and fails when it is told
// to, where it is told to, and comes back.
func TestVolumes(t *testing.T) {
	l := newLab(t, Config{Hosts: 2, Volumes: 2})
	h1, h2 := l.Host("h1"), l.Host("h2")
	v1, v2 := l.Volumes()[0], l.Volumes()[1]
	dd := func(ctx context.Context, h *Host, args ...string) error {
		_, err := h.Exec(ctx, append([]string{"dd", "bs=4096", "count=1", "status=none"}, args...)...)
		return err
	}
	write := func(ctx context.Context, h *Host, v *Volume) error {
		return dd(ctx, h, "if=/dev/urandom", "of="+v.Path, "oflag=direct,dsync", "conv=notrunc")
	}
	read := func(ctx context.Context, h *Host, v *Volume) error {
		return dd(ctx, h, "if="+v.Path, "of=/dev/null", "iflag=direct")
	}
	type io struct {
		name string
		do   func(context.Context, *Host, *Volume) error
	}
	both := []io{{"write", write}, {"read", read}}
	works := func(what string, h *Host, v *Volume) {
		t.Helper()
		for _, x := range both {
			if err := x.do(within(t, 5*time.Second), h, v); err != nil {
				t.Errorf("%s: %s on %s of %s: %v", what, x.name, v.Name, h.Name(), err)
			}
		}
	}
	// hangs begins an I/O, sees that it is in uninterruptible sleep, and returns what waits for its end.
	hangs := func(what string, h *Host, v *Volume, do func(context.Context, *Host, *Volume) error) (end func()) {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- do(within(t, settle), h, v) }()
		ended := false
		if err := h.waitStuck(within(t, 5*time.Second), "dd", func() bool {
			select {
			case err := <-done:
				done <- err
				ended = true
			default:
			}
			return ended
		}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return func() {
			t.Helper()
			if err := <-done; err != nil {
				t.Errorf("%s: what hung ended with %v", what, err)
			}
		}
	}

	works("as made", h1, v1)
	works("as made", h1, v2)
	seen := map[string]bool{}
	for _, h := range l.Hosts() {
		sum, err := h.Exec(within(t, 5*time.Second), "md5sum", v1.Path)
		must(t, err)
		seen[sum] = true
	}
	if len(seen) != 1 {
		t.Errorf("the hosts see different files: %v", seen)
	}

	must(t, v1.Freeze(t.Context()))
	end := hangs("frozen", h2, v1, write)
	works("another is frozen", h2, v2)
	must(t, v1.Thaw(t.Context()))
	end()
	works("thawed", h2, v1)

	canHang := canThrottle()
	if !canHang {
		t.Logf("not tested: storage that hangs for one host: %v", errNoThrottle)
	}
	for _, v := range l.Volumes() {
		for _, x := range both {
			if !canHang {
				continue
			}
			must(t, h1.SetHang(t.Context(), true))
			endIt := hangs("storage of h1 hangs: "+x.name, h1, v, x.do)
			works("storage of h1 hangs", h2, v)
			must(t, h1.SetHang(t.Context(), false))
			endIt()
		}
	}
	if canHang {
		must(t, h1.SetHang(t.Context(), true))
		hangs("storage of h1 hangs as it loses power", h1, v1, write)
		if err := v1.Freeze(t.Context()); err == nil {
			t.Error("a volume was frozen while a host has a write on it that hangs")
		}
	}
	_, err := h1.PowerOff(within(t, settle))
	must(t, err)
	must(t, h1.PowerOn(within(t, settle)))
	works("power lost while it hung", h1, v1)

	must(t, v2.Fail(t.Context()))
	for _, h := range l.Hosts() {
		for _, x := range both {
			if err := x.do(within(t, 5*time.Second), h, v2); err == nil || !strings.Contains(err.Error(), "Input/output error") {
				t.Errorf("%s on a volume that has failed: %v", x.name, err)
			}
		}
		works("another has failed", h, v1)
	}
	must(t, v2.Mend(within(t, settle)))
	works("mended", h1, v2)
	works("mended", h2, v2)

	if os.Getenv("HOLDFAST_LAB_KEEP") == "1" {
		return
	}
	dir, parts := l.Dir(), partsOf(l.Dir())
	must(t, v1.Freeze(t.Context())) // nobody thaws it but Close
	hangs("frozen for ever", h1, v1, write)
	if canHang {
		must(t, h2.SetHang(t.Context(), true))
		hangs("hangs for ever", h2, v2, read)
	}
	must(t, l.Close())
	nothingLeft(t, dir, parts)
}
