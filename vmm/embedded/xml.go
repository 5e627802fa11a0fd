package embedded

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// MinimalXML returns the smallest definition that both drivers take: a VM with a
// name, a UUID, memory (in bytes, rounded up to KiB) and virtual CPUs, and
// nothing to boot from.
func MinimalXML(name, uuid string, memory uint64, vcpus int) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(name)) // a strings.Builder takes every write
	return fmt.Sprintf(`<domain type='qemu'>
  <name>%s</name>
  <uuid>%s</uuid>
  <memory unit='KiB'>%d</memory>
  <vcpu>%d</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
</domain>
`, escaped.String(), uuid, (memory+1023)/1024, vcpus)
}
