package witness

import (
	"errors"
	"io"
	"testing"
)

// memory is a disk that any number of writers share.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, m[off:]), nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func life(b byte) Life { return Life{b} }

func boot(t *testing.T, disk memory, b byte) *Writer {
	t.Helper()
	w, err := NewWriter(disk, make([]byte, BlockSize), life(b))
	if err != nil {
		t.Fatalf("boot life %x: %v", b, err)
	}
	return w
}

func TestWitnessConvictsTwoWriters(t *testing.T) {
	// Each step is one life doing something: lower case boots it, upper case beats.
	tests := []struct {
		name     string
		steps    string
		conflict bool
		lives    int
	}{
		{"one life", "aAAA", false, 1},
		{"one life after another", "aAAAbBBBcC", false, 3},
		{"a life that never wrote stands by", "abBBB", false, 2},
		{"interleaved", "aAAbBAB", true, 2},
		{"the old one writes once more", "aAAbBBA", true, 2},
		{"the old one writes between boot and first beat of the new one", "aAAbAB", true, 2},
		{"the old one is overwritten and sees it", "aAbBA", true, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk := make(memory, DiskSize)
			writers := map[byte]*Writer{}
			for _, s := range []byte(tt.steps) {
				if s >= 'a' {
					writers[s] = boot(t, disk, s)
					continue
				}
				if _, _, err := writers[s-'A'+'a'].Beat(); err != nil {
					t.Fatalf("beat %c: %v", s, err)
				}
			}
			d, err := ReadDisk(disk)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Conflict != nil; got != tt.conflict {
				t.Errorf("steps %s: conflict %v (%+v), want %v", tt.steps, got, d.Conflict, tt.conflict)
			}
			if len(d.Lives) != tt.lives {
				t.Errorf("steps %s: %d lives, want %d", tt.steps, len(d.Lives), tt.lives)
			}
		})
	}
}

func TestDecodeRefusesWhatIsNotWhole(t *testing.T) {
	block := make([]byte, BlockSize)
	if _, err := Decode(block); !errors.Is(err, ErrBlank) {
		t.Errorf("blank block: %v, want ErrBlank", err)
	}
	Record{Life: life(1), Count: 7}.Encode(block)
	if r, err := Decode(block); err != nil || r.Count != 7 || r.Life != life(1) {
		t.Errorf("round trip: %+v, %v", r, err)
	}
	block[24] ^= 1
	if _, err := Decode(block); err == nil || errors.Is(err, ErrBlank) {
		t.Errorf("torn block: %v, want a checksum error", err)
	}
	if _, err := Decode(block[:10]); err == nil {
		t.Error("short block accepted")
	}
}

func TestListOfLivesIsFull(t *testing.T) {
	disk := make(memory, DiskSize)
	for i := range MaxLives + 3 {
		w, err := NewWriter(disk, make([]byte, BlockSize), Life{byte(i), byte(i >> 8), 1})
		if err != nil {
			t.Fatalf("life %d: %v", i, err)
		}
		if _, conflict, err := w.Beat(); err != nil || conflict {
			t.Fatalf("life %d: conflict %v, error %v", i, conflict, err)
		}
	}
	d, err := ReadDisk(disk)
	if err != nil || len(d.Lives) != MaxLives {
		t.Errorf("%d lives, error %v, want %d and none", len(d.Lives), err, MaxLives)
	}
}
