package domainxml

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A device of the host that a VM is handed is named by a word: its kind, a colon, and how the
// host knows it.
const (
	pciWord  = "pci:"  // pci:0000:41:00.0
	mdevWord = "mdev:" // mdev:UUID
	usbWord  = "usb:"  // usb:VENDOR:PRODUCT, as in usb:0529:0001
)

// Devices lists the host's devices that the definition hands to the guest and that can be
// exchanged for others, in the definition's order, as words: PCI devices (network interfaces
// that are one too), mediated devices, and USB devices that are named by vendor and product.
// Errors wrap ErrInvalid.
func Devices(text string) ([]string, error) {
	all, err := handed(text)
	if err != nil {
		return nil, err
	}
	var words []string
	for _, h := range all {
		words = append(words, h.word)
	}
	return words, nil
}

// WithDevices is the definition with other devices of the host in the place of those that
// Devices lists, in that order. All else stays as it is written, the places in the guest too.
// The error wraps ErrInvalid; it says so when they are not as many, or not of the same kinds.
func WithDevices(text string, words []string) (string, error) {
	all, err := handed(text)
	if err != nil {
		return "", err
	}
	if len(all) != len(words) {
		return "", fmt.Errorf("%w: it hands %d devices of the host to the guest, and %d were chosen for it", ErrInvalid, len(all), len(words))
	}
	var b strings.Builder
	at := 0
	for i, h := range all {
		if h.word == words[i] {
			continue
		}
		for _, tag := range h.tags {
			attrs, ok := attributes(words[i], tag.start)
			if !ok {
				return "", fmt.Errorf("%w: %s cannot take the place of %s", ErrInvalid, words[i], h.word)
			}
			b.WriteString(text[at:tag.from])
			b.WriteString(attrs)
			at = tag.to
		}
	}
	b.WriteString(text[at:])
	return b.String(), nil
}

// withoutDevices is the definition with nothing said of which devices of the host those are
// that can be exchanged.
func withoutDevices(text string) string {
	if !strings.Contains(text, "hostdev") {
		return text
	}
	all, err := handed(text)
	if err != nil {
		return text // whoever reads it next says what is wrong
	}
	var b strings.Builder
	at := 0
	for _, h := range all {
		for _, tag := range h.tags {
			b.WriteString(text[at:tag.from])
			at = tag.to
		}
	}
	b.WriteString(text[at:])
	return b.String()
}

// handedOver is one device of the host in a definition, and the attributes that name it.
type handedOver struct {
	word string
	tags []tag
}

// tag is where the attributes of an element that names a device are written.
type tag struct {
	from, to int // of the attributes in the text, with the space before them
	start    xml.StartElement
}

// handed finds the devices of the host that can be exchanged.
func handed(text string) ([]handedOver, error) {
	if !strings.Contains(text, "hostdev") {
		return nil, nil
	}
	dec := xml.NewDecoder(strings.NewReader(text))
	var stack []xml.StartElement
	var all []handedOver
	var within []tag // the source of the present device
	for {
		from := int(dec.InputOffset())
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			stack = append(stack, t.Copy())
			if len(stack) == 5 && stack[1].Name.Local == "devices" && stack[3].Name.Local == "source" {
				name := from + 1 + len(t.Name.Local)
				end := int(dec.InputOffset()) - 1
				if end > 0 && text[end-1] == '/' {
					end--
				}
				if name <= end && t.Name.Space == "" {
					within = append(within, tag{from: name, to: end, start: stack[4]})
				}
			}
		case xml.EndElement:
			if len(stack) == 0 {
				return nil, fmt.Errorf("%w: an element ends that has not begun", ErrInvalid)
			}
			if len(stack) == 3 {
				if h, ok := nameOf(stack[2], within); ok {
					all = append(all, h)
				}
				within = nil
			}
			stack = stack[:len(stack)-1]
		}
	}
}

// nameOf makes of a device and the elements in its source the word for it, if it is one that can be
// exchanged.
func nameOf(device xml.StartElement, source []tag) (h handedOver, ok bool) {
	kind := attribute(device, "type")
	of := func(name string) *tag {
		i := slices.IndexFunc(source, func(t tag) bool { return t.start.Name.Local == name })
		if i < 0 {
			return nil
		}
		return &source[i]
	}
	address := of("address")
	switch {
	case device.Name.Local == "interface" && kind == "hostdev":
		if address == nil || attribute(address.start, "type") != "pci" {
			return h, false
		}
		kind = "pci"
	case device.Name.Local != "hostdev" || attribute(device, "mode") != "subsystem":
		return h, false
	}
	switch {
	case kind == "pci" && address != nil:
		var n [4]uint64
		for i, name := range pciParts() {
			s := attribute(address.start, name)
			v, err := strconv.ParseUint(s, 0, 16)
			if err != nil && (s != "" || name != "domain") {
				return h, false
			}
			n[i] = v
		}
		return handedOver{fmt.Sprintf(pciWord+"%04x:%02x:%02x.%x", n[0], n[1], n[2], n[3]), []tag{*address}}, true
	case kind == "mdev" && address != nil && attribute(address.start, "uuid") != "":
		return handedOver{mdevWord + strings.ToLower(attribute(address.start, "uuid")), []tag{*address}}, true
	case kind == "usb" && address == nil && of("vendor") != nil && of("product") != nil:
		word := usbDevice(attribute(of("vendor").start, "id"), attribute(of("product").start, "id"))
		tags := []tag{*of("vendor"), *of("product")}
		slices.SortFunc(tags, func(a, b tag) int { return a.from - b.from })
		return handedOver{word, tags}, word != ""
	}
	return h, false
}

// usbDevice is the word for a USB device; empty when those are no ids.
func usbDevice(vendor, product string) string {
	v, err := strconv.ParseUint(vendor, 0, 16)
	p, err2 := strconv.ParseUint(product, 0, 16)
	if err != nil || err2 != nil {
		return ""
	}
	return fmt.Sprintf(usbWord+"%04x:%04x", v, p)
}

func pciParts() [4]string { return [4]string{"domain", "bus", "slot", "function"} }

func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// attributes writes those of an element that is to name another device. ok is false when the
// word is of another kind than the element.
func attributes(word string, e xml.StartElement) (text string, ok bool) {
	var b strings.Builder
	if attribute(e, "type") == "pci" { // as an interface has it
		b.WriteString(" type='pci'")
	}
	name := e.Name.Local
	switch {
	case strings.HasPrefix(word, pciWord) && name == "address" && attribute(e, "bus") != "":
		var n [4]uint64
		if k, err := fmt.Sscanf(word[len(pciWord):], "%x:%x:%x.%x", &n[0], &n[1], &n[2], &n[3]); err != nil || k != 4 {
			return "", false
		}
		fmt.Fprintf(&b, " domain='0x%04x' bus='0x%02x' slot='0x%02x' function='0x%x'", n[0], n[1], n[2], n[3])
	case strings.HasPrefix(word, mdevWord) && name == "address" && attribute(e, "uuid") != "":
		uuid := word[len(mdevWord):]
		if strings.ContainsAny(uuid, "'\"<>&") {
			return "", false
		}
		fmt.Fprintf(&b, " uuid='%s'", uuid)
	case strings.HasPrefix(word, usbWord) && (name == "vendor" || name == "product"):
		var vendor, product uint64
		if k, err := fmt.Sscanf(word[len(usbWord):], "%x:%x", &vendor, &product); err != nil || k != 2 {
			return "", false
		}
		if name == "product" {
			vendor = product
		}
		fmt.Fprintf(&b, " id='0x%04x'", vendor)
	default:
		return "", false
	}
	return b.String(), true
}
