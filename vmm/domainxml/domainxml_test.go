package domainxml

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const id = "3b1c2a44-0d6f-4a58-9f0e-7a1d2c3b4e5f"

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		xml  string
		want Definition
		err  string // part of the error; empty when it must parse
	}{
		{
			name: "plain, memory in KiB by default",
			xml:  `<domain type='kvm'><name>web1</name><uuid>` + id + `</uuid><memory>2048</memory><vcpu>2</vcpu></domain>`,
			want: Definition{UUID: id, Name: "web1", Memory: 2 << 20, VCPUs: 2},
		},
		{
			name: "unit, upper case uuid without hyphens, no vcpu",
			xml:  `<domain type='qemu'><name>w</name><uuid>` + strings.ToUpper(strings.ReplaceAll(id, "-", "")) + `</uuid><memory unit='GiB'>3</memory></domain>`,
			want: Definition{UUID: id, Name: "w", Memory: 3 << 30, VCPUs: 1},
		},
		{
			name: "fewer vcpus at start than at most",
			xml:  `<domain type='qemu'><name>w</name><uuid>` + id + `</uuid><memory unit='MB'>1</memory><vcpu current='2'>8</vcpu></domain>`,
			want: Definition{UUID: id, Name: "w", Memory: 1000000, VCPUs: 2},
		},
		{name: "not XML", xml: `hello`, err: "EOF"},
		{name: "cut off", xml: `<domain type='kvm'><name>web1</name>`, err: "syntax error"},
		{name: "another root", xml: `<network><name>n</name></network>`, err: "domain"},
		{name: "no type", xml: `<domain><name>w</name></domain>`, err: "no type"},
		{name: "no name", xml: `<domain type='kvm'><uuid>` + id + `</uuid></domain>`, err: "<name>"},
		{name: "name with a slash", xml: `<domain type='kvm'><name>../x</name></domain>`, err: "slash"},
		{name: "no uuid", xml: `<domain type='kvm'><name>w</name><memory>1</memory></domain>`, err: "<uuid>"},
		{name: "bad uuid", xml: `<domain type='kvm'><name>w</name><uuid>xyz</uuid><memory>1</memory></domain>`, err: "xyz"},
		{name: "no memory", xml: `<domain type='kvm'><name>w</name><uuid>` + id + `</uuid></domain>`, err: "<memory>"},
		{name: "unknown unit", xml: `<domain type='kvm'><name>w</name><uuid>` + id + `</uuid><memory unit='stone'>1</memory></domain>`, err: "stone"},
		{name: "too much memory", xml: `<domain type='kvm'><name>w</name><uuid>` + id + `</uuid><memory unit='TiB'>99999999999</memory></domain>`, err: "2^64"},
		{name: "no cpu", xml: `<domain type='kvm'><name>w</name><uuid>` + id + `</uuid><memory>1</memory><vcpu>0</vcpu></domain>`, err: "<vcpu>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.xml)
			if tt.err != "" {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error is %v, want ErrInvalid with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("definition (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHash(t *testing.T) {
	base := `<domain type='kvm'><name>w</name><devices><disk type='file' device='disk'/><graphics passwd='a b'/></devices></domain>`
	tests := []struct {
		name string
		xml  string
		same bool
	}{
		{"itself", base, true},
		{
			"layout, comments, quotes, order of attributes, running id",
			"<!-- hi -->\n<domain id=\"7\" type=\"kvm\">\n <name>w<!-- x --></name>\n <devices>\n  <disk device='disk' type='file'></disk><graphics passwd='a b'/>\n</devices></domain>\n", true,
		},
		{"another value", strings.Replace(base, ">w<", ">v<", 1), false},
		{"another attribute value", strings.Replace(base, "'file'", "'block'", 1), false},
		{"id below the root counts", strings.Replace(base, "<disk ", "<disk id='1' ", 1), false},
		{"another order of devices", strings.Replace(base, "<disk type='file' device='disk'/><graphics passwd='a b'/>", "<graphics passwd='a b'/><disk type='file' device='disk'/>", 1), false},
	}
	want, err := Hash(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Hash(tt.xml)
			if err != nil {
				t.Fatal(err)
			}
			if (got == want) != tt.same {
				t.Errorf("hash %s of\n%s\nagainst %s of\n%s\nsame must be %v", got, tt.xml, want, base, tt.same)
			}
		})
	}
	for _, bad := range []string{"<domain>", "<domain", "<a><b attr></b></a>"} {
		if _, err := Hash(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("Hash(%q) returns %v, want ErrInvalid", bad, err)
		}
	}
}
