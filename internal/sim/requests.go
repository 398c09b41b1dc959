package sim

import "maps"

// count counts a request to a machine, or to the box's NetBox. The caller holds the lock.
func (l *Faults) count(machine string) {
	if l.asked == nil {
		l.asked = map[string]int{}
	}
	l.asked[machine]++
}

// requests gives the requests since the start, by machine; those to the box's NetBox under NetBox.
func (l *Faults) requests() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.asked)
}

// Requests tells how many requests each BMC got since the start, reads too, and the box's NetBox under NetBox.
func (b *Box) Requests() map[string]int { return b.faults.requests() }
