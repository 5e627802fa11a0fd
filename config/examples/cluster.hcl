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

# --- Hosts ---------------------------------------------------------------------

host "kvm1" {
  # How it can be switched off from outside: the devices, in the order in which they
  # are tried. Where several must be off together (two power supplies on two
  # switches) they stand in a list of their own.
  fence = ["kvm1-bmc", ["kvm1-pdu-a", "kvm1-pdu-b"]]

  # What it fails together with. Without one it fails alone.
  failure_domain = "rack-a"

  max_restarts   = 8      # starts under way at once; default: restart.max_per_host
  max_vms        = 100    # that run on it; default: no bound
  memory_reserve = "4GiB" # for the host itself; default: what its own file says

  labels = { gpu = "a2" } # for rules with host_labels
}

# Kept free for restarts: nothing else is started there.
host "kvm9" {
  standby = true
}

# --- Fence devices -------------------------------------------------------------

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
# best on different storage. Hosts prove by them that nobody takes their VMs over
# while the network is out. Made with `haadm storage heartbeat init`. Up to 16 can be
# named; the cluster chooses `count` of them, 1 to 5, and another one when one is lost.
heartbeat_volumes {
  #count = 2
}

heartbeat_volume "san" {
  path = "/dev/disk/by-id/wwn-0x6001405f00d-part1"
  #pinned = false # true: in use before others, and never replaced
}

heartbeat_volume "nfs" {
  path = "/srv/vm/.holdfast-heartbeat"
}

# --- Warnings ------------------------------------------------------------------

# What haadm status says as long as it is so, and what can be muted here: fewer
# than two heartbeat volumes, all that are in use on one server or array, and hosts
# that have a single HA network.
warnings {
  #few_heartbeat_volumes = true
  #volumes_on_one_server = true
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

# What becomes of the VMs of a host that is shut down or rebooted in good order: failover (they
# are shut down and start elsewhere), migrate (they are moved while they run, as for maintenance),
# freeze (they are shut down and wait for the host), or conditional (freeze for a reboot, failover
# for anything else).
host_shutdown {
  #action = "failover"
  #migrate_timeout = "10m" # then what has not left is shut down
  #freeze_timeout = "15m"  # then they start elsewhere; 0s: never
}

# --- Shared storage --------------------------------------------------------------

# Storage that hosts share, each under the same path. A VM with a disk there can be
# restarted only on hosts that have it. Once a datastore is named, a disk that is a
# file or device outside all of them counts as local, and its VM as one that cannot
# be restarted elsewhere. Without any, all disks are taken to be shared.
datastore "nfs-vm" {
  path = "/srv/vm"
  #mounted = true # a host has it only while something is mounted there
}

datastore "san" {
  path    = "/dev/disk/by-id"
  mounted = false # no mount point
}

# --- Devices ---------------------------------------------------------------------

# Devices of hosts that are handed to guests (<hostdev>). Of one pool any does, so that a VM
# with one can be started wherever another is free. Each must say that it is id, or counts
# as missing.
devices "gpu" {
  id = "10de:1eb8" # only for PCI devices; none: that is not asked

  host "kvm1" {
    pci = ["0000:41:00.0"]
  }
  host "kvm2" {
    pci = ["0000:01:00.0", "0000:02:00.0"]
  }
}

devices "vgpu" {
  host "kvm1" {
    mdev = ["c2177883-f1bb-47f0-914d-32a22e3a8804"]
  }
  host "kvm2" {
    mdev = ["83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"]
  }
}

devices "dongle" {
  host "kvm1" {
    usb = ["0529:0001"] # vendor and product
  }
}

# --- Where VMs go ----------------------------------------------------------------

# What a host can carry. Memory is a hard limit; processors are shared without one (0)
# unless it is set. spread: evenly over the hosts; pack: onto few.
placement {
  #memory_overcommit = 1
  #cpu_overcommit = 0
  #strategy = "spread"
}

# Room for failures of hosts. enforce: what would take it is refused (protecting a VM,
# or starting a protected one by hand); warn: people are told; off: it is not reckoned.
# Restarts after a failure are never refused.
admission_control {
  #mode = "warn"

  # How it is reckoned. Here: any so many hosts (or failure domains) may fail at once,
  # and every protected VM finds a place; with succession, also one after the other.
  host_failures {
    #tolerate = 1
    #domain = "host"
    #succession = false
  }

  # Instead of it, one of these, as vSphere reckons:
  # slots {
  #   tolerate    = 1
  #   cpu_min_mhz = 32
  #   memory_min  = "512MiB"
  #   cpu_max_mhz = 2000
  #   memory_max  = "8GiB"
  #   cpu_mhz     = 1000     # a fixed size, instead of both bounds
  #   memory      = "4GiB"   # likewise
  # }
  # reserve_percent {
  #   cpu         = 34       # without both: what the largest hosts make of all,
  #   memory      = 34       # as many as this says:
  #   tolerate    = 1
  #   cpu_min_mhz = 32
  # }
  # standby_hosts {} # the hosts with standby = true are kept empty

  # Slots and percentages count running VMs that are not protected, too:
  # count_unprotected = true

  # Per cent of what they really take that VMs may lose by the failures before people
  # are warned. It refuses nothing. 100: never.
  #tolerated_degradation = 100
}

# --- Restarts --------------------------------------------------------------------

restart {
  # The moments of the tries, counted from the first. Every host that could take the
  # VM gets its turn.
  #retries = ["0s", "2m", "6m", "14m", "30m"]

  # Starts under way at once, on a host and from a datastore.
  #max_per_host = 32
  #max_per_datastore = 32

  # When the VMs of the next level (priority, and order within it) are started: ordered (at
  # once, one level after the other), running (when those before run), or ready (when what
  # their groups' ready_when asks holds as well).
  next_when = "running" # default: ordered

  # What is waited besides, and after what time the next level starts all the same.
  #next_delay = "0s"
  #next_timeout = "10m"
}

# How VMs that run are moved: off hosts in maintenance, to where rules that are a must
# want them, back, and for balance.
migration {
  # Moves from and to a host that are under way at once.
  #max_per_host = 2

  # How much of its memory each VM that moves sends in a second; default: as much as it can.
  # Memory goes over an HA network, which heartbeats use too.
  bandwidth = "500MiB"

  # A move that is not through by then is called off: the VM stays where it is.
  #timeout = "30m"

  # A VM that cannot be moved while it runs, on a host in maintenance: stay, or restart
  # (it is shut down and started elsewhere).
  #when_not_live = "stay"

  # When VMs are moved back: never; preferred (to hosts that rules prefer); maintenance
  # (and to a host that they left for it); always (and to a host that was lost).
  #failback = "maintenance"
}

# Even load: off; on_start (VMs that are started go where there is least, not home);
# automatic (and VMs that run are moved).
balance {
  #mode = "off"

  # What load is: configured (what VMs may take) or measured (what they really took, by the
  # mean of the hold time). Whether a VM fits goes by what it may take either way.
  #by = "configured"

  # How uneven load must be, in per cent, for how long, and how much of that a move
  # must take away.
  #threshold = 30
  #hold      = "5m"
  #margin    = 10
}

# What several VMs have in common.
class "critical" {
  priority  = "highest"    # highest, high, medium (default), low, lowest
  admission = "guaranteed" # best_effort: restarted after all others, no room is kept
  retries   = ["0s", "30s", "2m", "10m"]
  isolation = "power_off"
  failback  = "always" # default: that of migration
}

class "normal" {
  #priority = "medium"
  #admission = "guaranteed"
}

class "spare" {
  priority  = "lowest"
  admission = "best_effort"
}

# VMs that start together, after other groups are ready: all their VMs run, and what
# ready_when asks for holds. A VM is in one group: that which lists it, else the
# first whose match fits.
group "database" {
  vms = ["db1", "db2"]

  ready_when {
    guest_agent = true
    tcp         = ["10.10.5.20:5432"]
    http        = ["http://10.10.5.20:8008/health"]
    uptime      = "20s"
    #timeout = "10m"
  }
}

group "frontend" {
  match       = { name = "web-*" }
  spread      = true # over hosts, where possible
  start_after = ["database"]
  start_delay = "20s"
  #on_timeout = "continue" # or stop: stay down until it is ready
}

# --- Rules of placement ----------------------------------------------------------

# kind: apart, together, on_hosts or not_on_hosts. strength: must is never broken,
# should ranks the hosts.
rule "db-apart" {
  kind     = "apart"
  strength = "must"
  vms      = ["db1", "db2"]
  domain   = "failure_domain" # default: host
}

rule "licence" {
  kind     = "on_hosts"
  strength = "should"
  vms      = ["db1"]
  hosts    = { kvm1 = 10, kvm2 = 5 } # or a list; the highest weight comes first
}

rule "gpu" {
  kind        = "on_hosts"
  strength    = "must"
  match       = { name = "render-*" }
  host_labels = { gpu = "a2" }
}

rule "web-and-cache" {
  kind     = "together"
  strength = "should"
  vms      = ["web-1", "cache-1"]
  weight   = 5 # against other rules of its kind; default: 1
}

# --- VMs -----------------------------------------------------------------------

# What holds for a VM that no block below names, and for what those leave out.
defaults {
  # listed: only VMs named below are protected; all: every persistent domain.
  #protect = "listed"

  # When a VM's process crashes: restart or leave.
  #on_crash = "restart"

  # The class of VMs for which no block below names one; default: none.
  class = "normal"
}

# One rule for many VMs. A vm block of its own goes before it; of several vms
# blocks the first one that matches counts.
vms "web" {
  match = { name = "web-*" } # *, ? and [a-z] as in a shell
  #protect = true
  on_crash  = "leave"    # default: what defaults says
  isolation = "shutdown" # default: what isolation_response says
  failback  = "never"    # default: that of its class, or of migration
  order     = 10         # within a priority, lower first
}

vm "db1" {
  #protect = true
  on_crash  = "restart"   # default: what defaults says
  isolation = "power_off" # default: what its class or isolation_response says
  class     = "critical"
  priority  = "high" # default: that of the class
  failback  = "preferred"
  #order = 0
  cpu_reserved_mhz = 2000 # promised to it; admission control counts it
  note             = "PostgreSQL primary"
}

vm "web-test" {
  protect = false # left out although vms "web" matches
}
