package libvirt

import (
	"strings"
	"testing"

	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

func TestMark(t *testing.T) {
	const plain = "<domain type='kvm'>\n  <name>web1</name>\n  <uuid>11111111-0000-4000-8000-000000000001</uuid>\n  <memory unit='KiB'>65536</memory>\n</domain>\n"
	for _, tt := range []struct{ name, xml string }{
		{"no metadata", plain},
		{"metadata of others", strings.Replace(plain, "</uuid>\n", "</uuid>\n  <metadata>\n    <app:x xmlns:app=\"urn:app\"><app:y/></app:x>\n  </metadata>\n", 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			marked, err := withMark(tt.xml)
			if err != nil || !Incoming(marked) || Incoming(tt.xml) {
				t.Fatalf("withMark: %v; marked: %v, before: %v\n%s", err, Incoming(marked), Incoming(tt.xml), marked)
			}
			if again, err := withMark(marked); err != nil || again != marked {
				t.Errorf("a second mark: %v\n%s", err, again)
			}
			if _, err := domainxml.Parse(marked); err != nil {
				t.Errorf("the marked definition: %v", err)
			}
			want, err := domainxml.Hash(tt.xml)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := domainxml.Hash(withoutMark(marked)); err != nil || got != want {
				t.Errorf("without the mark it is another definition: %v\n%s", err, withoutMark(marked))
			}
		})
	}
	// As libvirt writes it: indented, on a line of its own.
	written := strings.Replace(plain, "</uuid>\n", "</uuid>\n  <metadata>\n    "+markText+"\n  </metadata>\n", 1)
	if got := withoutMark(written); got != plain {
		t.Errorf("without the mark, want what was before it:\n%s", got)
	}
	if _, err := withMark("<domain/>"); err == nil {
		t.Error("a definition without a place for the mark was taken")
	}
}

func TestBypassCaches(t *testing.T) {
	for _, tt := range []struct {
		name  string
		disks []domainxml.Disk
		want  bool
	}{
		{"no disks", nil, true},
		{"none and directsync", []domainxml.Disk{{Cache: "none"}, {Cache: "directsync"}}, true},
		{"left to QEMU", []domainxml.Disk{{Cache: "none"}, {}}, false},
		{"writethrough: reads come from the host's memory", []domainxml.Disk{{Cache: "writethrough"}}, false},
		{"a CD", []domainxml.Disk{{Cache: "none"}, {ReadOnly: true}}, true},
	} {
		if got := bypassCaches(domainxml.Shared{Disks: tt.disks}); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
