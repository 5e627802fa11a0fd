package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/holdfast-ha/holdfast/cluster/placement"
	"github.com/holdfast-ha/holdfast/config"
	"github.com/holdfast-ha/holdfast/vmm"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// ErrBadFile: an inventory file cannot be used. The error lists everything that is wrong.
var ErrBadFile = errors.New("not a usable inventory file")

// FileSchema is the format of a File that this version reads and writes.
const FileSchema = 1

// File is an inventory as a file: hosts, VMs and a policy, written by hand to size a
// cluster before it is bought, or taken from one that runs.
type File struct {
	Schema int `json:"schema"`
	// Policy is HCL text by file name; none: the default policy.
	Policy map[string]string `json:"policy,omitempty"`
	Hosts  []FileHost        `json:"hosts"`
	VMs    []FileVM          `json:"vms"`
}

// FileHost is one host. What is left out of Datastores, Networks, Pools and
// Capabilities is taken to be there.
type FileHost struct {
	Name    string `json:"name"`
	State   string `json:"state,omitempty"` // up (default), closed, maintenance, down
	Why     string `json:"why,omitempty"`
	Memory  Size   `json:"memory"`
	Reserve Size   `json:"reserve,omitempty"`
	CPUs    int    `json:"cpus"`
	MHz     int    `json:"mhz,omitempty"`
	// Voter is true where it is left out.
	Voter      *bool    `json:"voter,omitempty"`
	Datastores []string `json:"datastores,omitzero"`
	// Devices say of devices that the policy names of it why they cannot be handed to a guest, by
	// their words; empty: they can. What is left out is taken to be there.
	Devices map[string]string `json:"devices,omitzero"`
	vmm.Offer
}

// FileVM is one VM.
type FileVM struct {
	Name string `json:"name"`
	UUID string `json:"uuid,omitempty"` // empty: its name stands for it
	// Host is where it runs, or ran last; State is running (default, with a host),
	// waiting (default without) or stopped.
	Host  string `json:"host,omitempty"`
	State string `json:"state,omitempty"`
	// WaitsFor is the host that a VM was shut down with, and waits for.
	WaitsFor string `json:"waits_for,omitempty"`
	// Protected is true where it is left out. A VM that is not protected runs on its host.
	Protected *bool `json:"protected,omitempty"`
	Memory    Size  `json:"memory"`
	VCPUs     int   `json:"vcpus"`
	// Definition is its domain XML, instead of all that follows.
	Definition string `json:"definition,omitempty"`
	// Overhead is what QEMU takes besides; left out: 64 MiB.
	Overhead *Size `json:"overhead,omitempty"`
	// Disks are paths; Paths say more of each.
	Disks        []string          `json:"disks,omitempty"`
	Paths        []FilePath        `json:"paths,omitempty"`
	Pools        []string          `json:"pools,omitempty"`
	Networks     []string          `json:"networks,omitempty"`
	Capabilities []string          `json:"capabilities,omitempty"`
	HugePages    map[uint64]uint64 `json:"huge_pages,omitempty"`
	// HighestCPU is the highest number of a processor that it is pinned to.
	HighestCPU *int      `json:"highest_cpu,omitempty"`
	Ties       []FileTie `json:"ties,omitempty"`
	// DevicesOf is the host whose devices its ties, or its definition, name; left out: Host.
	DevicesOf string `json:"devices_of,omitempty"`
}

// FilePath is a file or device that a VM needs, and FileTie something else that ties it to its host.
type (
	FilePath struct {
		Kind   domainxml.TieKind `json:"kind"`
		Effect domainxml.Effect  `json:"effect"`
		Path   string            `json:"path"`
		Text   string            `json:"text,omitempty"`
	}
	FileTie struct {
		Kind   domainxml.TieKind `json:"kind"`
		Effect domainxml.Effect  `json:"effect"`
		What   string            `json:"what,omitempty"`
		// Device is a device of its host that a devices block may name, such as "pci:0000:41:00.0".
		Device string `json:"device,omitempty"`
		Text   string `json:"text"`
	}
)

// Size is a number of bytes, written "8GiB" or as a whole number.
type Size uint64

func units() []struct {
	name  string
	bytes uint64
} {
	return []struct {
		name  string
		bytes uint64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Size) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	factor := uint64(1)
	if strings.HasPrefix(string(b), `"`) {
		factor = 0
		for _, u := range units() {
			if digits, ok := strings.CutSuffix(text, u.name); ok {
				text, factor = digits, u.bytes
				break
			}
		}
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || factor == 0 || n > maxSize/factor {
		return fmt.Errorf("%s is no size; write \"8GiB\" (KiB, MiB, GiB, TiB), or bytes as a whole number, up to 512TiB", clip(string(b)))
	}
	*s = Size(n * factor)
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s Size) MarshalJSON() ([]byte, error) {
	for _, u := range units() {
		if n := uint64(s); n >= u.bytes && n%u.bytes == 0 {
			return []byte(`"` + strconv.FormatUint(n/u.bytes, 10) + u.name + `"`), nil
		}
	}
	return []byte(strconv.FormatUint(uint64(s), 10)), nil
}

// clip shortens somebody else's text for an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// maxFile is the largest file that is read, bytes: 50,000 VMs with all their needs are below it.
const maxFile = 256 << 20

// ReadFile reads a file and checks its form. Errors wrap ErrBadFile, or are the reader's.
func ReadFile(r io.Reader) (*File, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%w: it has more than %d MiB", ErrBadFile, maxFile>>20)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	var f File
	if err := d.Decode(&f); err != nil {
		at := d.InputOffset()
		var form *json.SyntaxError
		if errors.As(err, &form) {
			at = form.Offset
		}
		line := 1 + strings.Count(string(text[:min(int(at), len(text))]), "\n")
		return nil, fmt.Errorf("%w: near line %d: %w", ErrBadFile, line, inWords(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows its end", ErrBadFile)
	}
	if f.Schema == 0 {
		return nil, fmt.Errorf("%w: it does not say of which form it is; begin it with \"schema\": %d", ErrBadFile, FileSchema)
	}
	if f.Schema != FileSchema {
		return nil, fmt.Errorf("%w: schema is %d, and this version reads %d", ErrBadFile, f.Schema, FileSchema)
	}
	return &f, nil
}

// inWords says what the JSON decoder did not like without its own words for types.
func inWords(err error) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("there is nothing in it")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends in the middle")
	case errors.As(err, &wrong):
		where := "the whole of it"
		if wrong.Field != "" {
			where = wrong.Field
		}
		return fmt.Errorf("%s is %s, which is not what belongs there", where, wrong.Value)
	}
	var form *json.SyntaxError
	if errors.As(err, &form) {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return fmt.Errorf("there is no %s in such a file", name)
	}
	return err
}

// stateWords are the states of a host in a file.
func stateWords() map[string]placement.HostState {
	return map[string]placement.HostState{"": placement.Up, "up": placement.Up, "closed": placement.Closed, "maintenance": placement.Maintenance, "down": placement.Down}
}

// policy parses the file's policy.
func (f *File) policy() (*config.Policy, error) {
	if len(f.Policy) == 0 {
		return config.DefaultPolicy("inventory"), nil
	}
	files := map[string][]byte{}
	for name, text := range f.Policy {
		files[name] = []byte(text)
	}
	return config.ParsePolicy(files)
}
