package api_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
)

// as dials a unix socket as another user. The kernel keeps identities by thread:
// the one that gives itself away here is locked and ends with its goroutine.
func as(uid, gid int, groups []uint32) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (c net.Conn, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and never unlocked
			if err = become(uid, gid, groups); err != nil {
				return
			}
			var d net.Dialer
			c, err = d.DialContext(ctx, "unix", addr)
		}()
		<-done
		return c, err
	}
}

func become(uid, gid int, groups []uint32) error {
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); e != 0 {
		return fmt.Errorf("setgroups: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); e != 0 {
		return fmt.Errorf("setresgid: %w", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
		return fmt.Errorf("setresuid: %w", e)
	}
	return nil
}

func TestWhoMayUseTheSocket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	s := api.NewServer(apitest.Healthy(), api.Options{AllowedGroups: []int{4711}})
	addr := fmt.Sprintf("@holdfast-%s-%d", t.Name(), os.Getpid())
	l, err := net.Listen("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := s.HTTPServer(s.Local())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	defer func() {
		_ = srv.Close()
		<-done
	}()
	for _, tc := range []struct {
		name     string
		uid, gid int
		groups   []uint32
		want     int
	}{
		{"root", 0, 0, nil, 200},
		{"somebody", 65534, 65534, nil, 403},
		{"somebody with root's group", 65534, 0, nil, 403},
		{"primary group", 65534, 4711, nil, 200},
		{"another group", 65534, 65534, []uint32{4710, 4711}, 200},
		{"other groups", 65534, 65534, []uint32{1, 2, 3}, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dial := as(tc.uid, tc.gid, tc.groups)
			tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, n, _ string) (net.Conn, error) { return dial(ctx, n, addr) }}
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://agent/v1/status", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tc.want {
				t.Errorf("uid %d, gid %d, groups %v: %s, want %d", tc.uid, tc.gid, tc.groups, resp.Status, tc.want)
			}
		})
	}
}

func TestLocalHandlerWantsAUser(t *testing.T) {
	s := api.NewServer(apitest.Healthy(), api.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := s.HTTPServer(s.Local())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	defer func() {
		_ = srv.Close()
		<-done
	}()
	if status, body := send(t, "http://"+l.Addr().String(), "", "GET", "/v1/status", nil); status != 401 {
		t.Errorf("the local handler on TCP answers %d, want 401: %s", status, body)
	}
}
