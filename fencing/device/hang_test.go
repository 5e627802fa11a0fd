package device

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// line is a cable to a controller that speaks UDP. It can go dead while a session is open.
type line struct {
	addr string // where the agent finds it: the port
	cut  atomic.Pointer[func(answers int) bool]
}

// newLine lays a line to a port of loopback. It is taken up at the end of the test.
func newLine(t *testing.T, port string) *line {
	t.Helper()
	near, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{addr: fmt.Sprint(near.LocalAddr().(*net.UDPAddr).Port)}
	var all sync.WaitGroup
	var mu sync.Mutex // guards far
	far := map[string]net.Conn{}
	back := func(c net.Conn, to net.Addr) {
		b := make([]byte, 2048)
		for answers := 1; ; answers++ {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if cut := l.cut.Load(); cut != nil && (*cut)(answers) {
				continue
			}
			if _, err := near.WriteTo(b[:n], to); err != nil {
				return
			}
		}
	}
	all.Go(func() {
		b := make([]byte, 2048)
		for {
			n, from, err := near.ReadFrom(b)
			if err != nil {
				return
			}
			mu.Lock()
			c := far[from.String()]
			if c == nil {
				if c, err = net.Dial("udp", "127.0.0.1:"+port); err != nil {
					mu.Unlock()
					return
				}
				far[from.String()] = c
				all.Go(func() { back(c, from) })
			}
			mu.Unlock()
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_ = near.Close()
		mu.Lock()
		for _, c := range far {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l
}

// dies says from which answer of a session on nothing comes back; nil: everything does.
func (l *line) dies(cut func(answers int) bool) {
	if cut == nil {
		l.cut.Store(nil)
		return
	}
	l.cut.Store(&cut)
}

// naming lists the processes with word among their arguments, other than this one.
func naming(t *testing.T, word string) (list []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		// A process may be gone by now.
		text, _ := os.ReadFile(f)
		if f != fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) && bytes.Contains(text, []byte("\x00"+word+"\x00")) {
			list = append(list, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return list
}

// watch looks for processes that name word until the function that it returns is
// called, which returns the first of them, or "".
func watch(t *testing.T, word string) (seen func() string) {
	t.Helper()
	stop, found := make(chan struct{}), make(chan string, 1)
	go func() {
		first := ""
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			if list := naming(t, word); first == "" && len(list) > 0 {
				first = list[0]
			}
			select {
			case <-stop:
				found <- first
				return
			case <-tick.C:
			}
		}
	}()
	return func() string { close(stop); return <-found }
}

// A controller that falls silent in the middle of a session: the agent is killed at
// its timeout with the program that it runs, nothing counts as off, and the next
// level is used. When the line is back the same device proves what it could not.
func TestIPMIFallsSilent(t *testing.T) {
	t.Parallel()
	const limit = 7 * time.Second // time enough for a busy machine to come to where the line dies
	port, power := simulator(t)
	l := newLine(t, port)
	set := func(to string) {
		t.Helper()
		if err := os.WriteFile(power, []byte(to+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	is := func() string {
		t.Helper()
		text, err := os.ReadFile(power)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	d := realDevice(t, "fence_ipmilan", "s3cret!", map[string]string{"ip": "127.0.0.1", "ipport": l.addr, "lanplus": "true", "cipher": "3", "username": "ha", "power_wait": "0"})
	for _, tt := range []struct {
		name string
		cut  func(answers int) bool
		left string // the power, afterwards
	}{
		{"before the first answer", func(int) bool { return true }, "1"},
		{"once the session is open", func(answers int) bool { return answers > 4 }, "1"},
		{"once the order was carried out", func(int) bool { return is() == "0" }, "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set("1")
			l.dies(tt.cut)
			d.spec.Timeout = limit
			seen := watch(t, l.addr)
			begin := time.Now()
			r := Levels{{d}}.Off(t.Context())
			took, child := time.Since(begin), seen()
			if r.Confirmed || took > d.Bound() || !strings.Contains(r.Evidence, fmt.Sprintf("killed after %v", limit)) || is() != tt.left {
				t.Errorf("after %v, the bound is %v; power is %s, want %s: %+v", took, d.Bound(), is(), tt.left, r)
			}
			if !strings.Contains(child, "ipmitool") {
				t.Errorf("the agent has run %q, so whether its children are killed was not seen", child)
			}
			if list := naming(t, l.addr); len(list) > 0 {
				t.Errorf("still there: %q", list)
			}
			l.dies(nil)
			d.spec.Timeout = 20 * time.Second
			if r := (Levels{{d}}).Off(t.Context()); !r.Confirmed || is() != "0" {
				t.Errorf("with the line back, power is %s: %+v", is(), r)
			}
		})
	}
}

// nobody is a port of loopback at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return fmt.Sprint(free.Addr().(*net.TCPAddr).Port)
}

// Controllers that are away, and one that stops in the middle of its answer. A level
// behind them is reached within their bounds.
func TestRedfishAwayOrSilent(t *testing.T) {
	t.Parallel()
	need(t, "fence_redfish")
	good := &redfish{state: "On"}
	half := make(chan struct{})
	defer close(half)
	silent := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.Marshal(map[string]any{"PowerState": "Off", "Actions": strings.Repeat("x", 4096)})
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		if _, err := w.Write(text[:len(text)-20]); err == nil {
			err = http.NewResponseController(w).Flush()
			if err != nil {
				t.Error(err)
			}
		}
		<-half
	})
	device := func(port string) *Device {
		d := realDevice(t, "fence_redfish", "secret", map[string]string{"ip": "127.0.0.1", "ipport": port, "username": "ha",
			"systems_uri": "/redfish/v1/Systems/1", "ssl_insecure": "true", "power_timeout": "2"})
		d.spec.Timeout = 3 * time.Second
		return d
	}
	serve := func(h http.Handler) string {
		s := httptest.NewTLSServer(h)
		t.Cleanup(s.Close)
		return fmt.Sprint(s.Listener.Addr().(*net.TCPAddr).Port)
	}
	working := device(serve(good))
	working.spec.Timeout = 20 * time.Second
	for _, tt := range []struct{ name, port, says string }{
		{"away", nobody(t), "Connection refused"},
		{"stops in the middle of its answer", serve(silent), "killed after 3s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := device(tt.port)
			if s := d.Check(t.Context()); s.OK || s.Power != PowerUnknown || !strings.Contains(s.Text, tt.says) {
				t.Errorf("want a check with %q: %+v", tt.says, s)
			}
			begin := time.Now()
			r := Levels{{d}}.Off(t.Context())
			if took := time.Since(begin); r.Confirmed || took > d.Bound() || !strings.Contains(r.Evidence, tt.says) {
				t.Errorf("after %v, the bound is %v, want %q: %+v", took, d.Bound(), tt.says, r)
			}
			begin = time.Now()
			r = Levels{{d}, {working}}.Off(t.Context())
			is, _ := good.seen()
			if took := time.Since(begin); !r.Confirmed || is != "Off" || took > d.Bound()+working.Bound() || len(r.Tries) != 2 {
				t.Errorf("after %v, power is %s: %+v", took, is, r)
			}
			err := (Levels{{d}, {working}}).On(t.Context(), nil)
			if is, _ := good.seen(); is != "On" || err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("want power on by one device and an error about the other; power is %s: %v", is, err)
			}
		})
	}
}
