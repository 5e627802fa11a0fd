// Connections of the simulation need no secrecy from computers to come, whose price
// is a quarter of each handshake's.

//go:debug tlsmlkem=0
package sim

import (
	"os"
	"runtime/debug"
	"testing"
)

// TestMain lets garbage wait: a world is small, and gone as a whole when it ends.
func TestMain(m *testing.M) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	os.Exit(m.Run())
}
