package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfast-ha/holdfast/cluster/host"
	"github.com/holdfast-ha/holdfast/cluster/identity"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/cluster/peer"
	"github.com/holdfast-ha/holdfast/cluster/raftnode"
)

// Directory is a Store in the agent's data directory. Every file is replaced
// atomically and is on the disk before a call returns.
type Directory struct{ dir string }

// OpenDirectory prepares the data directory (0700) and checks that it can be written.
func OpenDirectory(dir string) (*Directory, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	probe := filepath.Join(dir, ".probe")
	if err := renameio.WriteFile(probe, []byte("probe\n"), 0o600); err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be written (full or read-only?): %w", dir, err)
	}
	if err := os.Remove(probe); err != nil {
		return nil, fmt.Errorf("the data directory %s: %w", dir, err)
	}
	return &Directory{dir: dir}, nil
}

// saved is the file cluster.json.
type saved struct {
	Timing  lease.Timing              `json:"timing"`
	Peers   map[string][]peer.Address `json:"peers"`
	Genesis []byte                    `json:"genesis,omitempty"`
}

func (d *Directory) path(name string) string { return filepath.Join(d.dir, name) }

// Membership implements Store.
func (d *Directory) Membership() (*Membership, error) {
	id, err := identity.Load(d.path("identity"))
	if errors.Is(err, identity.ErrNone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s saved
	if err := d.read("cluster.json", &s); err != nil {
		return nil, err
	}
	return &Membership{Identity: id, Timing: s.Timing, Peers: s.Peers, Genesis: s.Genesis}, nil
}

// SaveMembership implements Store. The identity, which says that there is a
// membership at all, is written last.
func (d *Directory) SaveMembership(ms *Membership) error {
	if err := d.write("cluster.json", saved{Timing: ms.Timing, Peers: ms.Peers, Genesis: ms.Genesis}); err != nil {
		return err
	}
	return ms.Identity.Save(d.path("identity"))
}

// Record implements Store.
func (d *Directory) Record() (host.Record, error) {
	var r host.Record
	err := d.read("host.json", &r)
	if errors.Is(err, fs.ErrNotExist) {
		return host.Record{}, nil
	}
	return r, err
}

// Remembered lists, without an agent, the VMs that the host with this data
// directory knows to be protected, by UUID.
func Remembered(dir string) ([]string, error) {
	r, err := (&Directory{dir: dir}).Record()
	return r.Known, err
}

// SaveRecord implements Store.
func (d *Directory) SaveRecord(r host.Record) error { return d.write("host.json", r) }

// OpenRaft implements Store.
func (d *Directory) OpenRaft(log hclog.Logger) (raftnode.Stores, error) {
	return raftnode.OpenStores(d.path("raft"), log)
}

// Forget implements Store. Nothing is deleted: it all goes into a directory
// named after the moment.
func (d *Directory) Forget() error {
	aside := d.path("left-" + time.Now().UTC().Format("20060102T150405.000"))
	if err := os.Mkdir(aside, 0o700); err != nil {
		return fmt.Errorf("make a directory for what is put aside: %w", err)
	}
	// The identity, which says that there is a membership at all, goes first.
	for _, name := range []string{"identity", "cluster.json", "host.json", "raft"} {
		err := os.Rename(d.path(name), filepath.Join(aside, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("put %s aside: %w", name, err)
		}
	}
	return nil
}

func (d *Directory) read(name string, into any) error {
	b, err := os.ReadFile(d.path(name))
	if err != nil {
		return fmt.Errorf("read %s: %w", d.path(name), err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s is damaged: %w", d.path(name), err)
	}
	return nil
}

func (d *Directory) write(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := renameio.WriteFile(d.path(name), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", d.path(name), err)
	}
	return nil
}
