package lineage

import (
	"iter"
	"slices"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/table"
)

// Mapped is how records P come apart into key and value, and what is made of each value and the state S of its key.
type Mapped[P any, K comparable, V, S, U any] struct {
	Split func(P) (K, V)
	// Map makes the function that is called once for every record of a partition, and then, with has false, for every
	// key whose state times out. It finds the state of the key in the cell. What it gives is emitted if ok. Values
	// belong to it.
	Map   func(of *Cell[S]) func(key K, value V, has bool) (out U, ok bool)
	Key   *codec.Codec[K]
	Value *codec.Codec[V]
	State *codec.Codec[S]
	// Emitted is nil for a type without codec: then what a batch emits is made again for every reader.
	Emitted *codec.Codec[U]
	Initial func() iter.Seq2[K, S] // nil: none
	// Timeout is how long a key's state lasts without data, in milliseconds; 0: for ever. The state times out in the
	// first batch whose time is later than that.
	Timeout int64
	By      string // names what Split takes as the key
}

// Step is one batch of a partition of mapped state: the state before it, and what it changes and emits.
type Step[K comparable, S, U any] struct {
	task  dataset.Task
	base  *state[K, S]
	made  *mappedDelta[K, S, U]
	again func(emit func(U) bool) // calls the user's function again, where what is emitted has no codec
	codec *codec.Codec[U]
}

// mappedDelta is what one batch changes of mapped state, and emits. Emitted values are owned.
type mappedDelta[K comparable, S, U any] struct {
	*delta[K, S]
	emitted []U
}

// MapState applies m to every record in n, with the state of its key, in parts partitions (Spark: mapWithState). n may be
// nil: there is no new data. base is the time of the stream's state that it goes on from. The dataset has one record for
// each partition, which Emitted and Snapshots read.
func MapState[P any, K comparable, V, S, U any](s *Scope, n *Node[P], m Mapped[P, K, V, S, U], base id.Time, parts int) *Node[Step[K, S, U]] {
	d := &mapped[P, K, V, S, U]{Node: newNode[Step[K, S, U]](s, parts, nil, nil), base: base, m: m}
	d.visit = func(dataset.Task, int, func([]K, []V) bool) {}
	d.Node.stateful = true
	if n != nil {
		deps, visit := partitioned(dataset.ShuffleID{Of: d.Node.id}, n, m.Split, m.Key, m.Value, m.By, parts)
		d.Node.on(deps)
		d.visit = visit
	}
	d.Node.loop = func(t dataset.Task, part int, yield func(Step[K, S, U]) bool) { yield(d.step(t, part)) }
	// The engine must see the stateful dataset, operators a Node.
	return newNode(s, parts, same(d), d.Node.loop)
}

// Emitted has what the functions of a batch gave: that of the records in order of (map partition, arrival), then that of
// the keys that timed out, in the order in which they got their state.
func Emitted[K comparable, S, U any](s *Scope, n *Node[Step[K, S, U]]) *Node[U] {
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(U) bool) {
		n.loop(t, part, func(step Step[K, S, U]) bool { step.each(yield); return true })
	})
}

// Snapshots has all keys with their states after the batch, in the order in which they got theirs (Spark: stateSnapshots).
func Snapshots[K comparable, S, U, Q any](s *Scope, n *Node[Step[K, S, U]], join func(K, S) Q, by string) *Node[Q] {
	return newNode(s, n.parts, same(n), func(t dataset.Task, part int, yield func(Q) bool) {
		n.loop(t, part, func(step Step[K, S, U]) bool {
			step.base.each(t, step.made.delta, func(k K, v S) bool { return yield(join(k, v)) })
			return true
		})
	}).Keep(Partitioning{By: by, Parts: n.parts})
}

func (s *Step[K, S, U]) each(yield func(U) bool) {
	if s.codec == nil {
		more := true
		s.again(func(u U) bool { more = more && yield(u); return more })
		return
	}
	cell := new(U) // owning takes an address: one for the whole loop
	for i, u := range s.made.emitted {
		if i%checkEvery == 0 {
			checkContext(s.task)
		}
		if *cell = u; !s.codec.Fixed {
			s.codec.Own(cell) // who gets it may change it
		}
		if !yield(*cell) {
			return
		}
	}
}

// mapped is the stateful dataset of MapState.
type mapped[P any, K comparable, V, S, U any] struct {
	*Node[Step[K, S, U]]
	base  id.Time
	m     Mapped[P, K, V, S, U]
	visit visits[K, V]
}

var _ dataset.Stateful = (*mapped[int, int, int, int, int])(nil)

// Base implements dataset.Stateful.
func (d *mapped[P, K, V, S, U]) Base() id.Time { return d.base }

// Initial implements dataset.Stateful.
func (d *mapped[P, K, V, S, U]) Initial(part int) dataset.State {
	s := d.blank()
	s.begin(d.m.Initial, part, d.parts, d.id.Time)
	return s
}

// Blank implements dataset.Stateful.
func (d *mapped[P, K, V, S, U]) Blank() dataset.State { return d.blank() }

func (d *mapped[P, K, V, S, U]) blank() *state[K, S] {
	s := newState(d.m.Key, d.m.State)
	if d.m.Timeout > 0 {
		s.wheel = &wheel{}
	}
	return s
}

// Collect advances the state. It gives no rows: they are read through the node above.
func (d *mapped[P, K, V, S, U]) Collect(t dataset.Task, part, _ int) dataset.Rows {
	d.step(t, part)
	return &rows[Step[K, S, U]]{}
}

func (d *mapped[P, K, V, S, U]) step(t dataset.Task, part int) Step[K, S, U] {
	base, made := stateOf[*state[K, S], *mappedDelta[K, S, U]](t, d, part, func(base *state[K, S]) *mappedDelta[K, S, U] {
		made := &mappedDelta[K, S, U]{}
		emit := func(U) bool { return true }
		if c := d.m.Emitted; c != nil {
			own := !settled(c)
			emit = func(u U) bool {
				if made.emitted = append(made.emitted, u); own {
					c.Own(&made.emitted[len(made.emitted)-1])
				}
				return true
			}
		}
		made.delta = d.advance(t, part, base, emit)
		return made
	})
	return Step[K, S, U]{task: t, base: base, made: made, codec: d.m.Emitted, again: func(emit func(U) bool) {
		d.advance(t, part, base, emit)
	}}
}

// touched is the state of a key that came with data in this batch.
type touched[S any] struct {
	val S
	row int32 // of the state before the batch, -1: none
	has bool  // there is state
	put bool  // it is val; else it is as before the batch
	cut bool  // val may be a part of a longer string, which must not live as long as a state
}

// advance calls the function for every record, then for every key that times out.
func (d *mapped[P, K, V, S, U]) advance(t dataset.Task, part int, base *state[K, S], emit func(U) bool) *delta[K, S] {
	cell := &Cell[S]{codec: d.m.State}
	call := d.m.Map(cell)
	keys := table.New[K, touched[S]](nil)
	var hashes [pairsAtOnce]uint64
	var rows [pairsAtOnce]int32
	d.visit(t, part, func(ks []K, vs []V) bool {
		checkContext(t)
		for i := range ks {
			hashes[i] = d.m.Key.Hash(&ks[i])
		}
		base.rows.FindAll(hashes[:len(ks)], ks, rows[:len(ks)])
		for i, key := range ks {
			c, found := keys.Row(hashes[i], key)
			if !found {
				if c.row, c.has = rows[i], rows[i] >= 0; !c.has {
					if err := checkKey(key); err != nil {
						t.Fail(err)
					}
				}
			}
			switch {
			case c.put:
				cell.wrap(&c.val, c.has)
			case c.has:
				cell.wrap(base.rows.Value(int(c.row)), true)
			default:
				cell.wrap(nil, false)
			}
			out, ok := call(key, vs[i], true)
			cell.settle(c, d.m.Timeout > 0)
			if ok {
				emit(out)
			}
		}
		return true
	})
	made := changed(keys, d.m.State)
	if d.m.Timeout > 0 {
		d.timeOut(t, base, made, cell, call, emit)
	}
	return made
}

// timeOut calls the function for every key whose last data is too old, and removes it. Keys that came with data in this
// batch are in made.
func (d *mapped[P, K, V, S, U]) timeOut(t dataset.Task, base *state[K, S], made *delta[K, S], cell *Cell[S], call func(K, V, bool) (U, bool), emit func(U) bool) {
	made.due = d.id.Time - id.Time(d.m.Timeout)
	removed := made.removed
	for i, row := range base.wheel.due(int64(made.due), base.rows) {
		if i%checkEvery == 0 {
			checkContext(t)
		}
		if _, put := slices.BinarySearch(made.rows, row); put {
			continue
		}
		if _, gone := slices.BinarySearch(removed, row); gone {
			continue
		}
		cell.wrap(base.rows.Value(int(row)), true)
		cell.timingOut = true
		out, ok := call(base.rows.Key(int(row)), *new(V), false)
		made.removed = append(made.removed, row)
		if ok {
			emit(out)
		}
	}
	slices.Sort(made.removed)
}

// changed is what the keys of a batch change: each key once, whatever came in between.
func changed[K comparable, S any](keys *table.Table[K, touched[S]], codec *codec.Codec[S]) *delta[K, S] {
	made := &delta[K, S]{}
	of := keys.Values()
	kept := func(c *touched[S]) S {
		if c.cut {
			codec.Own(&c.val)
		}
		return c.val
	}
	var order []int64 // row and index of keys with a row, to be sorted by row
	for i, k := range keys.Keys() {
		switch c := &of[i]; {
		case c.row < 0 && c.has:
			made.keys, made.added = append(made.keys, k), append(made.added, kept(c))
		case c.row >= 0 && !c.has:
			made.removed = append(made.removed, c.row)
		case c.row >= 0 && c.put:
			order = append(order, int64(c.row)<<32|int64(i))
		}
	}
	slices.Sort(made.removed)
	slices.Sort(order)
	made.rows, made.vals = make([]int32, len(order)), make([]S, len(order))
	for i, o := range order {
		made.rows[i], made.vals[i] = int32(o>>32), kept(&of[uint32(o)])
	}
	return made
}
