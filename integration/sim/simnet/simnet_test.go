package simnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// bench is two hosts, a listening on b, with a connection between them.
type bench struct {
	n      *Network
	a, b   *Stack
	ln     net.Listener
	ca, cb net.Conn
}

const port = ":7000"

func (x *bench) dial(t *testing.T, within time.Duration) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return x.a.Dial(ctx, "net1", x.n.IP("b", "net1").String()+port)
}

// inBubble runs f with a fresh bench in a bubble; the bubble fails if anything is left running.
func inBubble(t *testing.T, f func(t *testing.T, x *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := &bench{n: New(1, "net1", "net2")}
		defer x.n.Close()
		for _, h := range []string{"a", "b", "c"} {
			x.n.AddHost(h)
			x.n.PowerOn(h)
		}
		var err error
		if x.a, err = x.n.Process("a"); err != nil {
			t.Fatal(err)
		}
		if x.b, err = x.n.Process("b"); err != nil {
			t.Fatal(err)
		}
		if x.ln, err = x.b.Listen("net1", x.n.IP("b", "net1").String()+port); err != nil {
			t.Fatal(err)
		}
		if x.ca, err = x.dial(t, time.Second); err != nil {
			t.Fatal(err)
		}
		if x.cb, err = x.ln.Accept(); err != nil {
			t.Fatal(err)
		}
		f(t, x)
	})
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatalf("write %q: %v", s, err)
	}
}

// recv reads want within the time given and returns how long it took.
func recv(t *testing.T, c net.Conn, want string, within time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	_ = c.SetReadDeadline(start.Add(within))
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("read %q within %v: %v", want, within, err)
	}
	if string(b) != want {
		t.Fatalf("read %q, want %q", b, want)
	}
	return time.Since(start)
}

// silent fails the test when anything, also an error, is read within d.
func silent(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(d))
	if n, err := c.Read(make([]byte, 64)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes and %v, want silence for %v", n, err, d)
	}
}

// ends reads until an error other than a deadline, which it returns.
func ends(t *testing.T, c net.Conn, within time.Duration) error {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(within))
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("connection did not end within %v", within)
	}
	return err
}

func TestBytesArriveInOrderAndTakeTime(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		x.n.SetDelay("a", Delay{Loss: 0.5})
		var all strings.Builder
		for range 50 {
			send(t, x.ca, "0123456789")
			all.WriteString("0123456789")
		}
		if took := recv(t, x.cb, all.String(), time.Minute); took < retransmit {
			t.Errorf("50 segments with half of them lost took %v, less than one retransmission", took)
		}
		x.n.SetDelay("a", Delay{Latency: 80 * time.Millisecond})
		send(t, x.cb, "back")
		if took := recv(t, x.ca, "back", time.Second); took < 80*time.Millisecond || took > 90*time.Millisecond {
			t.Errorf("took %v with 80ms of added latency", took)
		}
	})
}

func TestOneWayCutHoldsBytes(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		x.n.SetDead(0)
		x.n.Cut("net1", "a", "b")
		send(t, x.ca, "held")
		silent(t, x.cb, time.Minute)
		send(t, x.cb, "free")
		recv(t, x.ca, "free", time.Second)
		if _, err := x.dial(t, time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dial into a cut: %v", err)
		}
		x.n.Restore("net1", "a", "b")
		recv(t, x.cb, "held", time.Second)
	})
}

func TestDialGoesThroughWhenTheCutHeals(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		x.n.Isolate("", "b")
		if x.n.Connected("a", "b") || !x.n.Connected("a", "c") {
			t.Error("b should be cut from a, and c not")
		}
		time.AfterFunc(5*time.Second, x.n.Heal)
		start := time.Now()
		if _, err := x.dial(t, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 5*time.Second || took > 5*time.Second+2*synRetry {
			t.Errorf("connected after %v, the cut lasted 5s", took)
		}
	})
}

func TestPartition(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		for _, tc := range []struct {
			name       string
			groups     [][]string
			ab, ac, bc bool
		}{
			{"two groups", [][]string{{"a", "b"}, {"c"}}, true, false, false},
			{"another split", [][]string{{"a"}, {"b", "c"}}, false, false, true},
			{"unnamed host stands alone", [][]string{{"a", "b"}}, true, false, false},
			{"one group heals", [][]string{{"a", "b", "c"}}, true, true, true},
		} {
			x.n.Partition(tc.groups...)
			if ab, ac, bc := x.n.Connected("a", "b"), x.n.Connected("a", "c"), x.n.Connected("b", "c"); ab != tc.ab || ac != tc.ac || bc != tc.bc {
				t.Errorf("%s: ab %v ac %v bc %v, want %v %v %v", tc.name, ab, ac, bc, tc.ab, tc.ac, tc.bc)
			}
		}
	})
}

func TestNobodyListens(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		if _, err := x.a.Dial(t.Context(), "net1", x.n.IP("c", "net1").String()+port); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial where nobody listens: %v", err)
		}
		if _, err := x.a.Dial(t.Context(), "net1", "192.0.2.1:1"); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("dial to an unknown address: %v", err)
		}
		if _, err := x.b.Listen("net1", x.ln.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen twice: %v", err)
		}
		if _, err := x.b.Listen("net1", x.n.IP("a", "net1").String()+port); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("listen on another host's address: %v", err)
		}
	})
}

func TestKilledProcessHangsUp(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		send(t, x.cb, "last")
		x.b.Kill()
		recv(t, x.ca, "last", time.Second)
		if err := ends(t, x.ca, time.Second); err != nil {
			t.Errorf("connection ended with %v, want EOF", err)
		}
		if _, err := x.dial(t, time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a killed process: %v", err)
		}
		if _, err := x.b.Dial(t.Context(), "net1", x.n.IP("a", "net1").String()+port); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a killed process dialled: %v", err)
		}
	})
	inBubble(t, func(t *testing.T, x *bench) {
		send(t, x.ca, "unread")
		time.Sleep(time.Second)
		x.b.Kill()
		if err := ends(t, x.ca, time.Second); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("bytes were left unread, connection ended with %v, want a reset", err)
		}
	})
}

func TestKillBehindACutIsHeardAfterIt(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		x.n.SetDead(0)
		x.n.Cut("", "b", "a")
		x.b.Kill()
		silent(t, x.ca, time.Minute)
		x.n.Heal()
		if err := ends(t, x.ca, time.Second); err != nil {
			t.Errorf("connection ended with %v, want EOF", err)
		}
	})
}

func TestPowerOffIsSilent(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		x.n.SetDead(0)
		x.n.PowerOff("b")
		send(t, x.ca, "into the void")
		silent(t, x.ca, time.Hour)
		if _, err := x.dial(t, 3*time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dial to a host that is off: %v", err)
		}
		if _, err := x.cb.Write([]byte("x")); err == nil {
			t.Error("a host that is off wrote")
		}
		x.n.PowerOn("b")
		if err := ends(t, x.ca, 5*time.Second); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after the host is on again the connection ended with %v, want a reset", err)
		}
		if _, err := x.dial(t, time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial before its agent is back: %v", err)
		}
	})
}

func TestBrokenPathIsGivenUp(t *testing.T) {
	for _, tc := range []struct {
		name    string
		breakIt func(n *Network)
	}{
		{"cut there", func(n *Network) { n.Cut("net1", "a", "b") }},
		{"cut back", func(n *Network) { n.Cut("net1", "b", "a") }},
		{"power off", func(n *Network) { n.PowerOff("b") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, x *bench) {
				start := time.Now()
				tc.breakIt(x.n)
				if err := ends(t, x.ca, time.Minute); !errors.Is(err, syscall.ETIMEDOUT) {
					t.Errorf("connection ended with %v, want a timeout", err)
				}
				if took := time.Since(start); took != DefaultDead {
					t.Errorf("given up after %v, want %v", took, DefaultDead)
				}
			})
		})
	}
	inBubble(t, func(t *testing.T, x *bench) {
		x.n.Isolate("", "b")
		time.Sleep(2 * DefaultDead)
		x.n.Heal()
		if _, err := x.cb.Write([]byte("x")); !errors.Is(err, syscall.ETIMEDOUT) {
			t.Errorf("wrote after the path had been dead for %v: %v", 2*DefaultDead, err)
		}
		c, err := x.dial(t, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		x.n.Isolate("", "b")
		time.Sleep(DefaultDead / 2)
		x.n.Heal()
		silent(t, c, time.Minute) // a short break ends nothing
	})
}

func TestFrozenProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		x.b.Freeze()
		send(t, x.ca, "wait")
		second, err := x.dial(t, time.Second) // its kernel still accepts
		if err != nil {
			t.Fatal(err)
		}
		read := make(chan time.Time, 1)
		send(t, x.cb, "late")
		go func() {
			_, _ = io.ReadFull(x.cb, make([]byte, 4))
			read <- time.Now()
		}()
		silent(t, x.ca, time.Minute)
		thaw := time.Now()
		x.b.Thaw()
		recv(t, x.ca, "late", time.Second)
		if at := <-read; at.Before(thaw) {
			t.Errorf("read %v before the thaw", thaw.Sub(at))
		}
		send(t, second, "hello")
		accepted, err := x.ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		recv(t, accepted, "hello", time.Second)
	})
}

func TestFrozenProcessCloses(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		send(t, x.cb, "before")
		x.b.Freeze()
		_ = x.cb.Close()
		recv(t, x.ca, "before", time.Second)
		silent(t, x.ca, time.Minute)
		x.b.Thaw()
		if err := ends(t, x.ca, time.Second); err != nil {
			t.Errorf("connection ended with %v, want EOF", err)
		}
	})
	inBubble(t, func(t *testing.T, x *bench) {
		x.b.Freeze()
		send(t, x.cb, "never sent")
		x.b.Kill()
		if err := ends(t, x.ca, time.Second); err != nil {
			t.Errorf("a frozen process was killed; its connection ended with %v, want EOF", err)
		}
	})
}

func TestDeadlinesAndClose(t *testing.T) {
	inBubble(t, func(t *testing.T, x *bench) {
		start := time.Now()
		silent(t, x.ca, 3*time.Second)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("deadline of 3s fired after %v", took)
		}
		_ = x.ca.SetReadDeadline(time.Time{})
		got := make(chan error, 1)
		go func() {
			_, err := x.ca.Read(make([]byte, 1))
			got <- err
		}()
		synctest.Wait()
		_ = x.ca.SetReadDeadline(time.Now().Add(-time.Second))
		if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a deadline set during a read: %v", err)
		}
		_ = x.ca.SetReadDeadline(time.Time{})
		go func() {
			_, err := x.ca.Read(make([]byte, 1))
			got <- err
		}()
		synctest.Wait()
		_ = x.ca.Close()
		if err := <-got; !errors.Is(err, net.ErrClosed) {
			t.Errorf("close during a read: %v", err)
		}
		if err := ends(t, x.cb, time.Second); err != nil {
			t.Errorf("peer of a closed connection: %v, want EOF", err)
		}
		send(t, x.cb, "too late")
		time.Sleep(time.Second)
		if _, err := x.cb.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("second write to a closed connection: %v, want a reset", err)
		}
	})
}

// TestSameSeedSameDelays holds that what a link does depends on the seed alone,
// not on what other connections do.
func TestSameSeedSameDelays(t *testing.T) {
	run := func(seed uint64, others int) (took []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			n := New(seed, "net1")
			defer n.Close()
			stacks := map[string]*Stack{}
			for _, h := range []string{"a", "b", "c"} {
				n.AddHost(h)
				n.PowerOn(h)
				stacks[h], _ = n.Process(h)
			}
			to := n.IP("b", "net1").String() + port
			ln, _ := stacks["b"].Listen("net1", to)
			for range others {
				if _, err := stacks["c"].Dial(t.Context(), "", to); err != nil {
					t.Fatal(err)
				}
				_, _ = ln.Accept()
			}
			c, err := stacks["a"].Dial(t.Context(), "", to)
			if err != nil {
				t.Fatal(err)
			}
			s, _ := ln.Accept()
			for range 20 {
				send(t, c, "x")
				took = append(took, recv(t, s, "x", time.Second))
			}
		})
		return took
	}
	one, two, other := run(7, 0), run(7, 3), run(8, 0)
	same := true
	for i := range one {
		if one[i] != two[i] {
			t.Fatalf("segment %d took %v, and %v when others were connected too", i, one[i], two[i])
		}
		same = same && one[i] == other[i]
	}
	if same {
		t.Error("another seed gave the same delays")
	}
}
