package machine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What the header of a kernel for x86 says, and where (the kernel's Documentation/arch/x86/boot.rst).
const (
	setupSectors  = 0x1f1 // sectors before the part that runs in protected mode, less one; 0 is 4
	headerMagic   = 0x202
	payloadOffset = 0x248 // of the packed kernel, from the beginning of that part
	payloadLength = 0x24c
	headerEnd     = 0x250
)

// unpacked returns the file of the kernel without its packing, made where it is missing.
// A machine enters it at once (PVH), where unpacking takes an emulated processor most
// of the boot. A kernel that is packed otherwise than with xz is returned as it is.
func unpacked(ctx context.Context, kernel string) (string, error) {
	to := filepath.Join(filepath.Dir(kernel), strings.Replace(filepath.Base(kernel), "vmlinuz", "vmlinux", 1))
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return to, err
	}
	image, err := os.ReadFile(kernel)
	if err != nil {
		return "", fmt.Errorf("read the kernel: %w", err)
	}
	packed, ok := payload(image)
	if !ok || !bytes.HasPrefix(packed, []byte("\xfd7zXZ\x00")) {
		return kernel, nil
	}
	// The kernel's size stands behind the stream.
	cmd := exec.CommandContext(ctx, "xz", "--decompress", "--stdout", "--single-stream")
	cmd.Stdin = bytes.NewReader(packed)
	var plain, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &plain, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("unpack the kernel: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	part := to + ".part" // never half a kernel under its name
	if err := errors.Join(os.WriteFile(part, plain.Bytes(), 0o600), os.Rename(part, to)); err != nil {
		return "", fmt.Errorf("keep the kernel: %w", err)
	}
	return to, nil
}

// payload is the packed kernel in its image.
func payload(image []byte) ([]byte, bool) {
	if len(image) < headerEnd || string(image[headerMagic:headerMagic+4]) != "HdrS" {
		return nil, false
	}
	sectors := int(image[setupSectors])
	if sectors == 0 {
		sectors = 4
	}
	from := (sectors+1)*512 + int(binary.LittleEndian.Uint32(image[payloadOffset:]))
	to := from + int(binary.LittleEndian.Uint32(image[payloadLength:]))
	if to > len(image) {
		return nil, false
	}
	return image[from:to], true
}
