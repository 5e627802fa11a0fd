package placement

import (
	"fmt"
	"slices"
	"strings"
)

// Failures says which failures are asked about.
type Failures struct {
	// N hosts at most.
	N int
	// Domains counts failure domains instead of hosts.
	Domains bool
	// Succession lets them fail one after the other, with the VMs restarted in
	// between and never moved again while their host lives. It asks for more than all
	// at once, and takes far longer to decide.
	Succession bool
}

func (f Failures) String() string {
	what := "host"
	if f.Domains {
		what = "failure domain"
	}
	if f.N != 1 {
		what += "s"
	}
	if f.N == 1 {
		return "any 1 " + what
	}
	how := "at once"
	if f.Succession {
		how = "one after the other"
	}
	return fmt.Sprintf("any %d %s %s", f.N, what, how)
}

// Tolerance is the answer to whether any N hosts may fail.
type Tolerance struct {
	Failures
	Answer Answer
	// Lost are hosts whose loss leaves a protected VM without a host, in the order
	// in which they fail; set with No.
	Lost []string
	// Down are the protected VMs that would stay down then, where that is known: all
	// that follow from the plan for the loss of Lost at once.
	Down []string
	// Uncovered are protected VMs that no failure plan can restart, and why. They are
	// counted apart: the answer is about all others.
	Uncovered []Uncovered
	// Why is the answer in words.
	Why string
}

// Uncovered is a protected VM that has nowhere to go when its host fails.
type Uncovered struct{ VM, Why string }

// Tolerate decides whether every protected VM can be restarted after any loss of
// up to N hosts, with the other VMs where they are. VMs that wait now are taken to
// run where Decide would start them; one that cannot be started makes the answer No.
func Tolerate(c *Cluster, f Failures) Tolerance {
	work := c.Policy.work()
	return newModel(c).tolerate(f, &work)
}

// Capability is how many hosts may fail.
type Capability struct {
	// Failures is the largest N that is answered with Yes.
	Failures int
	// Exact says that N+1 is proven to be too many; otherwise the work ran out there.
	Exact bool
	// Quorum is how many voters may fail before there is no majority; -1 without voters.
	Quorum int
	// Beyond is the answer for one more.
	Beyond Tolerance
}

// Limit is how many hosts may fail with both room and a majority left.
func (c Capability) Limit() int {
	if c.Quorum >= 0 {
		return min(c.Failures, c.Quorum)
	}
	return c.Failures
}

// MaxFailures finds the largest number of hosts, or failure domains, that may
// fail, in the way that f says; f.N is not looked at. Failures is at most the
// number of hosts that are not down.
func MaxFailures(c *Cluster, f Failures) Capability {
	m := newModel(c)
	work := c.Policy.work()
	best := Capability{Failures: -1, Quorum: m.quorum()}
	for f.N = 0; ; f.N++ {
		best.Beyond = m.tolerate(f, &work)
		if best.Beyond.Answer != Yes {
			break
		}
		best.Failures = f.N
		if f.N >= m.unitsAlive(f.Domains) {
			break
		}
	}
	best.Exact = best.Beyond.Answer != Unknown
	best.Failures = max(best.Failures, 0)
	return best
}

// quorum is how many voters that are not down may fail before the others are no majority.
// Those that are down have their votes still.
func (m *model) quorum() int {
	voters, alive := 0, 0
	for _, h := range m.hosts {
		if !h.Voter {
			continue
		}
		if voters++; h.State != Down {
			alive++
		}
	}
	if voters == 0 {
		return -1
	}
	return max(0, alive-voters/2-1)
}

func (m *model) unitsAlive(domains bool) int {
	n := 0
	for range newRoom(m).units(domains) {
		n++
	}
	return n
}

// units are the sets of hosts that fail as one, those that live.
func (r *room) units(domains bool) [][]int32 {
	m := r.m
	var units [][]int32
	byDomain := map[int32]int{}
	for h := range int32(len(m.hosts)) {
		switch u, seen := byDomain[m.domain[h]]; {
		case r.dead.has(h):
		case domains && seen:
			units[u] = append(units[u], h)
		default:
			byDomain[m.domain[h]] = len(units)
			units = append(units, []int32{h})
		}
	}
	return units
}

func (m *model) tolerate(f Failures, work *int) Tolerance {
	f.N = max(0, f.N)
	t := Tolerance{Failures: f}
	r := newRoom(m)
	for _, d := range m.decide(r, Question{}, false, work).Decisions {
		if d.Action == StayDown && m.vms[m.vmByID[d.VM]].Class == Protected {
			if m.uncoveredNow(r, m.vmByID[d.VM]) {
				t.Uncovered = append(t.Uncovered, Uncovered{d.VM, d.Why})
				continue
			}
			t.Answer, t.Down = No, []string{d.VM}
			t.Why = fmt.Sprintf("%s waits for a host even now: %s", d.VM, d.Why)
			return t
		}
	}
	s := newSurvey(r, f, nil, work)
	if f.N > 0 {
		t.Uncovered = append(t.Uncovered, s.uncovered...)
	}
	var lost []int32
	if f.Succession && f.N > 1 {
		t.Answer, lost = s.successive(f)
	} else {
		t.Answer, lost = s.atOnce(f.N)
	}
	for _, h := range lost {
		t.Lost = append(t.Lost, m.hosts[h].Name)
	}
	m.tell(&t)
	return t
}

// uncoveredNow reports whether a VM that waits could run on no host even if all were empty.
// Where no host is up that is not to be known.
func (m *model) uncoveredNow(r *room, v int32) bool {
	if !slices.ContainsFunc(m.hosts, func(h *Host) bool { return h.State == Up }) {
		return false
	}
	it := r.item([]int32{v})
	return it.wide == 0 || len(m.vms[v].Bound) > 0
}

// tell puts an answer into words, and finds the VMs that stay down.
func (m *model) tell(t *Tolerance) {
	switch t.Answer {
	case Yes:
		t.Why = fmt.Sprintf("%s may fail: every protected VM finds a host", t.Failures)
		if t.N == 0 {
			t.Why = "every protected VM has a host"
		}
		if n := len(t.Uncovered); n > 0 {
			names := make([]string, n)
			for i, u := range t.Uncovered {
				names[i] = u.VM
			}
			t.Why += ", but for " + strings.Join(few(names), ", ") + ", which no plan covers"
		}
		return
	case Unknown:
		t.Why = fmt.Sprintf("whether %s may fail could not be decided within the bound on the work", t.Failures)
		return
	}
	if !t.Succession {
		r := newRoom(m)
		work := m.c.Policy.planWork()
		m.decide(r, Question{}, false, &work)
		t.Down = slices.DeleteFunc(m.decide(r, Question{Lost: t.Lost}, false, &work).Down(), func(name string) bool {
			return m.vms[m.vmByID[name]].Class != Protected || slices.ContainsFunc(t.Uncovered, func(u Uncovered) bool { return u.VM == name })
		})
	}
	if !t.Succession { // where the order says something
		slices.Sort(t.Lost)
	}
	t.Why = fmt.Sprintf("%s may not fail: with %s lost ", t.Failures, strings.Join(t.Lost, ", "))
	if len(t.Down) == 0 {
		t.Why += "not every protected VM finds a host"
		return
	}
	t.Why += strings.Join(few(t.Down), ", ") + " would stay down"
}

// few is the first of many names, and how many more there are.
func few(names []string) []string {
	const most = 5
	if len(names) <= most {
		return names
	}
	return append(slices.Clone(names[:most]), fmt.Sprintf("%d more", len(names)-most))
}
