package device

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-ha/holdfast/config"
)

// These tests use the agents of the distribution (.ci/packages). Where those are
// not installed they are skipped.

// need skips the test unless all these programs are there.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		path := p
		if agentName.MatchString(p) {
			path = filepath.Join(AgentDir, p)
		}
		if _, err := exec.LookPath(path); err != nil {
			t.Skipf("%s is not installed: .ci/install test", p)
		}
	}
}

// realDevice is a device with an agent of the distribution, checked by Validate.
func realDevice(t *testing.T, agent, password string, options map[string]string) *Device {
	t.Helper()
	r := NewRunner(Config{BootClock: func() time.Duration { return time.Hour }, Pretend: true})
	d, err := r.Device("bmc", config.Fence{Agent: agent, Options: options, Password: password, Timeout: 20 * time.Second, Attempts: 1, Check: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// cycle switches a host off twice and on again, with a check after each.
func cycle(t *testing.T, d *Device) {
	t.Helper()
	check := func(want Power) {
		t.Helper()
		if s := d.Check(t.Context()); !s.OK || s.Power != want {
			t.Fatalf("want power %s: %+v", want, s)
		}
	}
	check(PowerOn)
	for _, said := range []string{"Powered OFF", "Already OFF"} {
		r := Levels{{d}}.Off(t.Context())
		if !r.Confirmed || r.At != time.Hour || !strings.Contains(r.Evidence, said) {
			t.Fatalf("want it off with %q: %+v", said, r)
		}
		t.Log(r.Evidence)
		check(PowerOff)
	}
	if err := (Levels{{d}}).On(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	check(PowerOn)
}

func TestDescribeRealAgents(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"fence_dummy", "fence_ipmilan", "fence_redfish", "fence_apc_snmp", "fence_pve", "fence_scsi"} {
		t.Run(name, func(t *testing.T) {
			need(t, name)
			r := NewRunner(Config{})
			a, err := r.Describe(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if p := a.Parameter("action"); p == nil || p.Refused == "" || !a.Does("off") || len(a.names()) < 5 {
				t.Errorf("%+v", a)
			}
			if err := r.fit(name, a); (err == nil) != (name != "fence_dummy" && name != "fence_scsi") {
				t.Errorf("fit to prove a host off: %v", err)
			}
		})
	}
}

func TestDummy(t *testing.T) {
	t.Parallel()
	need(t, "fence_dummy")
	// Which file it uses cannot be set by an option of the policy, so the test takes the
	// way around, as nobody else can.
	file := filepath.Join(t.TempDir(), "power")
	if err := os.WriteFile(file, []byte("on"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := realDevice(t, "fence_dummy", "", nil)
	d.spec.Options = map[string]string{"status_file": file}
	cycle(t, d)
	d.spec.Options["type"], d.spec.Options["power_timeout"] = "fail", "1"
	if r := (Levels{{d}}).Off(t.Context()); r.Confirmed {
		t.Errorf("its type \"fail\" has switched something off: %+v", r)
	}
}

// simulator starts ipmi_sim, a controller with IPMI over LAN on loopback, and
// returns its port and the file that holds its host's power (1 or 0).
func simulator(t *testing.T) (port, power string) {
	t.Helper()
	need(t, "fence_ipmilan", "ipmitool", "ipmi_sim")
	dir := t.TempDir()
	power = filepath.Join(dir, "power")
	probe, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = fmt.Sprint(probe.LocalAddr().(*net.UDPAddr).Port)
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	auths := ""
	for _, level := range []string{"callback", "user", "operator", "admin"} {
		auths += "  allowed_auths_" + level + " none md2 md5 straight\n"
	}
	for name, text := range map[string]string{
		"power": "1\n",
		"chassis": "#!/bin/sh\nshift\nwhile [ $# -gt 1 ]; do\n  case $1:$2 in\n  get:power) echo power:$(cat " + power + "); shift 2;;\n" +
			"  set:power) echo $3 >" + power + "; shift 3;;\n  *) exit 1;;\n  esac\ndone\n",
		"lan.conf": "name \"host\"\nset_working_mc 0x20\nstartlan 1\n  addr 127.0.0.1 " + port + "\n  priv_limit admin\n" + auths +
			"  guid a123456789abcdefa123456789abcdef\nendlan\nchassis_control \"" + filepath.Join(dir, "chassis") + " 0x20\"\n" +
			"user 1 true \"\" \"\" user 10 none md2 md5 straight\nuser 2 true \"ha\" \"s3cret!\" admin 10 none md2 md5 straight\n",
		"commands": "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("ipmi_sim", "-n", "-c", filepath.Join(dir, "lan.conf"), "-f", filepath.Join(dir, "commands"), "-s", dir)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Errorf("kill ipmi_sim: %v", err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("ipmi_sim had ended by itself")
		}
		if t.Failed() {
			t.Logf("ipmi_sim said: %s", said.String())
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("ipmitool", "-I", "lanplus", "-C", "3", "-N", "1", "-R", "1", "-H", "127.0.0.1", "-p", port, "-U", "ha", "-P", "s3cret!", "chassis", "power", "status").CombinedOutput()
		if err == nil {
			return port, power
		}
		if time.Now().After(deadline) {
			t.Fatalf("ipmi_sim does not answer: %s", out)
		}
	}
}

func TestIPMI(t *testing.T) {
	t.Parallel()
	port, power := simulator(t)
	options := map[string]string{"ip": "127.0.0.1", "ipport": port, "lanplus": "true", "cipher": "3", "username": "ha", "power_wait": "0"}
	cycle(t, realDevice(t, "fence_ipmilan", "s3cret!", options))
	wrong := realDevice(t, "fence_ipmilan", "wr0ng", options)
	r := Levels{{wrong}}.Off(t.Context())
	s := wrong.Check(t.Context())
	if r.Confirmed || s.OK || s.Power != PowerUnknown || strings.Contains(r.Evidence+s.Text, "wr0ng") {
		t.Errorf("with a wrong password: %+v\n%+v", r, s)
	}
	if text, err := os.ReadFile(power); err != nil || strings.TrimSpace(string(text)) != "1" {
		t.Errorf("with a wrong password the power became %q (%v)", text, err)
	}
	t.Log(r.Evidence)
}

// A controller that never answers: the case of a host without any power.
func TestIPMINobodyThere(t *testing.T) {
	t.Parallel()
	need(t, "fence_ipmilan", "ipmitool")
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	d := realDevice(t, "fence_ipmilan", "x", map[string]string{"ip": "127.0.0.1", "ipport": fmt.Sprint(silent.LocalAddr().(*net.UDPAddr).Port), "lanplus": "1", "username": "ha"})
	d.spec.Timeout = 2 * time.Second
	begin := time.Now()
	r := Levels{{d}}.Off(t.Context())
	if took := time.Since(begin); r.Confirmed || took > d.Bound() || !strings.Contains(r.Evidence, "killed after 2s") {
		t.Errorf("after %v, the bound is %v: %+v", took, d.Bound(), r)
	}
}

// redfish is a small controller that speaks Redfish.
type redfish struct {
	mu     sync.Mutex
	state  string   // PowerState
	resets []string // what was asked for
	stuck  bool     // takes the order, and does nothing
	hangs  chan struct{}
}

func (s *redfish) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	hangs := s.hangs
	s.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	answer := func(code int, body any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if err := json.NewEncoder(w).Encode(body); err != nil {
			panic(http.ErrAbortHandler) // the agent was killed
		}
	}
	if user, word, _ := r.BasicAuth(); user != "ha" || word != "secret" {
		answer(http.StatusUnauthorized, map[string]any{"error": map[string]any{"code": "Base.1.0.NoValidSession"}})
		return
	}
	link := func(to string) map[string]any { return map[string]any{"@odata.id": to} }
	s.mu.Lock()
	defer s.mu.Unlock()
	const system = "/redfish/v1/Systems/1"
	switch r.Method + " " + strings.TrimSuffix(r.URL.Path, "/") {
	case "GET /redfish/v1":
		answer(http.StatusOK, map[string]any{"Systems": link("/redfish/v1/Systems")})
	case "GET /redfish/v1/Systems":
		answer(http.StatusOK, map[string]any{"Members": []any{link(system)}})
	case "GET " + system:
		answer(http.StatusOK, map[string]any{"PowerState": s.state, "Actions": map[string]any{"#ComputerSystem.Reset": map[string]any{"target": system + "/Actions/ComputerSystem.Reset"}}})
	case "POST " + system + "/Actions/ComputerSystem.Reset":
		var body struct{ ResetType string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			answer(http.StatusBadRequest, map[string]any{})
			return
		}
		s.resets = append(s.resets, body.ResetType)
		if to := map[string]string{"ForceOff": "Off", "On": "On"}[body.ResetType]; to != "" && !s.stuck {
			s.state = to
		}
		answer(http.StatusOK, map[string]any{})
	default:
		answer(http.StatusNotFound, map[string]any{})
	}
}

// seen is the power, and what was asked for.
func (s *redfish) seen() (state, resets string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, strings.Join(s.resets, " ")
}

func TestRedfish(t *testing.T) {
	t.Parallel()
	need(t, "fence_redfish")
	fake := &redfish{state: "On"}
	server := httptest.NewUnstartedServer(fake)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	server.StartTLS()
	defer server.Close()
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	device := func(password, insecure string) *Device {
		return realDevice(t, "fence_redfish", password, map[string]string{"ip": host, "ipport": port, "username": "ha",
			"systems_uri": "/redfish/v1/Systems/1", "ssl_insecure": insecure, "power_timeout": "2"})
	}
	cycle(t, device("secret", "true"))
	if _, got := fake.seen(); got != "ForceOff On" {
		t.Errorf("asked for %q, want ForceOff, nothing for what is off already, then On", got)
	}
	never := func(what string, d *Device) {
		t.Helper()
		r := Levels{{d}}.Off(t.Context())
		if is, _ := fake.seen(); r.Confirmed || is != "On" {
			t.Errorf("%s: power is %s: %+v", what, is, r)
		}
		t.Logf("%s: %s", what, r.Evidence)
	}
	never("wrong password", device("wrong", "true"))
	never("certificate of nobody", device("secret", "false"))
	fake.mu.Lock()
	fake.stuck = true
	fake.mu.Unlock()
	never("order without effect", device("secret", "true"))
	release := make(chan struct{})
	defer close(release)
	fake.mu.Lock()
	fake.hangs = release
	fake.mu.Unlock()
	hung := device("secret", "true")
	hung.spec.Timeout = 2 * time.Second
	never("no answer", hung)
}
