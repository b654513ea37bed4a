//go:build failpoints

package failpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Environment variables of a binary with points.
const (
	planVariable = "RAFTSTREAM_FAILPOINTS"
	fileVariable = "RAFTSTREAM_FAILPOINTS_FILE"
)

// Enabled says whether points act in this binary.
const Enabled = true

// process is what this process was told.
var process = start()

// points are the plans of a process: that of its start, and that of the file as it was read last.
type points struct {
	first plan
	file  string
	die   func(status int, text string) // does not return
	say   func(text string)

	mu     sync.Mutex // held while the file is read
	seen   stamp
	latest atomic.Pointer[plan]
}

// stamp tells one version of the file from another. A rename changes all of it.
type stamp struct {
	changed time.Time
	size    int64
	file    fs.FileInfo
}

func (s stamp) same(i fs.FileInfo) bool {
	return s.file != nil && os.SameFile(s.file, i) && s.changed.Equal(i.ModTime()) && s.size == i.Size()
}

func start() *points {
	p := &points{
		file: os.Getenv(fileVariable),
		die: func(status int, text string) {
			fmt.Fprintln(os.Stderr, text)
			os.Exit(status)
		},
		say: func(text string) { fmt.Fprintln(os.Stderr, text) },
	}
	var err error
	if p.first, err = parse(os.Getenv(planVariable)); err != nil {
		p.die(2, fmt.Sprintf("failpoints of %s: %v", planVariable, err))
	}
	p.look()
	return p
}

// Hit says that the process is at a point, and does what it was told to do there.
func Hit(at Point) { process.hit(at) }

func (p *points) hit(at Point) {
	if p.file != "" {
		p.look()
	}
	p.first.hit(at, p)
	if latest := p.latest.Load(); latest != nil {
		latest.hit(at, p)
	}
}

// look reads the file if it has changed. No file is no plan.
func (p *points) look() {
	if p.file == "" {
		return
	}
	info, err := os.Stat(p.file)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.seen = stamp{}
		p.latest.Store(nil)
		return
	case err != nil:
		p.die(2, fmt.Sprintf("failpoints: %v", err))
	case p.seen.same(info):
		return
	}
	text, err := os.ReadFile(p.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.die(2, fmt.Sprintf("failpoints: %v", err))
	}
	told, err := parse(string(text))
	if err != nil {
		p.die(2, fmt.Sprintf("failpoints of %s: %v", p.file, err))
	}
	p.seen = stamp{changed: info.ModTime(), size: info.Size(), file: info}
	p.latest.Store(&told)
}

// hit counts, and acts where it is time.
func (l plan) hit(at Point, p *points) {
	a := l[at]
	if a == nil {
		return
	}
	n := a.hits.Add(1)
	if n != a.first && (n < a.first || !a.always) {
		return
	}
	if a.exit {
		p.die(ExitStatus, fmt.Sprintf("failpoint %s: exit at hit %d", at, n))
		return
	}
	p.say(fmt.Sprintf("failpoint %s: sleep %v at hit %d", at, a.sleep, n))
	t := time.NewTimer(a.sleep)
	<-t.C
}
