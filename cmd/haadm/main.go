// Command haadm is the operator's command: it shows what the cluster knows and
// asks it for changes. It talks to the agent of this host over its unix socket
// and decides nothing itself. Without an agent it checks configuration files, makes
// and reads heartbeat volumes, and has fence agents describe themselves.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is stamped by the build.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
	stop()
	os.Exit(code)
}
