# /etc/haagent/haagent.hcl: configuration of THIS host's agent.
#
# What belongs here is what differs from host to host, and what must be known
# before the agent can talk to its peers. What the cluster must agree on (timing,
# which VMs are protected) is the cluster policy: see cluster.hcl.
#
# Every *.hcl in /etc/haagent/conf.d is merged over this file in name order: a
# block without a name attribute by attribute, a named one by its name; the last
# value wins. HAAGENT_* variables win over files (HAAGENT_LOG_LEVEL,
# HAAGENT_LISTEN_PORT, ...), flags win over variables. An unknown name, or the same
# name twice in one file, is an error.
#
#   haadm agent config validate /etc/haagent     check it
#   haadm agent config show --origin             where each value comes from
#   haadm config fmt /etc/haagent/haagent.hcl    tidy it
#
# Durations are strings with a unit ("750ms", "30s", "5m"), sizes take KiB, MiB,
# GiB or TiB. A line that begins with #name shows a default; remove the # to
# change it.

# Name of this host in the cluster, unique. Default: the name of the host.
node_name = "kvm1"

# Absolute path: raft log and snapshots, keys and certificates.
#data_dir = "/var/lib/haagent"

# trace, debug, info, warn or error.
#log_level = "info"

# Where this host's VMs run: "libvirt", or "embedded" for trying things out
# without libvirt (VMs are then only pretended).
#hypervisor = "libvirt"

# --- How peers and people reach this host ------------------------------------

# One TLS port, the same for raft and the API, on the address of each network
# below; and a unix socket for administrators on this host.
listen {
  #port = 7300
  #socket = "/run/haagent/admin.sock"
}

# --- HA networks ---------------------------------------------------------------

# One to four, the preferred one first. Heartbeats travel on all of them: two
# networks on separate switches make the difference between "host down" and
# "cable out". The names are the same on every host.
network "mgmt" {
  address = "10.10.0.11" # of this host, without port and prefix length
}

network "storage" {
  address = "10.20.0.11"
}

# --- Hypervisor ----------------------------------------------------------------

libvirt {
  #socket = "/var/run/libvirt/libvirt-sock"
}

# Only with hypervisor = "embedded": domain XML files, and what stands for the
# shared disks. Default: the folder "embedded" in data_dir.
#
#   embedded {
#     directory = "/srv/holdfast-demo"
#   }

# --- What the planner knows of this host ---------------------------------------

host {
  # What is kept for the host itself and given to no VM.
  reserve {
    #memory = "0KiB"
  }
}

# --- Logs ----------------------------------------------------------------------

log {
  # text or json, on standard error.
  #format = "text"
}

# --- Who may use the socket besides root ---------------------------------------

socket_access {
  # Local groups, by name or number. Default: none.
  group "haadmin" {}
}
