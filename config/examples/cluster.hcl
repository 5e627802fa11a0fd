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
  #election = "500ms"
}

# --- Fence devices -------------------------------------------------------------

# How a host can be switched off from outside: the devices, in the order in which
# they are tried. Where several must be off together (two power supplies on two
# switches) they stand in a list of their own.
host "kvm1" {
  fence = ["kvm1-bmc", ["kvm1-pdu-a", "kvm1-pdu-b"]]
}

# One device, and one host that it switches. The agent is any of the package
# fence-agents that switches power; the options are the agent's own.
fence "kvm1-bmc" {
  agent   = "fence_ipmilan"
  options = { ip = "10.30.0.11", username = "ha", lanplus = true }

  # The login's, in a file on every host: one line, mode 0600. A password that is
  # set here instead is part of the policy, and whoever may use haadm can read it.
  password_file = "/etc/haagent/kvm1-bmc.password"
  #password = ""

  # The longest that one run of the agent may take, how often the device is tried,
  # and how often it is to prove that it answers.
  #timeout = "20s"
  #attempts = 2
  #check = "5m"
}

fence "kvm1-pdu-a" {
  agent   = "fence_apc_snmp"
  options = { ip = "10.30.0.50", plug = 3 }
}

fence "kvm1-pdu-b" {
  agent   = "fence_apc_snmp"
  options = { ip = "10.30.0.51", plug = 3 }
}

# What is asked for before the VMs of a silent host start elsewhere: that its watchdog,
# one of its fence devices or a person makes sure that they run there no more (required),
# or on a host without a watchdog the wait alone, which a kernel that hangs can outlast
# (best_effort).
fencing {
  #mode = "required"
}

# --- Heartbeat volumes ---------------------------------------------------------

# Small areas of shared storage, a block device or a file on a shared file system,
# up to five and best on different storage. Hosts prove by them that nobody takes
# their VMs over while the network is out. Made with `haadm storage heartbeat init`.
heartbeat_volume "san" {
  path = "/dev/disk/by-id/wwn-0x6001405f00d-part1"
}

heartbeat_volume "nfs" {
  path = "/srv/vm/.holdfast-heartbeat"
}

# --- Warnings ------------------------------------------------------------------

# What haadm status says as long as it is so, and what can be muted here: fewer
# than two heartbeat volumes, and hosts that have a single HA network.
warnings {
  #few_heartbeat_volumes = true
  #single_network = true
}

# --- Isolation -------------------------------------------------------------------

# A host that hears no other host pings these, and its default gateway. As long as
# anything answers it is partitioned, not isolated, and nothing is done to its VMs.
isolation_check {
  addresses = ["10.10.0.1", "10.20.0.1"]
  #use_default_gateway = true
}

# What an isolated host does with its VMs: leave_running, shutdown or power_off. They
# are stopped only while the heartbeat volumes show a master who can start them elsewhere.
isolation_response {
  #action = "leave_running"
  #delay = "10s"
  #shutdown_timeout = "5m"
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
  on_crash  = "leave"    # default: what defaults says
  isolation = "shutdown" # default: what isolation_response says
}

vm "db1" {
  #protect = true
  on_crash  = "restart"   # default: what defaults says
  isolation = "power_off" # default: what isolation_response says
  note      = "PostgreSQL primary"
}

vm "web-test" {
  protect = false # left out although vms "web" matches
}
