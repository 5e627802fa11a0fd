package device

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agext/levenshtein"

	"github.com/holdfast-ha/holdfast/config"
)

const (
	// AgentDir is where distributions put their fence agents.
	AgentDir = "/usr/sbin"
	// describeTimeout bounds an agent's description of itself.
	describeTimeout = 10 * time.Second
)

// agentName is the form of an agent's name: no path, no option, no shell word.
var agentName = regexp.MustCompile(`^fence_[a-z0-9][a-z0-9_]{0,40}$`)

// Config is what a Runner needs.
type Config struct {
	// Dir is where the agents are; empty: AgentDir.
	Dir string
	// BootClock is the clock of Result.At and Status.At: time since boot, with suspend.
	BootClock func() time.Duration
	// Pretend admits agents that switch nothing (fence_dummy): for tests alone.
	Pretend bool
}

// Runner runs the fence agents of this host. It is safe for concurrent use.
type Runner struct {
	dir     string
	clock   func() time.Duration
	pretend bool

	mu      sync.Mutex           // guards what follows
	known   map[string]described // descriptions by path
	devices map[string]*Device   // by name
}

// described is a description and the file that gave it.
type described struct {
	agent    *Agent
	size     int64
	modified time.Time
}

// NewRunner returns a runner. It starts nothing.
func NewRunner(c Config) *Runner {
	if c.Dir == "" {
		c.Dir = AgentDir
	}
	return &Runner{dir: c.Dir, clock: c.BootClock, pretend: c.Pretend, known: map[string]described{}, devices: map[string]*Device{}}
}

// Agents lists the names of the fence agents that are installed here.
func (r *Runner) Agents() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list the fence agents: %w", err)
	}
	var names []string
	for _, e := range entries {
		if agentName.MatchString(e.Name()) && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil // sorted by name
}

// Describe asks an agent what it is and which options it takes. The answer is kept
// until the agent's file changes. An agent that this package does not use is
// described as well; it is Validate of a device that refuses it.
func (r *Runner) Describe(ctx context.Context, name string) (*Agent, error) {
	path, info, err := r.find(name)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	d, ok := r.known[path]
	r.mu.Unlock()
	if ok && d.size == info.Size() && d.modified.Equal(info.ModTime()) {
		return d.agent, nil
	}
	a := start(ctx, path, []byte("action=metadata\n"), describeTimeout, maxMetadata+1, make(chan struct{}, 1))
	if why := a.failed(); why != "" {
		return nil, fmt.Errorf("agent %s does not describe itself: %s", name, why)
	}
	agent, err := ParseMetadata([]byte(a.stdout))
	if err != nil {
		return nil, fmt.Errorf("agent %s: %w", name, err)
	}
	agent.Name = name
	r.mu.Lock()
	r.known[path] = described{agent, info.Size(), info.ModTime()}
	r.mu.Unlock()
	return agent, nil
}

// find looks an agent up by name. The file must be one that only root, or whoever
// this process runs as, can change: it will run with our rights.
func (r *Runner) find(name string) (string, fs.FileInfo, error) {
	if !agentName.MatchString(name) {
		return "", nil, fmt.Errorf("agent %s", config.BadFenceAgent(name))
	}
	path := filepath.Join(r.dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		hint := ""
		if names, err := r.Agents(); err == nil {
			hint = nearest(name, names)
		}
		return "", nil, fmt.Errorf("agent %s is not installed in %s%s: install the package fence-agents on every host", name, r.dir, hint)
	}
	if err != nil {
		return "", nil, fmt.Errorf("look for agent %s: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return "", nil, fmt.Errorf("agent %s: %s is not a program", name, path)
	}
	if err := ours(info); err != nil || info.Mode().Perm()&0o022 != 0 {
		return "", nil, fmt.Errorf("agent %s is not run: %s can be changed by others than root (mode %v)", name, path, info.Mode())
	}
	return path, info, nil
}

// nearest is the sentence that follows a wrong word, or nothing.
func nearest(name string, known []string) string {
	best, distance := "", 1+max(1, min(3, len(name)/3))
	for _, k := range known {
		if d := levenshtein.Distance(clip(name), k, nil); d < distance {
			best, distance = k, d
		}
	}
	if best == "" {
		i := slices.IndexFunc(known, func(k string) bool { return len(name) >= 4 && strings.Contains(k, name) })
		if i < 0 {
			return ""
		}
		best = known[i]
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// clip shortens somebody else's text to what fits in a sentence.
func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
