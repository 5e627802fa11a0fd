package format

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write testdata anew from what the code says now")

// What is on a volume today must be read by every later version: these bytes change
// only together with the format's version.
func TestGolden(t *testing.T) {
	for _, k := range kinds {
		for copy := range uint8(2) {
			name := fmt.Sprintf("%s-%c", strings.ToLower(strings.ReplaceAll(k.String(), " ", "-")), 'a'+copy)
			t.Run(name, func(t *testing.T) {
				v := sample(k, 41+uint64(copy))
				b := encode(t, v, copy)
				path := filepath.Join("testdata", name+".hex")
				if *rewrite {
					if err := os.WriteFile(path, []byte(dump(b)), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(text), dump(b)); diff != "" {
					t.Errorf("encoded otherwise than before (-before +now):\n%s", diff)
				}
				got, o, err := decode(k, undump(t, string(text), k.Length()))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(v, got); diff != "" {
					t.Errorf("decoded otherwise than written (-written +read):\n%s", diff)
				}
				if o.Copy != copy || o.Cluster != here.Cluster || o.Volume != here.Volume || o.Host != uuid(0x50) || o.Boot != origin(0).Boot || !o.Wall.Equal(origin(0).Wall) {
					t.Errorf("origin is %+v", o)
				}
			})
		}
	}
}

// A newer minor version adds fields where zeros are now: they are not looked at.
func TestANewerMinorIsRead(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.String(), func(t *testing.T) {
			v := sample(k, 41)
			b := encode(t, v, 1)
			b[10] = 9 // minor
			b[headSum-1] = 0xee
			if k.hasRest() {
				b[len(b)-sumLen-1] = 0xee
			}
			seal(b, k)
			got, o, err := decode(k, b)
			if err != nil || o.Minor != 9 {
				t.Fatalf("minor %d: %v", o.Minor, err)
			}
			if diff := cmp.Diff(v, got); diff != "" {
				t.Errorf("known fields read otherwise (-written +read):\n%s", diff)
			}
		})
	}
}

// dump is b in lines of 16 bytes, without those of zeros.
func dump(b []byte) string {
	var out strings.Builder
	for at := 0; at < len(b); at += 16 {
		if line := b[at : at+16]; !bytes.Equal(line, make([]byte, 16)) {
			fmt.Fprintf(&out, "%04x  % x\n", at, line)
		}
	}
	return out.String()
}

func undump(t *testing.T, text string, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for line := range strings.Lines(text) {
		var at int
		if _, err := fmt.Sscanf(line, "%x", &at); err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line[4:]), " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		copy(b[at:], raw)
	}
	return b
}
