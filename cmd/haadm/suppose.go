package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/holdfast-ha/holdfast/cluster/inventory"
	"github.com/holdfast-ha/holdfast/cluster/whatif"
	"github.com/holdfast-ha/holdfast/vmm/domainxml"
)

// likePrefix marks a value of --add-host that is no file.
const likePrefix = "like:"

// supposeFlags are those that ask about a cluster that is not there.
func supposeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "add-vm", Usage: "a `FILE` with a VM that is added first: domain XML, or JSON as in an inventory"},
		&cli.StringSliceFlag{Name: "add-host", Usage: "one more `HOST`: like:NAME has what that one has, or a file with JSON as in an inventory"},
		&cli.StringSliceFlag{Name: "remove-host",
			Usage: "`HOST`s that have left for good, and whose VMs have gone to the others (several with commas, or the flag again)"},
	}
}

// hypothesis reads those flags, and the files that they name.
func hypothesis(c *cli.Context) (h whatif.Hypothesis, err error) {
	for _, file := range c.StringSlice("add-vm") {
		vms, err := readVMs(file)
		if err != nil {
			return h, err
		}
		h.Add = append(h.Add, vms...)
	}
	for _, value := range c.StringSlice("add-host") {
		if host, like := strings.CutPrefix(value, likePrefix); like {
			h.AddLike = append(h.AddLike, host)
			continue
		}
		hosts, err := readHosts(value)
		if err != nil {
			return h, err
		}
		h.AddHosts = append(h.AddHosts, hosts...)
	}
	h.RemoveHosts = c.StringSlice("remove-host")
	return h, nil
}

// maxAddFile is the largest file of --add-vm and --add-host that is read, bytes.
const maxAddFile = 2 << 20

func readAdded(file, what string) (string, error) {
	if info, err := os.Stat(file); err == nil && info.Size() > maxAddFile {
		return "", fmt.Errorf("%s has more than %d MiB", file, maxAddFile>>20)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read a %s to add: %w", what, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// readVMs reads a domain definition, or one or several VMs as an inventory has them.
func readVMs(file string) ([]inventory.FileVM, error) {
	text, err := readAdded(file, "VM")
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(text, "<") {
		def, err := domainxml.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return []inventory.FileVM{{Name: def.Name, UUID: def.UUID, Definition: text}}, nil
	}
	vms, err := oneOrMore[inventory.FileVM](text)
	if err != nil {
		return nil, fmt.Errorf("%s: it is neither domain XML nor a VM of an inventory in JSON: %w", file, err)
	}
	if len(vms) == 0 {
		return nil, errors.New(file + " has no VM")
	}
	return vms, nil
}

// readHosts reads one or several hosts as an inventory has them.
func readHosts(file string) ([]inventory.FileHost, error) {
	text, err := readAdded(file, "host")
	if err != nil {
		return nil, fmt.Errorf("%w; one that has what another has is %sNAME", err, likePrefix)
	}
	hosts, err := oneOrMore[inventory.FileHost](text)
	if err != nil {
		return nil, fmt.Errorf("%s: it is no host of an inventory in JSON: %w", file, err)
	}
	if len(hosts) == 0 {
		return nil, errors.New(file + " has no host")
	}
	return hosts, nil
}

// oneOrMore reads JSON that is one value, or a list of them.
func oneOrMore[T any](text string) (all []T, err error) {
	if !strings.HasPrefix(text, "[") {
		text = "[" + text + "]"
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err = d.Decode(&all)
	return all, err
}
