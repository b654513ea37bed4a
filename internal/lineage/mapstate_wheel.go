package lineage

import (
	"maps"
	"slices"
	"sync"
)

// wheel finds the rows of keyed state that have not changed for long. It is lazy: a row stays where it was put when its
// key came, whatever changes it, and is put anew when its time comes and it has changed since. So a change costs nothing.
//
// What is found depends on the rows alone: the wheel is never saved, and is made again of the rows where it is missing.
//
// Invariant: while there is a wheel, each row that is live is in exactly one slot, and the slot's time is not after the
// row's last change. Slots are in order of time.
type wheel struct {
	mu    sync.Mutex // tasks that read the same state make the wheel when they need it
	there bool
	slots []wheelSlot
}

type wheelSlot struct {
	at   int64
	rows []int32
}

// stamps is what a wheel knows of a state: whether a row is live, and when it was changed last.
type stamps interface {
	Rows() int
	Live(row int) bool
	Stamp(row int) int64
}

// drop gives the wheel up: rows have other numbers, or others came in between.
func (w *wheel) drop() { w.there, w.slots = false, nil }

// due gives the live rows that were last changed before a time, in order.
func (w *wheel) due(before int64, of stamps) (rows []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.there {
		w.build(of)
	}
	for _, s := range w.slots {
		if s.at >= before {
			break
		}
		for _, row := range s.rows {
			if of.Live(int(row)) && of.Stamp(int(row)) < before {
				rows = append(rows, row)
			}
		}
	}
	slices.Sort(rows)
	return rows
}

func (w *wheel) build(of stamps) {
	slots := map[int64]*wheelSlot{}
	var last *wheelSlot // rows that follow each other often have one time
	for row := range of.Rows() {
		if !of.Live(row) {
			continue
		}
		if at := of.Stamp(row); last == nil || last.at != at {
			if last = slots[at]; last == nil {
				last = &wheelSlot{at: at}
				slots[at] = last
			}
		}
		last.rows = append(last.rows, int32(row))
	}
	w.there, w.slots = true, make([]wheelSlot, 0, len(slots))
	for _, at := range slices.Sorted(maps.Keys(slots)) {
		w.slots = append(w.slots, *slots[at])
	}
}

// turn goes on to a state in which no live row was last changed before a time, and in which the rows from first on are
// new at a later one: slots that came due go, and their rows that are left are put anew.
func (w *wheel) turn(before int64, first int, at int64, of stamps) {
	if !w.there {
		return
	}
	var again []int32
	due := 0
	for ; due < len(w.slots) && w.slots[due].at < before; due++ {
		for _, row := range w.slots[due].rows {
			if of.Live(int(row)) {
				again = append(again, row)
			}
		}
	}
	slices.SortFunc(again, func(a, b int32) int { return int(max(-1, min(of.Stamp(int(a))-of.Stamp(int(b)), 1))) })
	for len(again) > 0 {
		stamp, n := of.Stamp(int(again[0])), 1
		for n < len(again) && of.Stamp(int(again[n])) == stamp {
			n++
		}
		due = w.put(due, stamp, again[:n])
		again = again[n:]
	}
	w.slots = w.slots[due:]
	if n := of.Rows() - first; n > 0 {
		rows := make([]int32, n)
		for i := range rows {
			rows[i] = int32(first + i)
		}
		w.slots = append(w.slots, wheelSlot{at, rows})
	}
}

// put adds rows to the last slot that is not after their stamp. The first due slots are free; where there is no such
// slot one of them takes the rows. Stamps do not decrease from call to call, so that one is enough.
func (w *wheel) put(due int, stamp int64, rows []int32) (stillDue int) {
	i, found := slices.BinarySearchFunc(w.slots[due:], stamp, func(s wheelSlot, at int64) int { return int(max(-1, min(s.at-at, 1))) })
	if i += due; !found {
		i--
	}
	if i < due {
		due--
		w.slots[due] = wheelSlot{at: stamp}
	}
	w.slots[i].rows = append(w.slots[i].rows, rows...)
	return due
}
