package raftnode

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Stores is where a node keeps its log, its vote and its snapshots.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore

	close func() error
}

const (
	storeFile = "raft.db"
	// lockWait is how long to wait for a database that another process holds.
	lockWait = time.Second
	// snapshotsKept on disk; the older one is for the case that the newer is damaged.
	snapshotsKept = 2
)

// OpenStores opens, or makes, the stores in dir. The error says what is wrong
// with the directory and, when another process has it open, which.
func OpenStores(dir string, logger hclog.Logger) (Stores, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Stores{}, dirError(dir, err)
	}
	path := filepath.Join(dir, storeFile)
	db, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{
		Timeout: lockWait, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType}})
	if err != nil {
		return Stores{}, openError(path, err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, logger)
	if err != nil {
		_ = db.Close()
		return Stores{}, dirError(dir, err)
	}
	return Stores{Log: db, Stable: db, Snapshots: snapshots, close: db.Close}, nil
}

// MemoryStores keeps everything in memory, for simulation: what is in them
// survives a Node, not the process.
func MemoryStores() Stores {
	s := raft.NewInmemStore()
	return Stores{Log: s, Stable: s, Snapshots: raft.NewInmemSnapshotStore()}
}

// Close closes the stores; the node that used them must be shut down before.
func (s Stores) Close() error {
	if s.close == nil {
		return nil
	}
	return s.close()
}

// Used reports whether the stores hold anything of a cluster.
func (s Stores) Used() (bool, error) {
	used, err := raft.HasExistingState(s.Log, s.Stable, s.Snapshots)
	if err != nil {
		return false, fmt.Errorf("look into the log: %w", err)
	}
	return used, nil
}

func openError(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		holder := "another process"
		if h := lockHolder(path); h != "" {
			holder = h
		}
		return fmt.Errorf("open %s: %s has it open; stop that first, or use another data directory: %w", path, holder, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("open %s: the file is damaged or not a Holdfast log; remove the data directory and join again with a new token: %w", path, err)
	default:
		return dirError(filepath.Dir(path), err)
	}
}

func dirError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("data directory %s is on a file system mounted read-only; mount it writable or use another: %w", dir, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("data directory %s: no space is left; see: df %s: %w", dir, dir, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("data directory %s cannot be written by user id %d: %w", dir, os.Geteuid(), err)
	default:
		return fmt.Errorf("data directory %s: %w", dir, err)
	}
}

// lockHolder names the process that holds a lock on the file, as in
// "haagent (process 812)"; empty when the kernel does not tell.
func lockHolder(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer func() { _ = locks.Close() }()
	// Such as: 1: FLOCK  ADVISORY  WRITE 812 fd:01:131090 0 EOF
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] != "FLOCK" {
			continue
		}
		inode := f[5][strings.LastIndexByte(f[5], ':')+1:]
		if inode != strconv.FormatUint(stat.Ino, 10) {
			continue
		}
		pid := f[4]
		name, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			return "process " + pid
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}
