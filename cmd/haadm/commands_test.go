package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/cluster/api"
	"github.com/holdfast-ha/holdfast/cluster/api/apitest"
	"github.com/holdfast-ha/holdfast/fsm"
)

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExitStatus(t *testing.T) {
	for _, tc := range []struct {
		err  error
		args string
		want int
	}{
		{nil, "cluster leave kvm3 --yes", exitOK},
		{errors.New("disk full"), "cluster leave kvm3 --yes", exitFailed},
		{api.ErrNoMaster, "cluster leave kvm3 --yes", exitNoMaster},
		{fmt.Errorf("%w: kvm3 is the last voter that keeps quorum", api.ErrRefused), "cluster leave kvm3 --yes", exitRefused},
		{&fsm.Refusal{Code: fsm.CodeInvalid, Message: "kvm3 still owns web-1"}, "cluster leave kvm3 --yes", exitRefused},
		{&fsm.Refusal{Code: fsm.CodeDenied, Message: "token used"}, "cluster token revoke t1", exitNotAllowed},
		{api.ErrUnknownOutcome, "cluster leave kvm3 --yes", exitFailed},
		{nil, "vms show nothing", exitFailed},
		{nil, "wait vm db1 stopped --timeout 1ms", exitNo},
		{nil, "events --since yesterday", exitUsage},
		{nil, "events --limit=-1", exitUsage},
		{nil, "events --limit many", exitUsage},
		{nil, "wait for better times", exitUsage},
		{nil, "status -o xml", exitUsage},
		{nil, "hosts show", exitUsage},
		{nil, "completion tcsh", exitUsage},
		{nil, "--help", exitOK},
		{nil, "vms show --help", exitOK},
		{nil, "version", exitOK},
	} {
		t.Run(tc.args+fmt.Sprint(" ", tc.err), func(t *testing.T) {
			b := apitest.Healthy()
			b.Err = tc.err
			got := haadm(t, agent(t, b), nil, strings.Fields(tc.args)...)
			if got.code != tc.want {
				t.Errorf("exit %d, want %d\n%s%s", got.code, tc.want, got.out, got.errOut)
			}
			if tc.want != exitOK && tc.want != exitNo && got.errOut == "" {
				t.Error("it fails without a word")
			}
		})
	}
}

func TestNoAgent(t *testing.T) {
	got := haadm(t, filepath.Join(t.TempDir(), "none"), nil, "status")
	if got.code != exitFailed || !strings.Contains(got.errOut, "no agent answers at SOCKET") || !strings.Contains(got.errOut, "systemctl status haagent") {
		t.Errorf("exit %d: %s", got.code, got.errOut)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	b := apitest.Healthy()
	b.Err = fmt.Errorf("%w: the last voter", api.ErrRefused)
	got := haadm(t, agent(t, b), nil, "cluster", "leave", "kvm3", "--yes", "--json")
	var e struct {
		Schema int
		Error  api.Error
	}
	plan, body, _ := strings.Cut(got.errOut, "\n{")
	if err := json.Unmarshal([]byte("{"+body), &e); err != nil || e.Schema != 1 || e.Error.Code != api.CodeRefused || got.out != "" {
		t.Errorf("plan %q, error %q (%v), output %q, want JSON with code refused on standard error alone", plan, body, err, got.out)
	}
}

// TestJSONHasWhatPeopleSee reads the JSON back into the API's own types.
func TestJSONHasWhatPeopleSee(t *testing.T) {
	socket := agent(t, apitest.HostLost())
	var st api.Status
	if err := json.Unmarshal([]byte(haadm(t, socket, nil, "status", "--json").out), &st); err != nil {
		t.Fatal(err)
	}
	if st.Schema != 1 || st.Cluster.Name != "basement" || len(st.Hosts) != 3 || len(st.Problems) != 4 || !st.Source.Fresh {
		t.Errorf("status as JSON: %+v", st)
	}
}

func TestStorageAsJSON(t *testing.T) {
	socket := agent(t, apitest.StorageTrouble())
	var all, one api.StorageAnswer
	for line, a := range map[string]*api.StorageAnswer{"storage list": &all, "storage show spare": &one} {
		if got := haadm(t, socket, nil, append(strings.Fields(line), "-o", "json")...); json.Unmarshal([]byte(got.out), a) != nil || got.code != exitOK {
			t.Fatalf("%s: exit %d\n%s%s", line, got.code, got.out, got.errOut)
		}
	}
	if len(all.Volumes) != 3 || all.Set.Takeover != 1 || all.Set.Proof != 2 || len(all.Problems) != 4 || len(all.Volumes[1].Hosts) != 3 || all.Volumes[1].Hosts[2].Error == "" {
		t.Errorf("storage list as JSON: %+v", all)
	}
	if len(one.Volumes) != 1 || one.Volumes[0].Name != "spare" || one.Volumes[0].Why == "" {
		t.Errorf("storage show spare as JSON: %+v", one)
	}
}

// shared is a buffer that one goroutine writes while another reads.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestFollow(t *testing.T) {
	b := apitest.Healthy()
	var out, errOut shared
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &errOut, environ: []string{"HAADM_SOCKET=" + agent(t, b)}, now: func() time.Time { return apitest.Now }, zone: time.UTC}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	go func() { done <- p.run(ctx, []string{"events", "--follow", "--limit", "1"}) }()
	until := func(text string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), text); {
			if time.Now().After(deadline) {
				t.Fatalf("%q never came; so far:\n%s%s", text, out.String(), errOut.String())
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	until("mail is protected")
	b.Emit(fsm.Event{At: apitest.Now, Type: fsm.EventHostDead, Severity: fsm.Critical, Host: "kvm1", Text: "kvm1 is dead"})
	until("  105  11-22 10:00:00.0  critical  kvm1 is dead\n")
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("interrupted: exit %d, want %d\n%s", code, exitOK, errOut.String())
	}
	if strings.Contains(out.String(), "db1 is protected") {
		t.Errorf("--limit 1 shows more than one old event:\n%s", out.String())
	}
}

func TestPolicy(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cluster.hcl")
	now := string(apitest.Healthy().St.Policy.Files["cluster.hcl"])
	run := func(b *apitest.Backend, args ...string) answer {
		got := haadm(t, agent(t, b), nil, args...)
		got.out, got.errOut = strings.ReplaceAll(got.out, dir, "DIR"), strings.ReplaceAll(got.errOut, dir, "DIR")
		return got
	}
	var text strings.Builder
	for _, step := range []struct{ title, hcl, args string }{
		{"the same", now, "config plan PATH --detailed-exit-code"},
		{"the same", now, "config apply PATH --yes"},
		{"slower, one VM more, one less", strings.NewReplacer(`"fast"`, `"patient"`, `vm "mail" {}`, `vm "build" {}`).Replace(now), "config plan PATH"},
		{"the same again", "", "config plan PATH --detailed-exit-code"},
		{"the same again", "", "config apply PATH"},
		{"the same again", "", "config apply PATH --yes"},
		{"the same again", "", "config apply PATH --yes --cas-revision 11"},
		{"the same again", "", "config validate PATH"},
		{"room for three failures, enforced", now + "\nadmission_control {\n  mode = \"enforce\"\n  host_failures {\n    tolerate = 3\n  }\n}\n", "config plan PATH"},
		{"the same again", "", "config apply PATH --yes"},
		{"the same again", "", "config apply PATH --yes --even-if-no-spare"},
		{"room for two failures, with a warning", now + "\nadmission_control {\n  host_failures {\n    tolerate = 2\n  }\n}\n", "config apply PATH --yes"},
		{"another cluster's", strings.Replace(now, "basement", "attic", 1), "config plan PATH"},
		{"wrong", strings.Replace(now, "profile", "porfile", 1), "config validate PATH"},
		{"wrong", "", "config apply PATH --yes"},
		{"untidy", "cluster \"basement\" {\nschema=1\n}\n", "config fmt --check PATH"},
		{"untidy", "", "config fmt PATH"},
		{"tidy now", "", "config fmt --check PATH"},
		{"missing", "", "config validate PATH.not"},
	} {
		if step.hcl != "" {
			write(t, path, step.hcl)
		}
		got := run(apitest.Healthy(), strings.Fields(strings.ReplaceAll(step.args, "PATH", path))...)
		fmt.Fprintf(&text, "# %s\n$ haadm %s\n%s", step.title, strings.ReplaceAll(step.args, "PATH", "DIR/cluster.hcl"), got.out)
		for _, l := range strings.SplitAfter(got.errOut, "\n") {
			if l != "" {
				fmt.Fprintf(&text, "2> %s", l)
			}
		}
		fmt.Fprintf(&text, "exit %d\n\n", got.code)
	}
	golden(t, "policy.txt", text.String())
}

func TestFmtLeavesAllWhenOneIsBroken(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.hcl"), "x=1\n")
	write(t, filepath.Join(dir, "b.hcl"), "x = {\n")
	got := haadm(t, "", nil, "config", "fmt", dir)
	a, err := os.ReadFile(filepath.Join(dir, "a.hcl"))
	if err != nil || got.code != exitFailed || string(a) != "x=1\n" {
		t.Errorf("exit %d, %v, the whole file is now %q", got.code, err, a)
	}
}

func TestTerminalIsNotDriven(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "\x1b[31mred\x1b[0m": "\x1b[31mred\x1b[0m", "\x1b]0;title\x07x": "]0;titlex", "\x1b[2Jx": "[2Jx", "a\rb\x00c": "abc", "\x1b[3;m": "\x1b[3;m", "\x1b": "",
	} {
		if got := harmless(in); got != want {
			t.Errorf("harmless(%q) is %q, want %q", in, got, want)
		}
	}
}

func TestCompletion(t *testing.T) {
	socket := agent(t, apitest.Healthy())
	for line, want := range map[string]string{
		"":                      "status hosts vms",
		"vms":                   "list show",
		"vms show":              "db1 db2 mail web-1",
		"protect":               "build old-mail",
		"storage show":          "san nfs",
		"cluster leave":         "kvm1 kvm2 kvm3",
		"wait":                  "settled quorum host vm",
		"wait vm":               "db1 db2 mail web-1",
		"events --vm":           "",
		"nonsense":              "",
		"vms list --protected ": "--protected",
	} {
		got := strings.Fields(haadm(t, socket, nil, append(strings.Fields(line), completeFlag)...).out)
		if joined := strings.Join(got, " "); !strings.HasPrefix(joined, want) || want == "" && joined != "" {
			t.Errorf("after %q come %q, want %q first", line, joined, want)
		}
	}
	if got := haadm(t, socket, nil, "completion", "bash"); !strings.Contains(got.out, "complete -o default -F _haadm haadm") {
		t.Errorf("no bash script: %+v", got)
	}
}

// blocked is a terminal at which nobody types, until it is closed. It says that somebody
// waits for an answer.
type blocked struct {
	asked func()
	until chan struct{}
}

func (b blocked) Read([]byte) (int, error) {
	b.asked()
	<-b.until
	return 0, io.EOF
}

func (blocked) Terminal() bool { return true }

func TestInterruptAtTheQuestion(t *testing.T) {
	b := apitest.Healthy()
	var out, errOut shared
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	in := blocked{asked: cancel, until: make(chan struct{})}
	defer close(in.until)
	p := &program{stdin: in, stdout: &out, stderr: &errOut, environ: []string{"HAADM_SOCKET=" + agent(t, b)}, now: time.Now, zone: time.UTC}
	if code := p.run(ctx, []string{"protect", "build"}); code != exitFailed || len(b.Did()) != 0 || !strings.Contains(errOut.String(), "nothing was changed") {
		t.Errorf("interrupted at the question: exit %d, did %q: %s", code, b.Did(), errOut.String())
	}
}
