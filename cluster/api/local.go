package api

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// localUser is who is at the other end of the unix socket, as the kernel says.
type localUser struct {
	uid    int
	groups []int // primary first
	err    error
}

type localUserKey struct{}

// ConnContext puts the identity of the process at the other end of a unix
// socket into the context, for http.Server.ConnContext. The kernel fixed that
// identity when the connection was made; nothing the process sends can change it.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	who, err := peerOf(u)
	if err != nil {
		who.err = err
	}
	return context.WithValue(ctx, localUserKey{}, who)
}

func peerOf(c *net.UnixConn) (localUser, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return localUser{}, fmt.Errorf("ask who is at the socket: %w", err)
	}
	var cred *unix.Ucred
	var groups []int
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		if cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); credErr == nil {
			groups = peerGroups(int(fd))
		}
	}); err != nil {
		return localUser{}, fmt.Errorf("ask who is at the socket: %w", err)
	}
	if credErr != nil {
		return localUser{}, fmt.Errorf("read SO_PEERCRED: %w", credErr)
	}
	return localUser{uid: int(cred.Uid), groups: append([]int{int(cred.Gid)}, groups...)}, nil
}

// peerGroups are the supplementary groups of the peer. A kernel that cannot say
// (before 4.13) leaves the primary group to decide.
func peerGroups(fd int) []int {
	buf := make([]uint32, 1024)
	size := uint32(len(buf) * 4)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return nil
	}
	groups := make([]int, 0, size/4)
	for _, g := range buf[:size/4] {
		groups = append(groups, int(g))
	}
	return groups
}

// localCaller says in whose name a request on the local socket is made. Root,
// the user the agent itself runs as (who could do to it whatever it wants) and
// members of the allowed groups may pass.
func (s *Server) localCaller(ctx context.Context) (string, error) {
	who, ok := ctx.Value(localUserKey{}).(localUser)
	if !ok {
		return "", &Error{Code: CodeUnauthenticated, Message: "this connection is not a local one: no user is known for it"}
	}
	if who.err != nil {
		return "", &Error{Code: CodeUnauthenticated, Message: who.err.Error()}
	}
	name := userName(who.uid)
	allowed := func(gid int) bool { return slices.Contains(s.opts.AllowedGroups, gid) }
	if who.uid != 0 && who.uid != os.Geteuid() && !slices.ContainsFunc(who.groups, allowed) {
		return "", &Error{
			Code: CodeNotAllowed, Rule: "socket_access",
			Message: fmt.Sprintf("user %s may not use this socket: only root and members of the groups under socket_access in haagent.hcl may (yours: %v; allowed: %v)",
				name, who.groups, s.opts.AllowedGroups),
		}
	}
	return name + "@" + s.backend.Self().Name, nil
}

// userName is the login name of uid, or its number where there is none.
func userName(uid int) string {
	if uid == 0 {
		return "root"
	}
	n := strconv.Itoa(uid)
	if u, err := user.LookupId(n); err == nil {
		return u.Username
	}
	return "uid " + n
}
