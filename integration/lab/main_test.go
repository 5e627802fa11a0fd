package lab

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestMain(m *testing.M) {
	Enter()
	os.Exit(m.Run())
}

// needLab skips a test unless a person or make lab asked for the lab: it takes
// minutes, and root.
func needLab(t *testing.T) {
	t.Helper()
	if os.Getenv("HOLDFAST_LAB") != "1" {
		t.Skip("the lab takes minutes and root: set HOLDFAST_LAB=1 to run it (make lab does)")
	}
}

// short reports whether only what can fail is to be run, and nothing longer than it needs: CI sets
// HOLDFAST_LAB_SHORT=1. Measurements are left out then, and what must go unnoticed lasts half as long or less.
func short() bool { return os.Getenv("HOLDFAST_LAB_SHORT") == "1" }

// newLab builds a lab that is closed when the test ends. HOLDFAST_LAB_KEEP=1 keeps its files.
func newLab(t *testing.T, cfg Config) *Lab {
	t.Helper()
	needLab(t)
	if cfg.Log == nil {
		cfg.Log = hclog.New(&hclog.LoggerOptions{Name: "lab", Level: hclog.Info, Output: testWriter{t}, TimeFormat: "15:04:05.000"})
	}
	cfg.Keep = os.Getenv("HOLDFAST_LAB_KEEP") == "1"
	begin := time.Now()
	l, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	t.Logf("lab of %d hosts is up after %v in %s", len(l.Hosts()), time.Since(begin).Round(time.Millisecond), l.Dir())
	return l
}

// testWriter sends a logger's lines to the test's log.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(line []byte) (int, error) {
	_, err := fmt.Fprintf(w.t.Output(), "%s", line)
	return len(line), err
}

// within is a context for one step of a test, also in a cleanup.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), d)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
