package link

import (
	"container/heap"
	"slices"
	"sync"
	"time"
)

// maxLate bounds the bytes of frames that wait for their time, in the whole network.
const maxLate = 64 << 20

// timeline sends frames later, in the order of their times and, at the same time, in the order in which they came.
type timeline struct {
	mu     sync.Mutex
	frames lateFrames
	bytes  int
	added  uint64
	closed bool

	wake chan struct{} // one token: what comes first has changed, or it is closed
	done chan struct{}
}

type lateFrame struct {
	due    time.Time
	number uint64
	to     *station
	frame  []byte
}

func newTimeline() *timeline {
	t := &timeline{wake: make(chan struct{}, 1), done: make(chan struct{})}
	go t.run()
	return t
}

// add takes a copy of the frame; false: too much waits already, or the timeline is closed.
func (t *timeline) add(due time.Time, to *station, frame []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.bytes+len(frame) > maxLate {
		return false
	}
	t.added++
	t.bytes += len(frame)
	heap.Push(&t.frames, lateFrame{due, t.added, to, slices.Clone(frame)})
	if t.frames[0].number == t.added {
		t.nudge()
	}
	return true
}

func (t *timeline) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// close ends the timeline; frames that still wait are lost.
func (t *timeline) close() {
	t.mu.Lock()
	t.closed = true
	t.nudge()
	t.mu.Unlock()
	<-t.done
}

func (t *timeline) run() {
	defer close(t.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		f, wait, open := t.next(time.Now())
		switch {
		case !open:
			return
		case f.to != nil:
			f.to.send(f.frame)
			continue
		case wait < 0:
			<-t.wake
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-t.wake:
		}
	}
}

// next takes the first frame if it is due, else says how long to wait for it: less than 0 if there is none.
func (t *timeline) next(now time.Time) (f lateFrame, wait time.Duration, open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(t.frames) == 0 {
		return lateFrame{}, -1, !t.closed
	}
	if wait = t.frames[0].due.Sub(now); wait > 0 {
		return lateFrame{}, wait, true
	}
	f = heap.Pop(&t.frames).(lateFrame)
	t.bytes -= len(f.frame)
	return f, 0, true
}

// lateFrames is a heap.
type lateFrames []lateFrame

// Len, Less and Swap are sort.Interface's.
func (h lateFrames) Len() int { return len(h) }

func (h lateFrames) Less(i, j int) bool {
	if c := h[i].due.Compare(h[j].due); c != 0 {
		return c < 0
	}
	return h[i].number < h[j].number
}

func (h lateFrames) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push and Pop are heap.Interface's.
func (h *lateFrames) Push(x any) { *h = append(*h, x.(lateFrame)) }

// Pop takes the last.
func (h *lateFrames) Pop() any {
	old := *h
	f := old[len(old)-1]
	old[len(old)-1] = lateFrame{}
	*h = old[:len(old)-1]
	return f
}
