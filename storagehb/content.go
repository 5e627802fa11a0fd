package storagehb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-ha/holdfast/storagehb/format"
)

// signature is how something else's beginning is recognised, to name it to a person.
// What has no name here is refused all the same, for not being zeros.
type signature struct {
	at    int64
	bytes string
	name  string
}

var signatures = []signature{
	{0, "XFSB", "an XFS file system"},
	{0x438, "\x53\xef", "an ext2, ext3 or ext4 file system"},
	{0x10040, "_BHRfS_M", "a btrfs file system"},
	{0, "LUKS\xba\xbe", "a LUKS container"},
	{512, "LABELONE", "an LVM physical volume"},
	{512, "EFI PART", "a GPT partition table"},
	{4096, "EFI PART", "a GPT partition table"},
	{0, "\xfc\x4e\x2b\xa9", "a Linux RAID member"},
	{4096, "\xfc\x4e\x2b\xa9", "a Linux RAID member"},
	{4086, "SWAPSPACE2", "swap space"},
	{0, "SBD_SBD_", "an SBD device"},
	{0, "\x10\x20\x21\x12", "a sanlock lockspace"},
	{0, "QFI\xfb", "a qcow2 image"},
	{0, "hsqs", "a squashfs file system"},
	{0x8001, "CD001", "an ISO 9660 image"},
	{3, "NTFS    ", "an NTFS file system"},
	{510, "\x55\xaa", "a partition table or boot sector"},
}

// refuseContent returns an error that wraps ErrInUse when Init would destroy
// something and the name that a person has to type for it was not given.
func refuseContent(ctx context.Context, d *Device, path string, buf []byte, size int64, o InitOptions) error {
	found, mustType, err := content(ctx, d, path, buf, size, o.ClusterName)
	if err != nil || found == "" || o.Overwrite == mustType {
		return err
	}
	if o.Overwrite != "" {
		return fmt.Errorf("%w: it holds %s; to overwrite that the name to give is %q, not %q", ErrInUse, found, mustType, o.Overwrite)
	}
	return fmt.Errorf("%w: it holds %s; to overwrite that, give the name %q", ErrInUse, found, mustType)
}

// content says what is on the device, in words, and whose name has to be typed to
// overwrite it; found is empty for zeros and nothing else.
func content(ctx context.Context, d *Device, path string, buf []byte, size int64, own string) (found, mustType string, err error) {
	super, err := readSuper(d, buf)
	switch {
	case err == nil:
		return fmt.Sprintf("heartbeat volume %q of cluster %q (%v)", super.Value.Label,
			super.Value.Cluster, super.Origin.Cluster), super.Value.Cluster, nil
	case errors.Is(err, format.ErrMajor):
		return "a heartbeat volume of a format that this version does not know", own, nil
	case !errors.Is(err, ErrNotThisVolume):
		return "", "", err
	}
	err = each(ctx, buf, size, func(p []byte, off int64) (int, error) {
		n, err := d.ReadAt(p, off)
		if err != nil || found != "" {
			return n, err
		}
		if off == 0 {
			found = recogniseSignature(p)
		}
		if at := firstByte(p); found == "" && at >= 0 {
			found = fmt.Sprintf("data that is not zeros, at byte %d", off+int64(at))
		}
		return n, nil
	})
	if err == nil && found == "" {
		found, err = askBlkid(ctx, path)
	}
	return found, own, err
}

func recogniseSignature(b []byte) string {
	for _, s := range signatures {
		if end := s.at + int64(len(s.bytes)); end <= int64(len(b)) && string(b[s.at:end]) == s.bytes {
			return s.name
		}
	}
	return ""
}

// firstByte is the index of the first byte that is not zero, -1 when there is none.
func firstByte(b []byte) int {
	return bytes.IndexFunc(b, func(r rune) bool { return r != 0 })
}

// askBlkid has blkid, where it is installed, look for what lies outside the area,
// such as the second partition table at the end of a disk.
func askBlkid(ctx context.Context, path string) (string, error) {
	blkid, err := exec.LookPath("blkid")
	if err != nil {
		return "", nil // without it, what there is to know is what the area itself shows
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, blkid, "--probe", "--output", "export", "--", path).Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "what blkid calls " + strings.Join(strings.Fields(string(out)), " "), nil
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		return "", nil
	case errors.As(err, &exit) && exit.ExitCode() == 8:
		return "what several signatures in it contradict each other about", nil
	}
	return "", fmt.Errorf("ask blkid what is on it: %w", err)
}
