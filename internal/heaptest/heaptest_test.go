package heaptest

import (
	"runtime"
	"testing"
)

func TestWatch(t *testing.T) {
	const size = 64 << 20
	grown := Watch()
	for range 128 { // garbage, four times as much as what is kept
		garbage := make([]byte, 4<<20)
		runtime.KeepAlive(&garbage[len(garbage)-1])
	}
	kept, more := make([]byte, size), make([]byte, size)
	runtime.GC() // finds both, and grown looks once more
	got := grown()
	runtime.KeepAlive(kept)
	runtime.KeepAlive(more)
	// What is made while a collection runs counts as live, so some of the garbage may; what was live before and is
	// no longer makes the growth smaller.
	if got < 3*size/2 || got > 4*size {
		t.Errorf("got %d MiB, want about %d", got>>20, 2*size>>20)
	}
	if again := grown(); again != got {
		t.Errorf("got %d the second time, want %d", again, got)
	}
}
