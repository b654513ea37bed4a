package clock

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	pageBytes = 4096
	// stepEvery is how often a drifting clock is moved on.
	stepEvery = 5 * time.Millisecond
)

// page is what a file shares with the processes that read their clock by it, as skew.go.txt has it.
type page struct {
	off    int64 // nanoseconds that the clock is ahead
	reads  int64 // readings while it was not 0
	mapped int64 // processes that have mapped it
}

// Skew is the file of one node's clock. Motions add up, so that faults may overlap. Its methods may be called
// concurrently.
type Skew struct {
	mem  []byte
	page *page

	mu      sync.Mutex
	motions map[*Motion]bool // that have not ended
}

// Open opens the file of a clock; one that is not there is made, with a clock that is right. A process is given it by
// the environment variable CHAOS_CLOCK, and must be started when the file is there.
func Open(path string) (*Skew, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the skew of a clock: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() < pageBytes {
		err = f.Truncate(pageBytes)
	}
	var mem []byte
	if err == nil {
		mem, err = unix.Mmap(int(f.Fd()), 0, pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("open the skew of a clock: %w", err)
	}
	return &Skew{mem: mem, page: (*page)(unsafe.Pointer(&mem[0])), motions: map[*Motion]bool{}}, nil
}

// Offset is how far the clock is ahead.
func (s *Skew) Offset() time.Duration { return time.Duration(atomic.LoadInt64(&s.page.off)) }

// Reads counts the times that a process read a clock that was off.
func (s *Skew) Reads() int64 { return atomic.LoadInt64(&s.page.reads) }

// Mapped counts the processes that were ever given this clock: 0 says that none was, or not built by Build.
func (s *Skew) Mapped() int64 { return atomic.LoadInt64(&s.page.mapped) }

// Motion is one movement of a clock.
type Motion struct {
	skew *Skew
	end  chan struct{} // closed by End
	done chan struct{} // the goroutine has ended; closed at once where there is none
	once sync.Once
	by   atomic.Int64 // what it has moved the clock by so far
}

// Jump moves the clock by d at once.
func (s *Skew) Jump(d time.Duration) *Motion {
	m := s.motion()
	m.to(d)
	close(m.done)
	return m
}

// Drift moves the clock by total little by little, over a time; then it stays there.
func (s *Skew) Drift(total, over time.Duration) *Motion {
	m := s.motion()
	began := time.Now()
	go m.run(stepEvery, func() (more bool) {
		part := min(1, float64(time.Since(began))/float64(max(over, 1)))
		m.to(time.Duration(part * float64(total)))
		return part < 1
	})
	return m
}

// Strobe moves the clock to and fro: d ahead and d behind, changing hz times a second.
func (s *Skew) Strobe(d time.Duration, hz int) *Motion {
	m := s.motion()
	m.to(d)
	go m.run(time.Second/time.Duration(max(hz, 1)), func() (more bool) {
		d = -d
		m.to(d)
		return true
	})
	return m
}

func (s *Skew) motion() *Motion {
	m := &Motion{skew: s, end: make(chan struct{}), done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.motions[m] = true
	return m
}

// to makes the motion's part of the offset d. One goroutine at a time calls it.
func (m *Motion) to(d time.Duration) {
	atomic.AddInt64(&m.skew.page.off, int64(d)-m.by.Swap(int64(d)))
}

func (m *Motion) run(every time.Duration, step func() (more bool)) {
	defer close(m.done)
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if !step() {
				return
			}
		case <-m.end:
			return
		}
	}
}

// End stops the motion and moves the clock back at once by what it was moved. Calling it again does nothing.
func (m *Motion) End() {
	m.once.Do(func() {
		close(m.end)
		<-m.done
		m.to(0)
		m.skew.mu.Lock()
		defer m.skew.mu.Unlock()
		delete(m.skew.motions, m)
	})
}

// Reset ends every motion and sets the clock right, whatever moved it.
func (s *Skew) Reset() {
	s.mu.Lock()
	all := make([]*Motion, 0, len(s.motions))
	for m := range s.motions {
		all = append(all, m)
	}
	s.mu.Unlock()
	for _, m := range all {
		m.End()
	}
	atomic.StoreInt64(&s.page.off, 0)
}

// Close ends every motion and gives the file back, with a clock that is right. Nothing may be called after it.
func (s *Skew) Close() error {
	s.Reset()
	if err := unix.Munmap(s.mem); err != nil {
		return fmt.Errorf("close the skew of a clock: %w", err)
	}
	return nil
}
