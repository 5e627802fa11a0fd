package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/cluster/lease"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/storagehb"
	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// folder is one on a file system with direct I/O.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return dir
	}
	dir, err := os.MkdirTemp("/var/tmp", "haadm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func parsed(t testing.TB, s string) format.UUID {
	t.Helper()
	u, err := format.ParseUUID(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// hostID is that of the host in a slot of the volumes below.
func hostID(t testing.TB, slot int) format.UUID {
	return parsed(t, apitest.Healthy().St.Hosts[fmt.Sprintf("kvm%d", slot+1)].ID)
}

// volumeOf is a volume that nobody has written to yet.
func volumeOf(t testing.TB, cluster, name, profile string) (path string, id format.UUID) {
	t.Helper()
	timing, ok := lease.Profile(profile)
	if !ok {
		t.Fatalf("there is no profile %s", profile)
	}
	path = filepath.Join(folder(t), "hb1")
	_, id, err := storagehb.Init(t.Context(), path, storagehb.InitOptions{Cluster: parsed(t, cluster), ClusterName: name, Host: hostID(t, 0), Label: "hb1", Slots: 8,
		Timing: timing, Created: apitest.Now.Add(-72 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return path, id
}

// put writes a record as its host would, into the given copy.
func put(t testing.TB, path string, slot, copy int, age time.Duration, v format.Value) {
	t.Helper()
	if err := writeRecord(path, hostID(t, slot), slot, copy, age, v); err != nil {
		t.Fatal(err)
	}
}

func writeRecord(path string, host format.UUID, slot, copy int, age time.Duration, v format.Value) error {
	read, err := readVolume(path)
	if err != nil {
		return err
	}
	d, err := storagehb.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	buf, err := unix.Mmap(-1, 0, v.Kind().Length(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(buf) }()
	o := format.Origin{Copy: uint8(copy), Slot: uint16(slot), Cluster: read.super.Origin.Cluster, Volume: read.super.Origin.Volume, Host: host,
		Boot: time.Hour, Wall: apitest.Now.Add(-age)}
	if err := format.Encode(buf, v, o); err != nil {
		return err
	}
	_, err = d.WriteAt(buf, format.Layout{Slots: read.super.Value.Slots}.Offset(v.Kind(), slot, copy))
	return err
}

func beat(slot int, seq uint64) format.Heartbeat {
	return format.Heartbeat{Incarnation: 3, Run: 2, Seq: seq, Epoch: 4, Applied: 2210, Acked: seq - 1, SetRevision: 1, Flags: format.FlagQuorum | format.FlagWatchdogArmed,
		Lease: 1200 * time.Millisecond, Watchdog: time.Second, Interval: 250 * time.Millisecond, Latency: 2 * time.Millisecond, VMs: 1, Name: fmt.Sprintf("kvm%d", slot+1)}
}

// used is the example cluster's volume after a while, with a host that is down and a torn write.
func used(t testing.TB) string {
	t.Helper()
	path, _ := volumeOf(t, apitest.ClusterID, "basement", "fast")
	put(t, path, 0, 0, 350*time.Millisecond, beat(0, 899))
	put(t, path, 0, 1, 100*time.Millisecond, beat(0, 900))
	put(t, path, 1, 0, 120*time.Millisecond, beat(1, 901))
	lost := beat(2, 555)
	lost.Reason = "its lease ended and a VM could not be killed"
	put(t, path, 2, 0, 40*time.Second, lost)
	put(t, path, 1, 0, 39*time.Second, format.Claim{Epoch: 4, Version: 7, Incarnation: 3, Index: 2205, Reason: "not heard for 375ms",
		Listed: []format.Listing{{Slot: 2, Incarnation: 3, Standing: format.Evicted}}})
	put(t, path, 0, 0, 30*24*time.Hour, format.Claim{Epoch: 3, Version: 1, Incarnation: 2, Index: 1200, Reason: "took office"})
	put(t, path, 1, 1, 120*time.Millisecond, format.Acks{Epoch: 4, Seq: 77, Heard: []format.Ack{{Slot: 0, Incarnation: 3, Run: 2, Seq: 899}, {Slot: 1, Incarnation: 3, Run: 2, Seq: 900}}})
	put(t, path, 0, 0, time.Minute, format.VMTable{Incarnation: 3, Run: 2, Seq: 4, VMs: []format.VM{
		{UUID: parsed(t, "6b0f5a3e-0000-4000-8000-000000000001"), Generation: 1, State: format.VMRunning},
		{UUID: parsed(t, "6b0f5a3e-0000-4000-8000-000000000004"), Generation: 2, State: format.VMStoppedIsolated}}})
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("torn"), format.Layout{Slots: 8}.Offset(format.KindHeartbeat, 1, 1)); err != nil {
		t.Fatal(err)
	}
	return path
}

var anyUUID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// plain takes out of an answer the identity that init gives a volume.
func plain(s string) string {
	s = regexp.MustCompile(`path = "[^"]*/`).ReplaceAllString(s, `path = "/srv/ha/`)
	return anyUUID.ReplaceAllStringFunc(s, func(u string) string {
		if strings.Contains(u, "-0000-4000-8000-") {
			return u
		}
		return "VOLUME-ID"
	})
}

// TestHeartbeatVolumes is what a person reads of volumes in several conditions.
func TestHeartbeatVolumes(t *testing.T) {
	const attic = "a771c000-0000-4000-8000-000000000001"
	zeros := func(n int) func(t testing.TB) string {
		return func(t testing.TB) string {
			path := filepath.Join(folder(t), "hb1")
			write(t, path, strings.Repeat("\x00", n))
			return path
		}
	}
	var text strings.Builder
	for _, x := range []struct {
		title string
		make  func(t testing.TB) (path string)
		lines []string
	}{
		{"nothing is there", func(t testing.TB) string { return filepath.Join(folder(t), "hb1") }, []string{
			"init PATH --yes", "verify PATH", "init PATH --create", "init PATH --create --slots 8 --yes", "verify PATH", "dump PATH",
			"init PATH --create --slots 8 --yes", "init PATH --slots 9 --overwrite basement --yes"}},
		{"in use by three hosts, one is down", used, []string{"verify PATH", "dump PATH", "init PATH --slots 8 --yes", "init PATH --slots 8 --overwrite attic --yes"}},
		{"another cluster's", func(t testing.TB) string { path, _ := volumeOf(t, attic, "attic", "fast"); return path }, []string{
			"verify PATH", "init PATH --slots 8 --yes", "init PATH --slots 8 --overwrite basement --yes", "init PATH --slots 8 --overwrite attic --yes"}},
		{"with another timing", func(t testing.TB) string {
			path, _ := volumeOf(t, apitest.ClusterID, "basement", "standard")
			return path
		}, []string{"verify PATH"}},
		{"a file of zeros", zeros(4096 * (16 + 16*4)), []string{"verify PATH", "dump PATH", "init PATH --yes", "init PATH --slots 4 --label hb-nfs --yes"}},
		{"something else", func(t testing.TB) string {
			path := filepath.Join(folder(t), "hb1")
			write(t, path, "XFSB"+strings.Repeat("\x00", 4096*(16+16*4)-4))
			return path
		}, []string{"verify PATH", "init PATH --slots 4 --yes", "init PATH --slots 4 --yes --overwrite basement"}},
	} {
		t.Run(x.title, func(t *testing.T) {
			t.Chdir(filepath.Dir(x.make(t))) // texts are wrapped where they are, however long the name of the folder is
			for _, line := range x.lines {
				line = "storage heartbeat " + strings.ReplaceAll(line, "PATH", "hb1")
				got := haadm(t, agent(t, apitest.Healthy()), nil, strings.Fields(line)...)
				fmt.Fprintf(&text, "# %s\n$ haadm %s\n%s", x.title, line, plain(got.out))
				for _, l := range strings.SplitAfter(plain(got.errOut), "\n") {
					if l != "" {
						fmt.Fprintf(&text, "2> %s", l)
					}
				}
				fmt.Fprintf(&text, "exit %d\n\n", got.code)
			}
		})
	}
	golden(t, "volumes.txt", text.String())
}

// TestVolumeAsJSON: a script gets every record of every slot.
func TestVolumeAsJSON(t *testing.T) {
	path, none := used(t), filepath.Join(t.TempDir(), "none")
	got := haadm(t, none, nil, "storage", "heartbeat", "dump", path, "-o", "json")
	golden(t, "volume.json", strings.ReplaceAll(plain(got.out), filepath.Dir(path), "/srv/ha"))
	var verified struct {
		Usable  bool
		Volumes []struct {
			Usable   bool
			Warnings []string
			Slots    []struct{ Host string }
		}
	}
	got = haadm(t, agent(t, apitest.Healthy()), nil, "storage", "heartbeat", "verify", path, "--json")
	if err := json.Unmarshal([]byte(got.out), &verified); err != nil || !verified.Usable || len(verified.Volumes) != 1 || !verified.Volumes[0].Usable ||
		len(verified.Volumes[0].Slots) != 3 || len(verified.Volumes[0].Warnings) != 2 {
		t.Errorf("verify --json: %v\n%s%s\nwant it usable, with three slots, and two warnings: the torn write and the host that is down", err, got.out, got.errOut)
	}
	raw := haadm(t, none, nil, "storage", "heartbeat", "dump", path, "-o", "wide")
	if raw.code != exitOK || !strings.Contains(raw.out, "its boot clock 1h0m0s") {
		t.Errorf("dump -o wide: exit %d\n%s%s", raw.code, raw.out, raw.errOut)
	}
}

// What a volume holds is destroyed only for who types the right name.
func TestInitHasTheNameTyped(t *testing.T) {
	const attic = "a771c000-0000-4000-8000-000000000001"
	other := func(t testing.TB) string { path, _ := volumeOf(t, attic, "attic", "fast"); return path }
	something := func(t testing.TB) string {
		path := filepath.Join(folder(t), "hb1")
		write(t, path, strings.Repeat("data", 1024*(16+16*8)))
		return path
	}
	for _, tc := range []struct {
		name  string
		make  func(t testing.TB) string
		types string
		code  int
	}{
		{"another cluster's volume, its name", other, "attic\n", exitOK},
		{"another cluster's volume, our name", other, "basement\n", exitRefused},
		{"another cluster's volume, yes", other, "y\n", exitRefused},
		{"data, our name", something, "y\nbasement\n", exitOK},
		{"data, yes alone", something, "y\ny\n", exitRefused},
		{"data, no", something, "n\n", exitFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := tc.make(t)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := haadm(t, agent(t, apitest.Healthy()), typed{strings.NewReader(tc.types)}, "storage", "heartbeat", "init", path, "--slots", "8")
			if got.code != tc.code {
				t.Errorf("exit %d, want %d\n%s%s", got.code, tc.code, got.out, got.errOut)
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if changed := string(before) != string(after); changed != (tc.code == exitOK) {
				t.Errorf("exit %d, and the file has changed: %v\n%s", got.code, changed, got.errOut)
			}
		})
	}
}

// A volume that hosts write to is not initialised, whatever is typed.
func TestInitLeavesAVolumeInUse(t *testing.T) {
	path, _ := volumeOf(t, apitest.ClusterID, "basement", "fast")
	put(t, path, 1, 0, 0, beat(1, 1))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	host := hostID(t, 1)
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for seq := uint64(2); ctx.Err() == nil; seq++ {
			if err := writeRecord(path, host, 1, int(seq%2), 0, beat(1, seq)); err != nil {
				t.Errorf("the host cannot write: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	got := haadm(t, agent(t, apitest.Healthy()), nil, "storage", "heartbeat", "init", path, "--slots", "8", "--overwrite", "basement", "--yes")
	stop()
	<-done
	if got.code != exitRefused || !strings.Contains(got.errOut, "is in use: kvm2") {
		t.Errorf("exit %d\n%s%s\nwant %d, and who uses it", got.code, got.out, got.errOut, exitRefused)
	}
}

// Without an agent the flags say whose volume it is.
func TestVolumeWithoutAgent(t *testing.T) {
	dir, none := folder(t), filepath.Join(t.TempDir(), "none")
	policy := filepath.Join(dir, "cluster.hcl")
	write(t, policy, string(apitest.Healthy().St.Policy.Files["cluster.hcl"]))
	path := filepath.Join(dir, "hb1")
	if got := haadm(t, none, nil, "storage", "heartbeat", "init", path, "--create", "--yes"); got.code != exitFailed || !strings.Contains(got.errOut, "--cluster-id UUID --policy PATH") {
		t.Errorf("no agent, no flags: exit %d\n%s", got.code, got.errOut)
	}
	if got := haadm(t, none, nil, "storage", "heartbeat", "init", path, "--create", "--yes", "--policy", policy); got.code != exitUsage {
		t.Errorf("one flag of two: exit %d\n%s", got.code, got.errOut)
	}
	if got := haadm(t, none, nil, "storage", "heartbeat", "init", path, "--create", "--yes", "--policy", policy, "--cluster-id", apitest.ClusterID); got.code != exitOK {
		t.Errorf("both flags: exit %d\n%s", got.code, got.errOut)
	}
	if got := haadm(t, agent(t, apitest.Healthy()), nil, "storage", "heartbeat", "verify", path); got.code != exitOK || !strings.Contains(got.out, "by host unknown") {
		t.Errorf("the agent of that cluster: exit %d\n%s%s", got.code, got.out, got.errOut)
	}
}

// Without arguments the volumes of the policy are verified, and a name of it is
// as good as a path.
func TestVerifyByPolicy(t *testing.T) {
	const policy = "cluster \"basement\" {\n  schema = 1\n}\n\ntiming {\n  profile = \"fast\"\n}\n"
	b := apitest.Healthy()
	b.St.Policy.Files = map[string][]byte{"cluster.hcl": []byte(policy)}
	none := agent(t, b)
	if got := haadm(t, none, nil, "storage", "heartbeat", "verify"); got.code != exitFailed || !strings.Contains(got.errOut, "names no heartbeat volume") {
		t.Errorf("a policy without volumes: exit %d\n%s%s", got.code, got.out, got.errOut)
	}
	good, missing := used(t), filepath.Join(folder(t), "away")
	b = apitest.Healthy()
	b.Change(func() {
		st := *b.St
		st.Policy.Files = map[string][]byte{"cluster.hcl": fmt.Appendf(nil, "%s\nheartbeat_volume \"san\" {\n  path = %q\n}\nheartbeat_volume \"nfs\" {\n  path = %q\n}\n", policy, good, missing)}
		b.St = &st
	})
	socket := agent(t, b)
	all := haadm(t, socket, nil, "storage", "heartbeat", "verify")
	if all.code != exitNo || !strings.Contains(all.out, "san ("+good+"): can be used") || !strings.Contains(all.out, "nfs (") || !strings.Contains(strings.Join(strings.Fields(all.out), " "), "Is the storage mounted") {
		t.Errorf("all of the policy: exit %d\n%s%s", all.code, all.out, all.errOut)
	}
	if words := haadm(t, socket, nil, "storage", "heartbeat", "verify", completeFlag); !strings.HasPrefix(words.out, "san\nnfs\n") {
		t.Errorf("names to complete with: %q", words.out)
	}
	if one := haadm(t, socket, nil, "storage", "heartbeat", "verify", "san"); one.code != exitOK || strings.Contains(one.out, "nfs") {
		t.Errorf("one by its name: exit %d\n%s%s", one.code, one.out, one.errOut)
	}
}

func TestBlockName(t *testing.T) {
	for in, want := range map[string]string{"hb1": "hb1", ".holdfast-heartbeat": "holdfast-heartbeat", "wwn-0x6001405:part1": "wwn-0x6001405-part1", "größe": "gr--e", "...": "hb", "": "hb", strings.Repeat("x", 99): strings.Repeat("x", 64)} {
		got := blockName(in)
		if got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
		if _, err := config.ParsePolicy(map[string][]byte{"c.hcl": fmt.Appendf(nil, "cluster \"a\" {\n  schema = 1\n}\nheartbeat_volume %q {\n  path = \"/x\"\n}\n", got)}); err != nil {
			t.Errorf("%q cannot be in a policy: %v", got, err)
		}
	}
}

// A volume that hangs is told of, and can be given up.
func TestStorageThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out shared
		p := &program{stderr: &out}
		ctx, cancel := context.WithTimeout(t.Context(), patience+time.Minute)
		defer cancel()
		answers := make(chan struct{})
		began := time.Now()
		_, err := patiently(ctx, p, "/srv/ha/hb1", func() (int, error) { <-answers; return 0, nil })
		close(answers)
		if err == nil || !strings.Contains(err.Error(), "/srv/ha/hb1") || time.Since(began) > patience+time.Minute+2*time.Second {
			t.Errorf("given up after %v: %v", time.Since(began), err)
		}
		if !strings.Contains(out.String(), "has not answered for 5s") {
			t.Errorf("a person was told %q", out.String())
		}
	})
}

func TestOdd(t *testing.T) {
	timing, _ := lease.Profile("fast")
	at := func(age time.Duration, h format.Heartbeat, host format.UUID) format.Found[format.Heartbeat] {
		return format.Found[format.Heartbeat]{OK: true, Value: h, Origin: format.Origin{Host: host, Wall: apitest.Now.Add(-age)}}
	}
	fresh := volumeSlot{slot: 0, heartbeat: at(100*time.Millisecond, beat(0, 9), hostID(t, 0))}
	members := map[format.UUID]string{hostID(t, 0): "kvm1", hostID(t, 1): "kvm2"}
	other := beat(1, 9)
	other.Lease = 2 * time.Second
	clean := beat(1, 9)
	clean.Flags |= format.FlagCleanExit
	renamed := beat(1, 9)
	renamed.Name = "kvm9"
	for _, tc := range []struct {
		name  string
		slots int
		names map[format.UUID]string
		slot  volumeSlot
		want  string // empty: nothing is odd
	}{
		{"well", 8, members, volumeSlot{slot: 1, heartbeat: at(0, beat(1, 9), hostID(t, 1))}, ""},
		{"no agent asked", 8, nil, volumeSlot{slot: 1, heartbeat: at(0, beat(1, 9), hostID(t, 1))}, ""},
		{"a stranger", 8, members, volumeSlot{slot: 1, heartbeat: at(0, beat(1, 9), hostID(t, 2))}, "host kvm2 (slot 1) is no member of the cluster"},
		{"another name", 8, members, volumeSlot{slot: 1, heartbeat: at(0, renamed, hostID(t, 1))}, "host kvm9 (slot 1) has the identity of member kvm2"},
		{"another timing", 8, members, volumeSlot{slot: 1, heartbeat: at(0, other, hostID(t, 1))}, "lease 2s instead of 1.2s"},
		{"silent for long", 8, members, volumeSlot{slot: 1, heartbeat: at(time.Minute, beat(1, 9), hostID(t, 1))}, "host kvm2 (slot 1) last wrote 60s ago"},
		{"ended in good order", 8, members, volumeSlot{slot: 1, heartbeat: at(time.Minute, clean, hostID(t, 1))}, ""},
		{"a clock ahead", 8, members, volumeSlot{slot: 1, heartbeat: at(-time.Minute, beat(1, 9), hostID(t, 1))}, "wrote 60s in the future"},
		{"too small", 1, members, volumeSlot{slot: 1}, "it has room for 1 hosts"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := &volume{slots: []volumeSlot{fresh, tc.slot}}
			v.super.Value.Slots = tc.slots
			got := strings.Join(odd(v, volumeOwner{timing: timing, names: tc.names}, apitest.Now), "\n")
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("found %q, want %q", got, tc.want)
			}
		})
	}
}
