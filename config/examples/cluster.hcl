# cluster.hcl: the policy of the whole cluster, kept by the cluster itself.
#
#   haadm config validate cluster.hcl    parse and check, no cluster needed
#   haadm config plan cluster.hcl        what would change
#   haadm config apply cluster.hcl       plan, ask, then commit as one revision
#
# The file is the whole desired policy: what is left out goes back to its
# default, what is removed is removed. Several files work too: a directory is
# taken as one, and defining one thing twice is an error.
#
# A line that begins with #name shows a default; remove the # to change it.

cluster "basement" {
  #schema = 1
  note = "3 hosts, 2 switches, NFS"
}

# --- Timing --------------------------------------------------------------------

# A profile is a set of defaults: "fast", "standard" or "patient". Each value can
# be set; what follows from them is printed by `haadm config validate`, which
# refuses values that are not safe together.
timing {
  #profile = "standard"

  # How often each host is heard.
  #heartbeat_interval = "1s"

  # How long a host may run its VMs after the last heartbeat that was answered.
  #lease = "4s"

  # Timeout of each host's watchdog, in whole seconds, and how long after it has
  # fired the host can still write.
  #watchdog_timeout = "3s"
  #reset_time = "500ms"

  # How long writes of a dead host may stay queued in the storage.
  #drain_time = "2s"

  # How much the rates of two hosts' clocks may differ, as a fraction.
  #clock_error = 0.0005

  # Allowance for the scheduler.
  #grain = "500ms"

  # Time without a master before the members elect another one.
  #election = "800ms"
}

# --- VMs -----------------------------------------------------------------------

# What holds for a VM that no block below names, and for what those leave out.
defaults {
  # listed: only VMs named below are protected; all: every persistent domain.
  #protect = "listed"

  # When a VM's process crashes: restart or leave.
  #on_crash = "restart"
}

# One rule for many VMs. A vm block of its own goes before it; of several vms
# blocks the first one that matches counts.
vms "web" {
  match = { name = "web-*" } # *, ? and [a-z] as in a shell
  #protect = true
  on_crash = "leave" # default: what defaults says
}

vm "db1" {
  #protect = true
  on_crash = "restart" # default: what defaults says
  note     = "PostgreSQL primary"
}

vm "web-test" {
  protect = false # left out although vms "web" matches
}
