package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// defaultSlots is how many hosts a volume has room for unless a flag says otherwise.
const defaultSlots = 64

func (p *program) volumeInitCommand() *cli.Command {
	flags := append([]cli.Flag{
		&cli.IntFlag{Name: "slots", Usage: "room for this many hosts, `N` from 1 to 256; it cannot grow later", Value: defaultSlots},
		&cli.StringFlag{Name: "label", Usage: "the volume's `NAME` (default: the last part of PATH)"},
		&cli.BoolFlag{Name: "create", Usage: "make a file, full of zeros, where none is; its size follows from --slots"},
		&cli.StringFlag{Name: "overwrite",
			Usage: "destroy what is there; `CLUSTER` is the name of the cluster whose volume it is, or of this cluster for anything else"},
	}, clusterFlags()...)
	return p.leaf("init", "make a heartbeat volume of a block device or a file, once, on one host", "PATH", 1, 1, flags, p.initVolume)
}

func (p *program) initVolume(ctx context.Context, c *cli.Context) error {
	path, create := c.Args().First(), c.Bool("create")
	owner, err := p.owner(ctx, c)
	if err != nil {
		return err
	}
	o := storagehb.InitOptions{Cluster: owner.id, ClusterName: owner.name, Host: owner.host, Label: c.String("label"), Slots: c.Int("slots"),
		Timing: owner.timing, Created: p.now().UTC(), Overwrite: c.String("overwrite")}
	if o.Label == "" {
		o.Label = blockName(filepath.Base(path))
	}
	if o.Slots < 1 || o.Slots > format.MaxSlots {
		return usageOf(c, fmt.Sprintf("--slots is %d, allowed is 1 to %d", o.Slots, format.MaxSlots))
	}
	if len(o.Label) > 64 {
		return usageOf(c, fmt.Sprintf("the label %q has %d bytes, the most is 64: give a shorter one with --label", o.Label, len(o.Label)))
	}
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist) && !create:
		return &hintedError{fmt.Errorf("there is no %s: nothing was changed", path),
			fmt.Sprintf("With --create a file of %s is made there. A block device must be there already.",
				capacity(format.Layout{Slots: o.Slots}.Size()))}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && create:
		return &refusedError{fmt.Sprintf("%s is there already: nothing was changed. Leave --create out to initialise it, or take another name",
			path)}
	}
	old, err := p.oldVolume(ctx, path, create)
	if err != nil {
		return err
	}
	if err := p.agreeToInit(ctx, path, old, &o); err != nil {
		return err
	}
	volume, err := p.initialise(ctx, path, o, owner)
	if err != nil {
		return err
	}
	return p.initialised(ctx, path, o, owner, volume)
}

// blockName makes of a word one that a block of the policy can have.
func blockName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, s)
	if s = strings.TrimLeft(s[:min(len(s), 64)], "._-"); s == "" {
		return "hb"
	}
	return s
}

// oldVolume is the heartbeat volume that is there, if any. One that hosts write to
// at this moment is refused: they would lose their proofs, and their slots, without a word.
func (p *program) oldVolume(ctx context.Context, path string, create bool) (*volume, error) {
	if create {
		return nil, nil
	}
	read := func() (*volume, error) { return readVolume(path) }
	old, err := patiently(ctx, p, path, read)
	if errors.Is(err, errNoVolume) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pause := 3 * old.super.Value.Timing.Heartbeat
	fmt.Fprintf(p.stderr, "It is a heartbeat volume already; looking for %v whether somebody writes to it.\n", pause)
	select {
	case <-ctx.Done():
		return nil, errors.New("interrupted: nothing was changed")
	case <-time.After(pause):
	}
	now, err := patiently(ctx, p, path, read)
	if err != nil {
		return nil, err
	}
	if by := writers(old, now); len(by) > 0 {
		return nil, &refusedError{fmt.Sprintf("%s is in use: %s of cluster %q wrote to it within the last %v. Take it out of the policy of that cluster first, and wait until nobody writes to it: nothing was changed",
			path, strings.Join(by, ", "), now.super.Value.Cluster, pause)}
	}
	return now, nil
}

// agreeToInit shows what will be done and asks. Where a heartbeat volume is to be
// overwritten, a name is typed instead of a yes.
func (p *program) agreeToInit(ctx context.Context, path string, old *volume, o *storagehb.InitOptions) error {
	what := "the new file " + path
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		what = path
	} else if err == nil {
		what = "the beginning of " + path
	}
	plan := []string{
		fmt.Sprintf("  + heartbeat volume %q in %s: %s, room for %s",
			o.Label, what, capacity(format.Layout{Slots: o.Slots}.Size()), plural(o.Slots, "host", "hosts")),
		fmt.Sprintf("  + of cluster %q (%v)", o.ClusterName, o.Cluster),
		fmt.Sprintf("  + with its present timing: %s", timingLine(o.Timing)),
	}
	if old != nil {
		s := old.super.Value
		said := "nobody has written to it"
		if n := len(old.slots); n > 0 {
			said = fmt.Sprintf("what %s wrote to it is lost", plural(n, "host", "hosts"))
		}
		plan = append(plan, fmt.Sprintf("  ! it holds heartbeat volume %q of cluster %q, made %s ago: %s",
			s.Label, s.Cluster, p.ago(s.Created), said))
	}
	if old == nil || o.Overwrite != "" {
		return p.agree(ctx, "Initialise it?", plan...)
	}
	s := old.super.Value
	if !isTerminal(p.stdin) {
		return &refusedError{fmt.Sprintf("%s holds heartbeat volume %q of cluster %q: nothing was changed. To destroy it, add --overwrite %s; --yes is not enough",
			path, s.Label, s.Cluster, s.Cluster)}
	}
	for _, line := range plan {
		fmt.Fprintln(p.stderr, line)
	}
	if err := p.typeName(ctx, "Type the name of the cluster whose volume is destroyed", s.Cluster); err != nil {
		return err
	}
	o.Overwrite = s.Cluster
	return nil
}

// initialise does it, and lets a person type the name where something else is there.
func (p *program) initialise(ctx context.Context, path string, o storagehb.InitOptions, owner volumeOwner) (format.UUID, error) {
	attempt := func() (format.UUID, error) {
		_, volume, err := storagehb.Init(ctx, path, o)
		return volume, err
	}
	volume, err := patiently(ctx, p, path, attempt)
	if errors.Is(err, storagehb.ErrInUse) && o.Overwrite == "" && isTerminal(p.stdin) && !taken(path) {
		fmt.Fprintf(p.stderr, "  ! %v\n", err)
		if err := p.typeName(ctx, "Type the name of this cluster to destroy it", owner.name); err != nil {
			return format.UUID{}, err
		}
		o.Overwrite = owner.name
		volume, err = patiently(ctx, p, path, attempt)
	}
	if errors.Is(err, storagehb.ErrInUse) {
		text := err.Error()
		if !taken(path) {
			text += " (--overwrite NAME; --yes is not enough)"
		}
		return format.UUID{}, &refusedError{text + ". Nothing was changed."}
	}
	return volume, err
}

// taken reports whether a block device is mounted or part of another: no name
// that anybody types changes that.
func taken(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err == nil {
		_ = unix.Close(fd) // it was only looked at
	}
	return errors.Is(err, unix.EBUSY)
}

// initialised looks at what was made as an agent would, and says how to go on.
func (p *program) initialised(ctx context.Context, path string, o storagehb.InitOptions, owner volumeOwner, volume format.UUID) error {
	report, err := patiently(ctx, p, path, func() (storagehb.Report, error) { return storagehb.Verify(ctx, path, owner.id, owner.timing) })
	if err != nil {
		return fmt.Errorf("it was initialised, and cannot be used all the same: %w", err)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("name %s from the root: %w", path, err)
	}
	warnings := append(append([]string{}, report.Warnings...), unstable(absolute)...)
	return p.show(struct {
		Schema    int      `json:"schema"`
		Path      string   `json:"path"`
		Volume    string   `json:"volume"`
		Label     string   `json:"label"`
		Cluster   string   `json:"cluster"`
		ClusterID string   `json:"cluster_id"`
		Slots     int      `json:"slots"`
		Size      int64    `json:"size"`
		Warnings  []string `json:"warnings"`
	}{api.Schema, path, volume.String(), o.Label, o.ClusterName, o.Cluster.String(), o.Slots,
		format.Layout{Slots: o.Slots}.Size(), warnings}, func() {
		p.say("Heartbeat volume %q stands at %s: %s, written and read back.", o.Label, path, plural(o.Slots, "slot", "slots"))
		for _, w := range warnings {
			p.paragraph("  "+p.tint("!", "warning")+" ", w)
		}
		p.next("Now on every host", "haadm storage heartbeat verify "+path)
		p.next("Then in the policy", fmt.Sprintf("heartbeat_volume %q { path = %q }", blockName(o.Label), absolute))
	})
}
