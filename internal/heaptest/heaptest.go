// Package heaptest measures how much memory something needs, for tests of readers that foreign input must not
// make grow.
package heaptest

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// gcPercent makes the collector run whenever the heap has grown by a quarter, so that little growth is missed.
const gcPercent = 25

// Watch measures by how many bytes the live heap grows, at most, until the function that it returns is called;
// calls after the first return the same. Live is what a collection found in use, and what was made while it ran:
// other garbage depends on when the collector has the time to run, so a bound that counted it would fail on a busy
// host.
//
// It changes the collector's pace of the whole process meanwhile, so two must not overlap.
func Watch() (grown func() int64) {
	before := debug.SetGCPercent(gcPercent)
	runtime.GC()
	start := live()
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		most := start
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, live())
			select {
			case <-stop:
				result <- max(most, live()) - start
				return
			case <-tick.C:
			}
		}
	}()
	return sync.OnceValue(func() int64 {
		close(stop)
		debug.SetGCPercent(before)
		return <-result
	})
}

// live is the bytes that the last collection left.
func live() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}
