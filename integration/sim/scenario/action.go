package scenario

import (
	"slices"
)

// Action is one thing that happens. Which arguments it takes depends on Do.
type Action struct {
	T  Seconds `json:"t"`
	Do string  `json:"do"`

	Host    string     `json:"host,omitempty"`
	VM      string     `json:"vm,omitempty"`
	VMs     []string   `json:"vms,omitempty"` // that go with VM
	From    string     `json:"from,omitempty"`
	To      string     `json:"to,omitempty"`
	Hosts   []string   `json:"hosts,omitempty"`
	Groups  [][]string `json:"groups,omitempty"`
	Network string     `json:"network,omitempty"` // one HA network; empty: all
	// Desired is running, stopped, disabled or unmanaged.
	Desired        string   `json:"desired,omitempty"`
	AlreadyRunning *bool    `json:"already_running,omitempty"`
	GraceS         float64  `json:"grace_s,omitempty"`
	Mode           string   `json:"mode,omitempty"`
	Lock           string   `json:"lock,omitempty"`
	CPUs           float64  `json:"cpus,omitempty"`
	MemMiB         float64  `json:"mem_mib,omitempty"`
	CPUUsed        *float64 `json:"cpu_used,omitempty"`
	MemUsedMiB     *float64 `json:"mem_used_mib,omitempty"`
	MS             float64  `json:"ms,omitempty"`
	Loss           float64  `json:"loss,omitempty"`
	Volume         string   `json:"volume,omitempty"`
	Datastore      string   `json:"datastore,omitempty"`
	Hang           bool     `json:"hang,omitempty"`
	Seconds        float64  `json:"seconds,omitempty"`
	Rate           float64  `json:"rate,omitempty"`
	Fails          int      `json:"fails,omitempty"`
}

// signature is what one action takes, and the feature that it waits for.
type signature struct {
	need, may []string
	waits     string // empty: exists
}

// The features that scenarios wait for, as people read them.
const (
	waitsWatchdog   = "watchdog"
	waitsLocks      = "leftover locks of VMs"
	waitsFailback   = "failback by VM"
	waitsSizes      = "VMs that become larger"
	waitsRetries    = "limits of retries and relocations by VM: they are the policy's"
	waitsSeed       = "a start from the middle of another manager's state: ours has a log"
	waitsPriority   = "restart priority as a number: the policy has five words"
	waitsOrder      = "restart order and readiness"
	waitsDatastores = "datastores"
	waitsGuests     = "guest monitoring"
	waitsStore      = "state store faults"
	waitsZones      = "failure domains"
)

// actions lists every action of the language.
var actions = map[string]signature{
	"power_on":        {need: []string{"host"}},
	"power_off":       {need: []string{"host"}},
	"isolate_network": {need: []string{"host"}, may: []string{"network"}},
	"restore_network": {need: []string{"host"}, may: []string{"network"}},

	"host_shutdown_requested": {need: []string{"host"}},
	"host_reboot_requested":   {need: []string{"host"}},
	"maintenance_on":          {need: []string{"host"}},
	"maintenance_off":         {need: []string{"host"}},

	"set_desired":               {need: []string{"vm", "desired"}},
	"request_stop":              {need: []string{"vm"}, may: []string{"grace_s"}},
	"request_live_move":         {need: []string{"vm", "to"}, may: []string{"vms"}},
	"request_cold_move":         {need: []string{"vm", "to"}},
	"request_restart":           {need: []string{"vm"}},
	"fail_moves":                {need: []string{"host", "fails"}, may: []string{"vm", "hang"}},
	"admin_moved_vm_outside_ha": {need: []string{"vm", "to"}},
	"protect_vm":                {need: []string{"vm", "host"}, may: []string{"desired", "already_running"}},
	"unprotect_vm":              {need: []string{"vm"}},
	"set_vm_lock":               {need: []string{"vm", "lock"}},
	"set_vm_size":               {need: []string{"vm"}, may: []string{"cpus", "mem_mib"}},
	"set_vm_load":               {need: []string{"vm"}, may: []string{"cpu_used", "mem_used_mib"}},

	"disarm_cluster":             {may: []string{"mode", "seconds"}},
	"arm_cluster":                {},
	"restart_host_agent":         {need: []string{"host"}},
	"stop_controller":            {need: []string{"host"}},
	"state_store_access_fails":   {need: []string{"host"}},
	"state_store_access_ok":      {need: []string{"host"}},
	"state_store_refresh_fails":  {need: []string{"host"}},
	"state_store_refresh_ok":     {need: []string{"host"}},
	"partition":                  {need: []string{"groups"}},
	"cut_link":                   {need: []string{"from", "to"}, may: []string{"network"}},
	"restore_link":               {need: []string{"from", "to"}, may: []string{"network"}},
	"network_delay":              {need: []string{"hosts"}, may: []string{"ms", "loss"}},
	"heal":                       {},
	"gateway_down":               {},
	"gateway_up":                 {},
	"cut_storage":                {need: []string{"host"}, may: []string{"volume", "hang"}},
	"restore_storage":            {need: []string{"host"}, may: []string{"volume"}},
	"slow_storage":               {need: []string{"host", "ms"}, may: []string{"volume"}},
	"fail_volume":                {need: []string{"volume"}},
	"restore_volume":             {need: []string{"volume"}},
	"corrupt_slot":               {need: []string{"volume", "host"}},
	"back_up_disk":               {need: []string{"host"}},
	"restore_disk":               {need: []string{"host"}},
	"back_up_volume":             {need: []string{"volume"}},
	"roll_back_volume":           {need: []string{"volume"}},
	"copy_volume":                {need: []string{"volume", "from"}},
	"foreign_volume":             {need: []string{"volume"}},
	"kill_agent":                 {need: []string{"host"}},
	"start_agent":                {need: []string{"host"}},
	"freeze_agent":               {need: []string{"host"}},
	"thaw_agent":                 {need: []string{"host"}},
	"freeze_host":                {need: []string{"host"}},
	"thaw_host":                  {need: []string{"host"}},
	"suspend_host":               {need: []string{"host"}},
	"resume_host":                {need: []string{"host"}},
	"freeze_guard":               {need: []string{"host"}},
	"thaw_guard":                 {need: []string{"host"}},
	"watchdog_lost":              {need: []string{"host"}},
	"watchdog_ignores":           {need: []string{"host"}},
	"watchdog_ok":                {need: []string{"host"}},
	"kills_fail":                 {need: []string{"host"}},
	"kills_work":                 {need: []string{"host"}},
	"hypervisor_down":            {need: []string{"host"}, may: []string{"hang"}},
	"hypervisor_up":              {need: []string{"host"}},
	"clock_step":                 {need: []string{"host", "seconds"}},
	"clock_rate":                 {need: []string{"host", "rate"}},
	"crash_vm":                   {need: []string{"vm"}},
	"hang_guest":                 {need: []string{"vm"}, waits: waitsGuests},
	"unhang_guest":               {need: []string{"vm"}, waits: waitsGuests},
	"guest_shutdown":             {need: []string{"vm"}},
	"suspend_guest":              {need: []string{"vm"}},
	"resume_guest":               {need: []string{"vm"}},
	"fail_starts":                {need: []string{"vm", "host", "fails"}},
	"datastore_pdl":              {need: []string{"datastore"}, may: []string{"host"}, waits: waitsDatastores},
	"datastore_apd":              {need: []string{"datastore"}, may: []string{"host"}, waits: waitsDatastores},
	"datastore_ok":               {need: []string{"datastore"}, may: []string{"host"}, waits: waitsDatastores},
	"fence_device_fails":         {need: []string{"host"}},
	"fence_device_hangs":         {need: []string{"host"}},
	"fence_device_ok":            {need: []string{"host"}},
	"fence_confirm":              {need: []string{"host"}},
	"demand_start":               {need: []string{"vm", "host"}},
	"add_host":                   {need: []string{"host"}},
	"remove_host":                {need: []string{"host"}},
	"transfer_master":            {may: []string{"to"}},
	"state_store_full":           {need: []string{"host"}, waits: waitsStore},
	"state_store_writable_again": {need: []string{"host"}, waits: waitsStore},
}

// events lists every event name, with the feature that it waits for.
var events = map[string]string{
	"leader_elected":                    "",
	"leader_lost":                       "",
	"host_agent_lost_lease":             "",
	"host_unreachable":                  "",
	"host_fencing_started":              "",
	"host_self_fenced":                  "",
	"host_confirmed_fenced":             "",
	"host_available":                    "",
	"host_in_maintenance":               "",
	"vm_started":                        "",
	"vm_stopped":                        "",
	"vm_moved":                          "",
	"vm_recovery_assigned":              "",
	"vm_no_eligible_host":               "",
	"vm_start_retry_same_host":          "",
	"vm_relocated_after_start_failures": "",
	"vm_move_failed":                    "",
	"vm_failed_needs_admin":             "",
	"vm_failure_cleared":                "",
	"vm_held":                           "",
	"vm_released":                       "",
	"vm_unmanaged":                      "",
	"vm_return_after_maintenance":       "",
	"vm_stale_lock_cleared":             waitsLocks,
	"vm_protection_added":               "",
	"vm_protection_removed":             "",
	"rebalance_move_ordered":            "",
	"command_rejected":                  "",
	"command_ignored":                   "",
	"cluster_disarmed":                  "",
	"cluster_armed":                     "",
	"went_idle":                         "",

	// Of Holdfast.
	"cluster_created":               "",
	"cluster_arms_soon":             "",
	"host_joined":                   "",
	"host_left":                     "",
	"host_held_off":                 "",
	"host_stands_aside":             "",
	"host_lease_late":               "",
	"host_lease_in_time":            "",
	"host_maintenance_ended":        "",
	"host_shut_down":                "",
	"host_shutdown_called_off":      "",
	"vm_freeze_ended":               "",
	"vm_evacuation_failed":          "",
	"vm_move_ordered":               "",
	"vm_restart_ordered":            "",
	"vm_retry_asked":                "",
	"host_heard_again":              "",
	"vm_redefined":                  "",
	"vm_seen_running":               "",
	"network_path_lost":             "",
	"network_path_restored":         "",
	"vm_crashed":                    "",
	"vm_start_failed":               "",
	"vm_start_held":                 "",
	"vm_given_up":                   "",
	"vm_protection_refused":         "",
	"admission_control_warned":      "",
	"failover_capacity_lost":        "",
	"failover_capacity_restored":    "",
	"failover_performance_reduced":  "",
	"failover_performance_restored": "",
	"vm_failover_lost":              "",
	"vm_failover_restored":          "",
	"vm_intent_changed":             "",
	"token_created":                 "",
	"token_revoked":                 "",
	"policy_applied":                "",
	"heartbeat_volumes_changed":     "",
	"heartbeat_volume_fails":        "",
	"heartbeat_volume_lost":         "",
	"heartbeat_volume_works":        "",
	"heartbeat_volumes_short":       "",
	"heartbeat_volumes_enough":      "",
	"host_partitioned":              "",
	"host_isolated":                 "",
	"host_agent_unreachable":        "",
	"office_handed_over":            "",
	"host_fencing_failed":           "",
	"host_proof_awaited":            "",
	"vm_runs_elsewhere":             "",
	"invariant_violated":            "",
	"host_watchdog_changed":         "",
	"host_switched_off":             "",
	"host_switched_on":              "",
	"fence_device_works":            "",
	"fence_device_fails":            "",
}

// The values that enumerated fields take.
var (
	desiredStates  = []string{"running", "stopped", "disabled", "ignored", "unmanaged"}
	finalStates    = []string{"running", "stopped", "not_running", "failed", "unmanaged", "waiting_for_host"}
	hostStates     = []string{"on", "off", "isolated"}
	ruleTypes      = []string{"host_affinity", "keep_together", "keep_apart"}
	watchdogs      = []string{"hardware", "none"}
	fenceDevices   = []string{"works", "refuses", "hangs"}
	placements     = []string{"configured_size", "measured_load"}
	shutdownModes  = []string{"conditional", "freeze", "failover", "migrate"}
	maxSecondsEnds = []string{"start_ordered", "running"}
	bounds         = []string{"member", "master"}
)

// takes reports whether the action has this argument.
func (s signature) takes(arg string) bool {
	return arg == "t" || arg == "do" || slices.Contains(s.need, arg) || slices.Contains(s.may, arg)
}

// KnownEvent reports whether the language has an event of this name.
func KnownEvent(name string) bool { _, ok := events[name]; return ok }
