package libvirt

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-ha/holdfast/vmm"
)

// errNoMigration is why this driver migrates nothing.
var errNoMigration = errors.New("this driver cannot migrate a domain")

// Migrate refuses: the domain goes on here.
func (d *Driver) Migrate(ctx context.Context, uuid string, to vmm.Destination) error {
	domains, err := d.Domains(ctx)
	if err != nil {
		return fmt.Errorf("migrate %s: %w", uuid, err)
	}
	for _, x := range domains {
		if x.UUID == uuid {
			return fmt.Errorf("migrate %s to %s: %w", x.Name, to.Host, errNoMigration)
		}
	}
	return fmt.Errorf("migrate %s: %w", uuid, vmm.ErrNoDomain)
}

// AbortMigration finds none to abort.
func (d *Driver) AbortMigration(context.Context, string) error { return nil }
