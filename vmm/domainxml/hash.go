package domainxml

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

// Hash returns a short hexadecimal digest of what a definition means. White
// space between elements, comments, the order and quoting of attributes and the
// number that a running domain has (<domain id=...>) do not change it; order of
// elements does, since the order of disks is the order of booting. Which of the host's devices
// those are that can be exchanged (Devices) makes no difference either.
func Hash(text string) (string, error) {
	sum := sha256.New()
	dec := xml.NewDecoder(strings.NewReader(withoutDevices(text)))
	depth := 0
	var chars strings.Builder // text since the last tag; a comment does not split it
	for {
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			writeText(sum, &chars)
			writeStart(sum, t, depth)
			depth++
		case xml.EndElement:
			writeText(sum, &chars)
			depth--
			fmt.Fprintf(sum, "end %q\n", t.Name.Local)
		case xml.CharData:
			chars.Write(t)
		}
	}
	if depth != 0 {
		return "", fmt.Errorf("%w: unexpected end of the text", ErrInvalid)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

func writeText(sum hash.Hash, chars *strings.Builder) {
	if text := strings.TrimSpace(chars.String()); text != "" {
		fmt.Fprintf(sum, "text %q\n", text)
	}
	chars.Reset()
}

func writeStart(sum hash.Hash, t xml.StartElement, depth int) {
	fmt.Fprintf(sum, "start %q %q\n", t.Name.Space, t.Name.Local)
	attrs := slices.Clone(t.Attr)
	slices.SortFunc(attrs, func(a, b xml.Attr) int {
		return strings.Compare(a.Name.Space+":"+a.Name.Local, b.Name.Space+":"+b.Name.Local)
	})
	for _, a := range attrs {
		if depth == 0 && a.Name.Local == "id" {
			continue
		}
		fmt.Fprintf(sum, "attr %q %q %q\n", a.Name.Space, a.Name.Local, a.Value)
	}
}
