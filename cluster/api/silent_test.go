package api

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// An agent that is stopped takes connections, as the kernel does that for it, and never answers:
// who asks is told, and does not wait for ever.
func TestAQuestionEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := NewClient(socket)
	defer c.Close()
	c.patience = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var silent *SilentError
	if _, err := c.Status(ctx); !errors.As(err, &silent) || silent.Where != socket || silent.After != c.patience {
		t.Errorf("asked, and got %v", err)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	if _, err := c.Status(gone); errors.As(err, &silent) || !errors.Is(err, context.Canceled) {
		t.Errorf("given up by who asks: %v", err)
	}
}
