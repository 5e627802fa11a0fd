package format

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// A reader of an area into which a write is going, or was cut short, sees what was
// there before or what was written, whatever part of it has reached the volume and
// whatever the copy held before.
func TestTornWrites(t *testing.T) {
	for _, k := range kinds {
		n := k.Length()
		other := encode(t, sample(k, 42), 1)
		write := encode(t, sample(k, 43), 0)
		for name, older := range olderImages(t, k) {
			t.Run(fmt.Sprintf("%v over %s", k, name), func(t *testing.T) {
				area := append(append([]byte(nil), older...), other...)
				see := func(what string, at int) uint64 {
					f := newest(k, area)
					if !f.OK {
						t.Fatalf(what+": the reader sees nothing: %v, %v", at, f.Errs[0], f.Errs[1])
					}
					// What counts of the copy that was chosen is, byte for byte, what was written.
					seq, begin, counts := f.Value.Stamp().Seq, int(f.Origin.Copy)*n, n
					if !k.hasRest() {
						counts = headLen
					}
					wrote := map[uint64][]byte{42: other, 43: write}[seq]
					if wrote == nil || !bytes.Equal(area[begin:begin+counts], wrote[:counts]) {
						t.Fatalf(what+": the reader sees what nobody wrote: %v", at, f.Value)
					}
					return seq
				}
				if seq := see("before the write (%d)", 0); seq != 42 {
					t.Fatalf("before the write the reader sees %d", seq)
				}
				// Byte by byte; of the longer records every byte where it matters, else sector by sector.
				for p := 1; p <= n; p++ {
					area[p-1] = write[p-1]
					if every := !testing.Short() && (n == BlockSize || p <= 2*headLen || p > n-2*sumLen); every || p%512 == 0 {
						see("after %d bytes", p)
					}
				}
				if seq := see("after the write (%d)", 0); seq != 43 {
					t.Fatalf("after the write the reader sees %d", seq)
				}
				// Sectors in any order.
				rng := rand.New(rand.NewPCG(1, uint64(k)))
				for range 20 {
					copy(area, older)
					for _, s := range rng.Perm(n / 512) {
						copy(area[512*s:512*(s+1)], write[512*s:])
						see("after sector %d", s)
					}
				}
				if name != "the one before" {
					return // a write that is whole has left nothing of what was there
				}
				for i := 0; i < len(area); i += n/BlockSize*2 - 1 {
					flip := byte(1) << rng.IntN(8)
					area[i] ^= flip
					see("with a bit of byte %d flipped", i)
					area[i] ^= flip
				}
			})
		}
	}
}

// olderImages are what a copy may hold when it is written.
func olderImages(t *testing.T, k Kind) map[string][]byte {
	n := k.Length()
	images := map[string][]byte{
		"zeros":           make([]byte, n),
		"the one before":  encode(t, sample(k, 41), 0),
		"a much older":    encode(t, sample(k, 1), 0),
		"noise":           make([]byte, n),
		"a torn one":      encode(t, sample(k, 41), 0),
		"other cluster's": make([]byte, n),
		"other kind's":    make([]byte, n),
	}
	rng := rand.New(rand.NewPCG(2, uint64(k)))
	for i := range images["noise"] {
		images["noise"][i] = byte(rng.Uint32())
	}
	copy(images["a torn one"], encode(t, sample(k, 40), 0)[:n/3])
	o := origin(0)
	o.Slot, o.Cluster = uint16(place(k).Slot), uuid(0xaa)
	if err := Encode(images["other cluster's"], sample(k, 99), o); err != nil {
		t.Fatal(err)
	}
	another := KindHeartbeat
	if k == KindHeartbeat {
		another = KindSuper
	}
	copy(images["other kind's"], encode(t, sample(another, 99), 0))
	return images
}

// The head of one record and the rest of another, each as it was written, are no record.
func TestHeadAndRestBelongTogether(t *testing.T) {
	for _, k := range kinds {
		if !k.hasRest() {
			continue
		}
		older, newer := encode(t, sample(k, 41), 0), encode(t, sample(k, 43), 0)
		mixed := append(append([]byte(nil), newer[:headLen]...), older[headLen:]...)
		if v, _, err := decode(k, mixed); err == nil {
			t.Errorf("%v: a new head with an old rest is read as %v", k, v)
		}
	}
}
