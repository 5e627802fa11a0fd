// Package domainxml reads what Holdfast needs to know from a libvirt domain
// definition: who the VM is and how large it is, and a hash that tells whether
// two texts mean the same definition. It never writes or repairs a definition;
// what libvirt makes of it is libvirt's business.
package domainxml

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// ErrInvalid: the text is not a definition that libvirt could take.
var ErrInvalid = errors.New("not a usable domain definition")

// Definition is what Holdfast reads in a domain's XML.
type Definition struct {
	UUID   string // lower case, with hyphens
	Name   string
	Memory uint64 // bytes that the guest may use at most
	VCPUs  int    // virtual CPUs that it has when it starts
}

// Parse reads a definition. It is stricter than libvirt in one point: a UUID is
// required, because libvirt would make up another one on every host. The error
// wraps ErrInvalid and names the element.
func Parse(text string) (Definition, error) {
	var d libvirtxml.Domain
	if err := d.Unmarshal(text); err != nil {
		var number *strconv.NumError
		if errors.As(err, &number) { // which does not say whose
			return Definition{}, fmt.Errorf("%w: %q stands where a whole number belongs that is not negative and not above %d",
				ErrInvalid, number.Num, uint64(math.MaxUint64))
		}
		return Definition{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if d.Type == "" {
		return Definition{}, fmt.Errorf("%w: <domain> has no type", ErrInvalid)
	}
	name := strings.TrimSpace(d.Name)
	if name == "" || strings.ContainsAny(name, "/\n") {
		return Definition{}, fmt.Errorf("%w: <name> is %q; it must not be empty and must hold neither a slash nor a line break",
			ErrInvalid, d.Name)
	}
	uuid, err := CanonicalUUID(d.UUID)
	if err != nil {
		return Definition{}, fmt.Errorf("%w: <uuid> of domain %q: %w", ErrInvalid, name, err)
	}
	if d.Memory == nil || d.Memory.Value == 0 {
		return Definition{}, fmt.Errorf("%w: domain %q has no <memory>", ErrInvalid, name)
	}
	memory, err := bytes(uint64(d.Memory.Value), d.Memory.Unit)
	if err != nil {
		return Definition{}, fmt.Errorf("%w: <memory> of domain %q: %w", ErrInvalid, name, err)
	}
	vcpus := uint(1) // libvirt's own default
	if d.VCPU != nil {
		vcpus = d.VCPU.Value
		if d.VCPU.Current > 0 {
			vcpus = d.VCPU.Current
		}
	}
	if vcpus == 0 || vcpus > math.MaxInt32 {
		return Definition{}, fmt.Errorf("%w: <vcpu> of domain %q is %d", ErrInvalid, name, vcpus)
	}
	return Definition{UUID: uuid, Name: name, Memory: memory, VCPUs: int(vcpus)}, nil
}

// CanonicalUUID returns a UUID as libvirt prints it: lower case, with hyphens.
// Like libvirt it takes hyphens anywhere between bytes, or none.
func CanonicalUUID(s string) (string, error) {
	hex := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), "-", ""))
	if len(hex) != 32 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not a UUID (32 hexadecimal digits)", s)
	}
	return hex[:8] + "-" + hex[8:12] + "-" + hex[12:16] + "-" + hex[16:20] + "-" + hex[20:], nil
}

// bytes scales a size by libvirt's unit names; no unit means KiB.
func bytes(value uint64, unit string) (uint64, error) {
	const kib, kb = 1024, 1000
	factor := map[string]uint64{
		"": kib, "b": 1, "byte": 1, "bytes": 1,
		"kb": kb, "k": kib, "kib": kib,
		"mb": kb * kb, "m": kib * kib, "mib": kib * kib,
		"gb": kb * kb * kb, "g": kib * kib * kib, "gib": kib * kib * kib,
		"tb": kb * kb * kb * kb, "t": kib * kib * kib * kib, "tib": kib * kib * kib * kib,
	}[strings.ToLower(unit)]
	if factor == 0 {
		return 0, fmt.Errorf("unit %q is unknown (b, KiB, MiB, GiB, TiB, KB, MB, GB, TB)", unit)
	}
	if value > math.MaxUint64/factor {
		return 0, fmt.Errorf("%d %s is more than 2^64 bytes", value, unit)
	}
	return value * factor, nil
}
