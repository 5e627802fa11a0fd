package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestViewAnnouncesChanges(t *testing.T) {
	r := newCluster(t)
	closed := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	_, index, changed := r.m.View()
	if index != uint64(len(r.log)) || closed(changed) {
		t.Fatalf("index %d, changed %v; want %d and no change yet", index, closed(changed), len(r.log))
	}
	r.raw([]byte("refused"))
	_, index, next := r.m.View()
	if index != uint64(len(r.log)) || !closed(changed) || closed(next) {
		t.Errorf("after an entry: index %d, changed %v, changed again %v; want %d, true, false", index, closed(changed), closed(next), len(r.log))
	}
	if err := r.m.Restore(bytes.NewReader(snapshot(t, newCluster(t).m))); err != nil {
		t.Fatal(err)
	}
	if !closed(next) {
		t.Error("a restore is not announced")
	}
}

func TestSnapshotRoundTrips(t *testing.T) {
	full := newCluster(t)
	machines := map[string]*Machine{"empty": New(), "cluster": full.m}
	for name, m := range machines {
		t.Run(name, func(t *testing.T) {
			snap := snapshot(t, m)
			want, index, _ := m.View()
			readers := map[string]io.Reader{
				"buffer":       bytes.NewReader(snap),
				"plain reader": struct{ io.Reader }{bytes.NewReader(snap)}, // as a file or a connection: no look-ahead
				"byte by byte": iotest.OneByteReader(bytes.NewReader(snap)),
			}
			for how, r := range readers {
				got := New()
				if err := got.Restore(r); err != nil {
					t.Errorf("%s: %v", how, err)
					continue
				}
				s, i, _ := got.View()
				if diff := cmp.Diff(text(t, want), text(t, s)); diff != "" || i != index {
					t.Errorf("%s: index %d of %d, state (-want +got):\n%s", how, i, index, diff)
				}
				if again := snapshot(t, got); !bytes.Equal(snap, again) {
					t.Errorf("%s: the snapshot of what was restored differs:\n%s", how, cmp.Diff(string(snap), string(again)))
				}
			}
		})
	}
}

// A snapshot holds the moment at which it was taken, however late it is written.
func TestSnapshotIsOfItsMoment(t *testing.T) {
	r := newCluster(t)
	want := snapshot(t, r.m)
	write, err := r.m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1})
	r.must(&Unprotect{Meta: r.meta(), UUID: uuid(2)})
	r.must(&RevokeToken{Meta: r.meta(), ID: "free"})
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("later commands are in it:\n%s", diff)
	}
}

func TestSnapshotReportsWriteErrors(t *testing.T) {
	write, err := newCluster(t).m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	for _, room := range []int{0, 100} {
		if err := write(&limitedWriter{room: room, err: full}); !errors.Is(err, full) {
			t.Errorf("with room for %d bytes: error %v, want %v", room, err, full)
		}
	}
}

type limitedWriter struct {
	room int
	err  error
}

func (w *limitedWriter) Write(b []byte) (int, error) {
	if len(b) > w.room {
		return w.room, w.err
	}
	w.room -= len(b)
	return len(b), nil
}

func TestRestoreRefusesAndKeepsTheState(t *testing.T) {
	good := string(snapshot(t, newCluster(t).m))
	header := func(format string) string {
		_, rest, _ := strings.Cut(good, "\n")
		return fmt.Sprintf("%s %s 30\n%s", snapshotMagic, format, rest)
	}
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the snapshot does not hold %q:\n%s", old, good)
		}
		return strings.Replace(good, old, new, 1)
	}
	body := func(json string) string { return fmt.Sprintf("%s %d 7\n%s\n", snapshotMagic, Format, json) }
	tests := []struct{ name, snap, says string }{
		{"empty", "", "not a snapshot"},
		{"something else", "PK\x03\x04 1 2\n{}", "not a snapshot"},
		{"no end of the first line", strings.Repeat("x", 1<<20), "not a snapshot"},
		{"header with more", strings.Replace(good, "\n", " 9\n", 1), "not a snapshot"},
		{"negative index", "holdfast-state 1 -1\n{}\n", "not a snapshot"},
		{"newer format", header("2"), "snapshot has format 2, this member knows up to 1: upgrade it"},
		{"newer format, body unlike ours", "holdfast-state 9 5\n\x00\x01binary", "format 9"},
		{"format 0", header("0"), "format 0"},
		{"negative format", header("-3"), "format -3"},
		{"unknown field", swap(`{"cluster":`, `{"no_such":[],"cluster":`), `unknown field "no_such"`},
		{"null", body("null"), "not an object"},
		{"second object", good + "{}\n", "after its end"},
		{"trailing byte", good + "x", "after its end"},
		{"host without value", body(`{"hosts":{"a":null}}`), `host "a"`},
		{"VM without value", body(`{"vms":{"` + uuid(1) + `":null}}`), `VM "` + uuid(1)},
		{"token without value", body(`{"tokens":{"t":null}}`), `token "t"`},
		{"host under another name", swap(`"c":{"name":"c"`, `"c":{"name":"b"`), `host "c"`},
		{"VM under another UUID", swap(`{"uuid":"`+uuid(1), `{"uuid":"`+uuid(2)), `VM "` + uuid(1)},
		{"token under another id", swap(`"free":{"id":"free"`, `"free":{"id":"past"`), `token "free"`},
		{"dead owner", swap(`"owner":{"host":"b","incarnation":1`, `"owner":{"host":"d","incarnation":1`), "vm1 is owned by d (incarnation 1), which is not live"},
		{"owner of an old incarnation", swap(`"owner":{"host":"b","incarnation":1`, `"owner":{"host":"b","incarnation":2`), "vm1 is owned by b (incarnation 2), which is not live"},
		{"owner of another generation", swap(`"incarnation":1,"generation":1,"phase":"running"`, `"incarnation":1,"generation":2,"phase":"running"`), "vm1 is at generation 1, its owner at 2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newCluster(t)
			r.must(&TakeOffice{Meta: r.meta(), Master: "b", Epoch: 2})
			before, index, _ := r.m.View()
			err := r.m.Restore(strings.NewReader(tt.snap))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v does not say %q", err, tt.says)
			}
			if after, i, _ := r.m.View(); after != before || i != index {
				t.Error("the old state was not kept")
			}
		})
	}
	for n := 0; n < len(good); n++ {
		if n > 200 && n < len(good)-200 {
			n += 12
		}
		if err := New().Restore(strings.NewReader(good[:n])); err == nil {
			t.Fatalf("a snapshot cut after %d of %d bytes was restored", n, len(good))
		}
	}
	broken := errors.New("connection reset")
	if err := New().Restore(io.MultiReader(strings.NewReader(good[:len(good)/2]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("error %v of a reader that broke, want %v", err, broken)
	}
}

// testdata holds the log and the snapshot of the first format, as the first
// version wrote them. Every later version reads both and comes to the same state:
// never write these files anew, add the next format's beside them.
func TestFormat1IsReadForEver(t *testing.T) {
	logFile, snapFile := filepath.Join("testdata", "format1.log"), filepath.Join("testdata", "format1.snapshot")
	if os.Getenv("HOLDFAST_WRITE_GOLDEN") == "format1" {
		r := newCluster(t)
		ev := []Evidence{{Signal: "heartbeat over mgmt", Value: "silent", Age: 1600 * time.Millisecond, By: "a"}}
		r.must(&SetVerdict{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Verdict: "suspect", Evidence: ev, Text: "b is silent"})
		r.must(&DeclareDead{Meta: r.meta(), Epoch: 1, Host: "b", Incarnation: 1, Heard: r.meta().At.Add(-15 * time.Second), Evidence: ev, Text: "b is dead"})
		r.must(&Assign{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Previous: 0, Host: "a", Incarnation: 1, Why: "most free memory"})
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Host: "a", Incarnation: 1, Generation: 1, Outcome: OutcomeStartFailed, Detail: "no bridge br0"})
		r.must(&SetWaiting{Meta: r.meta(), Epoch: 1, UUID: uuid(2), Why: "no host has br0"})
		r.must(&Report{Meta: r.meta(), Epoch: 1, UUID: uuid(6), Host: "a", Incarnation: 1, Generation: 2, Outcome: OutcomeRunning})
		r.must(&Adopt{Meta: r.meta(), Epoch: 1, UUID: uuid(3), Previous: 0, Host: "a", Incarnation: 1})
		r.must(&ApplyPolicy{Meta: r.meta(), Files: map[string][]byte{"cluster.hcl": []byte("timing { profile = \"fast\" }")}})
		for _, c := range samples() { // in this state most are refused: that must stay so, too
			r.do(c)
		}
		var b bytes.Buffer
		for _, e := range r.log {
			fmt.Fprintf(&b, "%d %d %s\n", e[0], e[1], e[2:])
		}
		writeFile(t, logFile, b.Bytes())
		writeFile(t, snapFile, snapshot(t, r.m))
	}
	lines := strings.Split(strings.TrimSuffix(readFile(t, logFile), "\n"), "\n")
	m := New()
	for i, line := range lines {
		var version, typ byte
		if _, err := fmt.Sscanf(line, "%d %d ", &version, &typ); err != nil {
			t.Fatalf("%s line %d: %v", logFile, i+1, err)
		}
		entry := append([]byte{version, typ}, strings.SplitN(line, " ", 3)[2]...)
		if res := m.Apply(uint64(i+1), entry).(Result); res.Refusal != nil && res.Refusal.Code == CodeBadCommand {
			t.Errorf("entry %d cannot be read any more: %s", i+1, res.Refusal.Message)
		}
	}
	golden := readFile(t, snapFile)
	restored := New()
	if err := restored.Restore(strings.NewReader(golden)); err != nil {
		t.Fatalf("restore %s: %v", snapFile, err)
	}
	want, wantIndex, _ := restored.View()
	got, index, _ := m.View()
	if diff := cmp.Diff(text(t, want), text(t, got)); diff != "" || index != wantIndex {
		t.Errorf("the log of format 1 ends at index %d in another state than the snapshot of index %d (-snapshot +log):\n%s", index, wantIndex, diff)
	}
	if Format == 1 {
		if diff := cmp.Diff(golden, string(snapshot(t, restored))); diff != "" {
			t.Errorf("this version writes format 1 differently (-golden +now):\n%s", diff)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
