package operation

import "testing"

func TestCanMove(t *testing.T) {
	tests := []struct {
		from, to State
		want     bool
	}{
		{Queued, Running, true},
		{Queued, Aborted, true},
		{Queued, Done, false},
		{Queued, Waiting, false},
		{Running, Running, true},
		{Running, Waiting, true},
		{Waiting, Done, true}, // the last step was skipped
		{Away, Running, true},
		{Running, Queued, false},
		{Done, Running, false},
		{Aborted, Failed, false},
		{Failed, Running, false},
		{"", Running, false},
	}
	for _, tt := range tests {
		if got := CanMove(tt.from, tt.to) == nil; got != tt.want {
			t.Errorf("CanMove(%s, %s) = %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestCombine(t *testing.T) {
	tests := []struct {
		runs map[State]int
		want State
	}{
		{map[State]int{Queued: 2}, Queued},
		{map[State]int{Queued: 1, Running: 1}, Running},
		{map[State]int{Queued: 1, Done: 1}, Running},
		{map[State]int{Running: 5, Waiting: 1, Away: 1}, Waiting},
		{map[State]int{Running: 5, Away: 1}, Away},
		{map[State]int{Running: 1, Paused: 1}, Running},
		{map[State]int{Queued: 1, Paused: 1}, Paused},
		{map[State]int{Done: 2}, Done},
		{map[State]int{Done: 2, Aborted: 1}, Aborted},
		{map[State]int{Done: 2, Aborted: 1, Failed: 1}, Failed},
		{map[State]int{Failed: 1, Running: 1}, Running},
	}
	for _, tt := range tests {
		if got := Combine(tt.runs); got != tt.want {
			t.Errorf("Combine(%v) = %s, want %s", tt.runs, got, tt.want)
		}
	}
}
