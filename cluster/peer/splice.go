package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrIdle ends a tunnel over which nothing has passed for too long.
var ErrIdle = errors.New("nothing has passed over the tunnel for too long")

// spliceBuffer is how much of each direction is on the way at most.
const spliceBuffer = 128 << 10

// Splice carries bytes both ways between two connections until one of them ends or
// breaks, nothing has passed for as long as idle, or ctx ends. Then it closes both,
// and returns when nothing of it runs any more. nil: one of them ended.
func Splice(ctx context.Context, a, b net.Conn, idle time.Duration) error {
	var passed atomic.Int64
	ended := make(chan error, 2)
	var copies sync.WaitGroup
	carry := func(to, from net.Conn) {
		copies.Go(func() {
			// Neither end's own ways of copying: they would not be counted.
			_, err := io.CopyBuffer(struct{ io.Writer }{to}, counted{from, &passed}, make([]byte, spliceBuffer))
			ended <- err
		})
	}
	carry(a, b)
	carry(b, a)
	tick := time.NewTicker(max(idle/4, time.Millisecond))
	defer tick.Stop()
	var err error
	for last, still := int64(0), 0; ; {
		select {
		case err = <-ended:
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-tick.C:
			if now := passed.Load(); now != last {
				last, still = now, 0
				continue
			}
			if still++; still < 4 {
				continue
			}
			err = ErrIdle
		}
		break
	}
	_ = a.Close()
	_ = b.Close()
	copies.Wait()
	return err
}

// counted notes what has been read.
type counted struct {
	io.Reader
	passed *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.passed.Add(int64(n))
	return n, err
}
