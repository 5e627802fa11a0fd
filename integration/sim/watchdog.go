package sim

// Faults of what bounds the VMs of a host, each by itself: its guard, its watchdog.

// freezeGuard is SIGSTOP for the guard alone: the agent and the VMs go on.
func (m *machine) freezeGuard() {
	if !m.on || m.still || m.guardStill {
		return
	}
	m.guardStill = true
	m.guard.freeze(true)
}

// thawGuard is SIGCONT.
func (m *machine) thawGuard() {
	if !m.on || m.still || !m.guardStill {
		return
	}
	m.guardStill, m.woke = false, m.clock.now()
	m.guard.freeze(false)
}

// onDog does something to the watchdog of a host, and lets the guard notice: it pets
// every tick, which the simulated one does only in effect.
func onDog(f func(*machine)) act {
	return onHost(func(m *machine) {
		if m.dog == nil {
			return
		}
		f(m)
		if m.on && !m.still && !m.guardStill {
			m.guard.keep()
		}
	})
}
