package fsm

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// samples is one command of every type with no field empty.
func samples() []Command {
	m := Meta{At: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600)), By: "ann"}
	ev := []Evidence{{Signal: "heartbeat over mgmt", Value: "silent", Age: 1600 * time.Millisecond, By: "a"}}
	files := map[string][]byte{"a.hcl": []byte("a"), "b.hcl": {0, 255}}
	return []Command{
		&CreateCluster{Meta: m, Cluster: Cluster{ID: uuid(1), Name: "prod", Created: day, CACert: []byte("c"), CAKey: []byte("k")}, Host: testHost("a", 1), Policy: files},
		&TakeOffice{Meta: m, Master: "a", Epoch: 1<<64 - 1},
		&CreateToken{Meta: m, Token: Token{ID: "t", Hash: secret("t"), Host: "b", Created: day, Expires: day.Add(24 * time.Hour), By: "ann"}},
		&RevokeToken{Meta: m, ID: "t"},
		&AddHost{Meta: m, TokenID: "t", SecretHash: secret("t"), Host: testHost("b", 2)},
		&RemoveHost{Meta: m, Host: "b"},
		&UpdateHost{Meta: m, Host: "b", Addresses: testHost("b", 2).Addresses},
		&BeginIncarnation{Meta: m, Epoch: 2, Host: "b", Previous: 3, BootID: "boot", Why: "rebooted"},
		&SetVerdict{Meta: m, Epoch: 2, Host: "b", Incarnation: 4, Verdict: "suspect", Evidence: ev, Text: "silent"},
		&DeclareDead{Meta: m, Epoch: 2, Host: "b", Incarnation: 4, Heard: day.Add(-time.Minute), Evidence: ev, Text: "dead"},
		&Protect{Meta: m, Epoch: 2, VM: testVM(1, IntentRun), Running: true, Host: "b", Incarnation: 4},
		&Unprotect{Meta: m, UUID: uuid(1)},
		&Redefine{Meta: m, Epoch: 2, UUID: uuid(1), Name: "vm", XML: []byte("x"), XMLHash: "h", VCPUs: 1, Memory: 1<<64 - 1},
		&Assign{Meta: m, Epoch: 2, UUID: uuid(1), Previous: 1<<64 - 1, Host: "b", Incarnation: 4, Why: "free <memory> & CPU", Considered: looked(1, 2, 70)},
		&Report{Meta: m, Epoch: 2, UUID: uuid(1), Host: "b", Incarnation: 4, Generation: 5, Outcome: OutcomeCrashed, Detail: "exit 1"},
		&SetIntent{Meta: m, UUID: uuid(1), Intent: IntentStop, Why: "maintenance"},
		&ApplyPolicy{Meta: m, Previous: 6, Files: files},
		&Record{Meta: m, Epoch: 2, Events: []Event{{Type: "disk_slow", Severity: Warning, Host: "b", VM: "vm", From: "x", To: "y", Text: "slow", Evidence: ev, By: "bob", Considered: looked(9, 10)}}},
		&SetWaiting{Meta: m, Epoch: 2, UUID: uuid(1), Why: "no memory", Considered: looked(1)[:1]},
		&Adopt{Meta: m, Epoch: 2, UUID: uuid(1), Previous: 7, Host: "b", Incarnation: 4},
		&ConfirmOff{Meta: m, Epoch: 2, Host: "b", Incarnation: 4, Heard: day, Evidence: ev, Text: "off"},
		&SetVolumes{Meta: m, Epoch: 2, Previous: 1, Volumes: []Volume{{Name: "hb1", Path: "/dev/hb1", ID: uuid(7)}}},
		&NoteVolumes{Meta: m, Epoch: 2, Host: "b", Incarnation: 4, Revision: 2},
		&NoteWatchdog{Meta: m, Epoch: 2, Host: "b", Incarnation: 4, Watchdog: Watchdog{Word: 2, Timeout: 3 * time.Second}},
		&BeginMove{Meta: m, Epoch: 2, UUID: uuid(1), Previous: 7, Host: "b", Incarnation: 4, Cold: true, Why: "maintenance", Considered: looked(1, 2)},
		&EndMove{Meta: m, Epoch: 2, UUID: uuid(1), Move: 30, Why: "too slow"},
		&SetMaintenance{Meta: m, Host: "b", On: true, Why: "new memory"},
		&RetryVM{Meta: m, UUID: uuid(1)},
		&HoldHost{Meta: m, Epoch: 2, Host: "b", Off: true},
		&StandAside{Meta: m, Epoch: 2, Host: "b", Why: "it holds less"},
		&RestartVM{Meta: m, UUID: uuid(1), Previous: 7, Why: "new kernel"},
		&NoteShutdown{Meta: m, Epoch: 3, Host: "a", Incarnation: 2, Reboot: true, Action: ShutdownMigrate, Rest: true},
		&DisarmCluster{Meta: m, For: 2 * time.Hour, Why: "new switches"},
		&ArmCluster{Meta: m, Why: "they are in", Over: 7, Epoch: 3},
		&WarnArms{Meta: m, Epoch: 3, Disarm: 7},
	}
}

func TestEveryCommandRoundTrips(t *testing.T) {
	all := samples()
	sampled := map[Type]bool{}
	for _, c := range all {
		sampled[c.kind()] = true
		b, err := Encode(c)
		if err != nil {
			t.Errorf("encode %T: %v", c, err)
			continue
		}
		got, err := Decode(b)
		if err != nil {
			t.Errorf("decode %T: %v\n%s", c, err, b[2:])
			continue
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%T came back changed (-want +got):\n%s", c, diff)
		}
		if again, err := Encode(got); err != nil || !bytes.Equal(b, again) {
			t.Errorf("%T is encoded differently the second time (%v):\n%s\n%s", c, err, b, again)
		}
	}
	for n := range 256 {
		if c := blank(Type(n)); c != nil && !sampled[Type(n)] {
			t.Errorf("no sample of %T", c)
		}
	}
}

func TestDecodeIsStrict(t *testing.T) {
	good, err := Encode(samples()[13])
	if err != nil {
		t.Fatal(err)
	}
	body := func(typ Type, json string) []byte { return append([]byte{commandVersion, byte(typ)}, json...) }
	tests := []struct {
		name string
		b    []byte
		says string
	}{
		{name: "nothing", b: nil, says: "too short"},
		{name: "one byte", b: good[:1], says: "too short"},
		{name: "no body", b: good[:2], says: "EOF"},
		{name: "version 0", b: append([]byte{0}, good[1:]...), says: "command version 0 is not known here (1 is): upgrade"},
		{name: "newer version", b: append([]byte{2}, good[1:]...), says: "command version 2"},
		{name: "type 0", b: body(0, "{}"), says: "command type 0 is not known"},
		{name: "newer type", b: body(200, "{}"), says: "command type 200 is not known"},
		{name: "unknown field", b: body(TypeAssign, `{"epoch":1,"generation":4}`), says: `unknown field "generation"`},
		{name: "wrong type of field", b: body(TypeAssign, `{"epoch":"one"}`), says: "epoch"},
		{name: "negative number", b: body(TypeAssign, `{"epoch":-1}`), says: "epoch"},
		{name: "number too large", b: body(TypeAssign, `{"epoch":18446744073709551616}`), says: "epoch"},
		{name: "fraction", b: body(TypeAssign, `{"epoch":1.5}`), says: "epoch"},
		{name: "second object", b: append(bytes.Clone(good), "{}"...), says: "bytes after its end"},
		{name: "trailing byte", b: append(bytes.Clone(good), 'x'), says: "bytes after its end"},
		{name: "trailing brace", b: append(bytes.Clone(good), '}'), says: "bytes after its end"},
		{name: "null", b: body(TypeApplyPolicy, `null`), says: "not an object"},
		{name: "list", b: body(TypeApplyPolicy, `[]`), says: "not an object"},
		{name: "leading space", b: body(TypeApplyPolicy, ` {}`), says: "not an object"},
		{name: "too large", b: append(bytes.Clone(good), bytes.Repeat([]byte(" "), MaxCommand)...), says: "is larger than"},
		{name: "garbage", b: []byte("\x01\x0e\xff\xfe{]"), says: "not an object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Decode(tt.b)
			if err == nil {
				t.Fatalf("decoded as %+v", c)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
	for _, c := range samples() {
		b, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(b) {
			if got, err := Decode(b[:n]); err == nil {
				t.Fatalf("%T cut after %d of %d bytes is decoded as %+v", c, n, len(b), got)
			}
		}
	}
}

// What can be seen without the state is refused by whoever proposes it, and by
// every member that finds it in the log all the same.
func TestFieldsOutOfRange(t *testing.T) {
	m := Meta{At: day}
	long := strings.Repeat("x", maxText+1)
	tests := []struct {
		name string
		c    Command
		says string
	}{
		{name: "cluster name", c: &CreateCluster{Cluster: Cluster{ID: uuid(1)}, Host: testHost("a", 1)}, says: "cluster name"},
		{name: "cluster id", c: &CreateCluster{Cluster: Cluster{ID: "x", Name: "prod"}, Host: testHost("a", 1)}, says: `UUID "x"`},
		{name: "policy too large", c: &ApplyPolicy{Files: map[string][]byte{"x": make([]byte, MaxCommand/2+1)}}, says: "larger than 524288"},
		{name: "policy file without name", c: &ApplyPolicy{Files: map[string][]byte{"": nil}}, says: "policy file name"},
		{name: "host name empty", c: &TakeOffice{Epoch: 1}, says: `host name ""`},
		{name: "host name with a slash", c: &RemoveHost{Host: "a/b"}, says: `"a/b"`},
		{name: "host name with a line feed", c: &RemoveHost{Host: "a\n"}, says: `"a\n"`},
		{name: "host name too long", c: &RemoveHost{Host: strings.Repeat("a", 64)}, says: "1 to 63"},
		{name: "no address", c: &UpdateHost{Host: "a"}, says: "not 0"},
		{name: "network twice", c: &UpdateHost{Host: "a", Addresses: []Address{{"n", "10.0.0.1:1"}, {"n", "10.0.0.2:1"}}}, says: "used twice"},
		{name: "address without port", c: &UpdateHost{Host: "a", Addresses: []Address{{"n", "10.0.0.1"}}}, says: "an IP address and a port"},
		{name: "address by name", c: &UpdateHost{Host: "a", Addresses: []Address{{"n", "host:7300"}}}, says: "an IP address and a port"},
		{name: "token hash short", c: &CreateToken{Meta: m, Token: Token{ID: "t", Hash: []byte("x"), Expires: day.Add(1)}}, says: "SHA-256"},
		{name: "token expired at birth", c: &CreateToken{Meta: m, Token: Token{ID: "t", Hash: secret("t"), Expires: day}}, says: "expire in the future"},
		{name: "token used at birth", c: &CreateToken{Meta: m, Token: Token{ID: "t", Hash: secret("t"), Expires: day.Add(1), UsedBy: "x"}}, says: "must be unused"},
		{name: "verdict dead", c: &SetVerdict{Host: "a", Incarnation: 1, Verdict: "dead"}, says: "dead is declared"},
		{name: "verdict empty", c: &SetVerdict{Host: "a", Incarnation: 1}, says: `verdict ""`},
		{name: "verdict too long", c: &SetVerdict{Host: "a", Incarnation: 1, Verdict: strings.Repeat("x", 64)}, says: "verdict"},
		{name: "incarnation 0 dead", c: &DeclareDead{Host: "a"}, says: "incarnation 0"},
		{name: "text too long", c: &DeclareDead{Host: "a", Incarnation: 1, Text: long}, says: "text of 4097 bytes"},
		{name: "too much evidence", c: &DeclareDead{Host: "a", Incarnation: 1, Evidence: make([]Evidence, maxEvidence+1)}, says: "pieces of evidence"},
		{name: "evidence too long", c: &SetVerdict{Host: "a", Incarnation: 1, Verdict: "suspect", Evidence: []Evidence{{Value: long}}}, says: "evidence of"},
		{name: "reason too long", c: &BeginIncarnation{Host: "a", Why: long}, says: "reason of 4097 bytes"},
		{name: "intent", c: &Protect{VM: VM{UUID: uuid(1), Name: "v", XML: []byte("x"), Intent: "rest"}, Host: "a"}, says: `intent "rest"`},
		{name: "no definition", c: &Protect{VM: VM{UUID: uuid(1), Name: "v", Intent: IntentRun}, Host: "a"}, says: "no definition"},
		{name: "no VM name", c: &Redefine{UUID: uuid(1), XML: []byte("x")}, says: "VM name"},
		{name: "UUID in capitals", c: &Unprotect{UUID: strings.ToUpper(uuid(0xabc))}, says: "lower-case"},
		{name: "assign to incarnation 0", c: &Assign{UUID: uuid(1), Host: "a"}, says: "incarnation 0"},
		{name: "adopt by incarnation 0", c: &Adopt{UUID: uuid(1), Host: "a"}, says: "incarnation 0"},
		{name: "report of incarnation 0", c: &Report{UUID: uuid(1), Host: "a", Outcome: OutcomeRunning}, says: "incarnation 0"},
		{name: "outcome", c: &Report{UUID: uuid(1), Host: "a", Incarnation: 1, Outcome: "fine"}, says: `outcome "fine"`},
		{name: "intent to rest", c: &SetIntent{UUID: uuid(1), Intent: "rest"}, says: `intent "rest"`},
		{name: "no event", c: &Record{}, says: "0 events"},
		{name: "too many events", c: &Record{Events: make([]Event, 101)}, says: "101 events"},
		{name: "event without type", c: &Record{Events: []Event{{}}}, says: "a type is wanted"},
		{name: "a volume of no path", c: &SetVolumes{Volumes: []Volume{{Name: "hb1", Path: "hb1", ID: uuid(1)}}}, says: "absolute path"},
		{name: "a volume of no id", c: &SetVolumes{Volumes: []Volume{{Name: "hb1", Path: "/hb1"}}}, says: "UUID"},
		{name: "one volume twice", c: &SetVolumes{Volumes: []Volume{{Name: "hb1", Path: "/hb1", ID: uuid(1)}, {Name: "hb2", Path: "/hb2", ID: uuid(1)}}}, says: "one and the same"},
		{name: "a watchdog without a word", c: &NoteWatchdog{Host: "b", Incarnation: 1}, says: "a number from 1"},
		{name: "the end of no move", c: &EndMove{UUID: uuid(1)}, says: "move 0"},
		{name: "moved by no move", c: &Report{UUID: uuid(1), Host: "b", Incarnation: 1, Outcome: OutcomeMoved}, says: "move 0"},
		{name: "a watchdog of the past", c: &NoteWatchdog{Host: "b", Incarnation: 1, Watchdog: Watchdog{Word: 1, Timeout: -1}}, says: "a timeout"},
		{name: "six volumes", c: &SetVolumes{Volumes: make([]Volume, 6)}, says: "more than 5"},
		{name: "nobody vouches", c: &ConfirmOff{Host: "a", Incarnation: 1}, says: "vouched for"},
		{name: "event with an id", c: &Record{Events: []Event{{Type: "x", ID: 1}}}, says: "no id"},
		{name: "event with a cause", c: &Record{Events: []Event{{Type: "x", Cause: 1}}}, says: "no id"},
		{name: "event text too long", c: &Record{Events: []Event{{Type: "x", Text: long}}}, says: "text of 4097 bytes"},
		{name: "event evidence too long", c: &Record{Events: []Event{{Type: "x", Evidence: []Evidence{{Value: long}}}}}, says: "evidence of"},
		{name: "waiting reason too long", c: &SetWaiting{UUID: uuid(1), Why: long}, says: "reason of 4097 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Encode(tt.c); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("encoding: error %v does not say %q", err, tt.says)
			}
			r := newCluster(t)
			before := text(t, r.state())
			b := append([]byte{commandVersion, byte(tt.c.kind())}, mustJSON(t, tt.c)...)
			res := r.raw(b)
			if res.Refusal == nil || res.Refusal.Code != CodeInvalid || !strings.Contains(res.Refusal.Message, tt.says) {
				t.Errorf("applying it from the log: %+v; want it refused as invalid, saying %q", res.Refusal, tt.says)
			}
			if after := text(t, r.state()); after != before {
				t.Errorf("the state changed:\n%s", cmp.Diff(before, after))
			}
		})
	}
}

func TestEncodeRefusesWhatTheLogDoesNotTake(t *testing.T) {
	c := &Protect{VM: testVM(1, IntentRun), Host: "a"}
	c.VM.XML = make([]byte, MaxCommand)
	if _, err := Encode(c); err == nil || !strings.Contains(err.Error(), "larger than the 1048576") {
		t.Errorf("error %v does not say that it is too large", err)
	}
}

func TestPackXML(t *testing.T) {
	xml := strings.Repeat("<disk type='block'/>\n", 200)
	packed, err := PackXML(xml)
	if err != nil {
		t.Fatal(err)
	}
	if len(packed) > len(xml)/10 {
		t.Errorf("%d bytes were packed into %d", len(xml), len(packed))
	}
	if got, err := UnpackXML(packed); err != nil || got != xml {
		t.Errorf("unpacked %d bytes (%v), want the %d that were packed", len(got), err, len(xml))
	}
	if _, err := PackXML(strings.Repeat("x", maxXML+1)); err == nil {
		t.Error("a definition beyond the bound was packed")
	}
	for n := range len(packed) {
		if _, err := UnpackXML(packed[:n]); err == nil {
			t.Errorf("a definition cut after %d of %d bytes was unpacked", n, len(packed))
		}
	}
}
