package format

import (
	"errors"
	"fmt"
)

// Place is where a record was read, and so what its header must say.
type Place struct {
	Cluster UUID
	Volume  UUID
	Slot    int
}

// Check returns why a sound record does not belong there as that copy.
func (p Place) Check(o Origin, copy int) error {
	switch {
	case o.Cluster != p.Cluster:
		return fmt.Errorf("%w: %v, ours is %v", ErrForeign, o.Cluster, p.Cluster)
	case o.Volume != p.Volume:
		return fmt.Errorf("%w: it was written for volume %v, this is %v", ErrMisplaced, o.Volume, p.Volume)
	case int(o.Slot) != p.Slot || int(o.Copy) != copy:
		return fmt.Errorf("%w: it was written for slot %d copy %d, this is slot %d copy %d", ErrMisplaced, o.Slot, o.Copy, p.Slot, copy)
	}
	return nil
}

// Found is what the two copies of a record say together.
type Found[V Value] struct {
	OK     bool     // one of them at least is valid
	Value  V        // of the newest valid copy
	Origin Origin   // and who wrote it; its Copy says which one it is
	Other  Stamp    // of the older copy; zero where that is not valid
	Errs   [2]error // per copy, why it is not valid
}

// Problem is the first thing wrong with either copy other than that it was never
// written; nil when there is none. A copy that is damaged while the other is valid
// is what a write under way, or cut short, leaves.
func (f Found[V]) Problem() error {
	for _, err := range f.Errs {
		if err != nil && !errors.Is(err, ErrEmpty) {
			return err
		}
	}
	return nil
}

// Is reports whether either copy is wrong in that way.
func (f Found[V]) Is(target error) bool {
	return errors.Is(f.Errs[0], target) || errors.Is(f.Errs[1], target)
}

// Newest decodes the two copies that lie one after the other in b, and chooses the
// valid one with the highest stamp. Copies that do not belong there count for nothing.
func Newest[V Value](b []byte, at Place, decode func([]byte) (V, Origin, error)) (f Found[V]) {
	half := len(b) / 2
	for i := range f.Errs {
		v, o, err := decode(b[i*half : (i+1)*half])
		if err == nil {
			err = at.Check(o, i)
		}
		if err != nil {
			f.Errs[i] = err
			continue
		}
		switch {
		case !f.OK:
			f.OK, f.Value, f.Origin = true, v, o
		case v.Stamp().Compare(f.Value.Stamp()) > 0:
			f.Value, f.Origin, f.Other = v, o, f.Value.Stamp()
		default:
			f.Other = v.Stamp()
		}
	}
	return f
}

// NewestSuper chooses between two superblocks without knowing whose they are: the
// first valid one tells, and the other must agree with it.
func NewestSuper(b []byte) Found[Super] {
	var at Place
	for i := range 2 {
		if _, o, err := DecodeSuper(b[i*BlockSize : (i+1)*BlockSize]); err == nil {
			at = Place{Cluster: o.Cluster, Volume: o.Volume}
			break
		}
	}
	return Newest(b[:SupersSize], at, DecodeSuper)
}
