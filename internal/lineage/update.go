package lineage

import (
	"iter"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/table"
)

// Updated is how records P come apart into key and value, how the state S of a key goes on, and how key and state make
// a result Q.
type Updated[P any, K comparable, V, S, Q any] struct {
	Split func(P) (K, V)
	// Update gives the next state of a key. Values are those of the batch, in order of (map partition, row); has says
	// whether there is a state so far. Both belong to it. keep is false to remove the key.
	Update func(values []V, state S, has bool) (next S, keep bool)
	// UpdateKey, if it is not nil, is called instead of Update.
	UpdateKey func(key K, values []V, state S, has bool) (next S, keep bool)
	Join      func(K, S) Q
	Key       *codec.Codec[K]
	Values    *codec.Codec[[]V]
	State     *codec.Codec[S]
	Initial   func() iter.Seq2[K, S] // nil: none
	By        string                 // names what Split takes as the key
}

// UpdateState applies u.Update to every key that has state at base, or values in n, in parts partitions, and has the
// pairs of all keys with state then, in the order in which they got it (Spark: updateStateByKey). n may be nil: there is
// no new data. base is the time of the stream's state that it goes on from.
func UpdateState[P any, K comparable, V, S, Q any](s *Scope, n *Node[P], u Updated[P, K, V, S, Q], base id.Time, parts int) *Node[Q] {
	d := &updated[K, V, S, Q]{
		Node: newNode[Q](s, parts, nil, nil), base: base,
		key: u.Key, state: u.State, update: u.Update, updateKey: u.UpdateKey, initial: u.Initial,
		groups: func(dataset.Task, int) *table.Table[K, []V] { return table.New[K, []V](nil) },
	}
	d.Node.stateful = true
	if n != nil {
		k := Keyed[P, K, V, []V, Q]{Split: u.Split, Key: u.Key, Value: u.Values, By: u.By}
		deps, gather := gathered(d.Node.id, n, k, GroupValues[V](), parts)
		d.Node.on(deps)
		d.groups = gather
	}
	d.Node.loop = func(t dataset.Task, part int, yield func(Q) bool) {
		base, changes := d.advanced(t, part)
		base.each(t, changes, func(k K, v S) bool { return yield(u.Join(k, v)) })
	}
	// The engine must see the stateful dataset, operators a Node.
	return newNode(s, parts, same(d), d.Node.loop).Keep(Partitioning{By: u.By, Parts: parts})
}

// updated is the stateful dataset of UpdateState.
type updated[K comparable, V, S, Q any] struct {
	*Node[Q]
	base   id.Time
	key    *codec.Codec[K]
	state  *codec.Codec[S]
	update func([]V, S, bool) (S, bool)
	// updateKey, if it is not nil, is called instead of update: where keys are not asked for they are not looked at.
	updateKey func(K, []V, S, bool) (S, bool)
	initial   func() iter.Seq2[K, S]
	groups    func(t dataset.Task, part int) *table.Table[K, []V]
}

var _ dataset.Stateful = (*updated[int, int, int, int])(nil)

// Base implements dataset.Stateful.
func (d *updated[K, V, S, Q]) Base() id.Time { return d.base }

// Initial implements dataset.Stateful.
func (d *updated[K, V, S, Q]) Initial(part int) dataset.State {
	s := newState(d.key, d.state)
	s.begin(d.initial, part, d.parts, d.id.Time)
	return s
}

// Blank implements dataset.Stateful.
func (d *updated[K, V, S, Q]) Blank() dataset.State { return newState(d.key, d.state) }

// Collect advances the state. It gives no rows: they are read through the node above.
func (d *updated[K, V, S, Q]) Collect(t dataset.Task, part, _ int) dataset.Rows {
	d.advanced(t, part)
	return &rows[Q]{}
}

// advanced gives the state that a partition goes on from, and what this time changes of it.
func (d *updated[K, V, S, Q]) advanced(t dataset.Task, part int) (*state[K, S], *delta[K, S]) {
	return stateOf[*state[K, S], *delta[K, S]](t, d, part, func(base *state[K, S]) *delta[K, S] { return d.advance(t, part, base) })
}

// advance calls the update of every key: of those with state in their order, then of the others in the order in which
// their values came. It makes nothing for a key that stays as it is.
func (d *updated[K, V, S, Q]) advance(t dataset.Task, part int, base *state[K, S]) *delta[K, S] {
	groups := d.groups(t, part)
	keys, values := groups.Keys(), groups.Values()
	groupOf, fresh := d.match(t, base, keys)
	made := &delta[K, S]{}
	next := new(S) // comparing takes an address: one for the whole loop
	for first := 0; first < base.rows.Rows(); first += table.PieceRows {
		checkContext(t)
		vals, stamps := base.rows.Piece(first)
		for i := range vals {
			if stamps[i] == table.Gone {
				continue
			}
			var vs []V
			if len(groupOf) > 0 && groupOf[first+i] > 0 {
				vs = values[groupOf[first+i]-1]
			}
			if *next = vals[i]; !d.state.Fixed {
				d.state.Own(next)
			}
			keep := false
			if d.updateKey != nil {
				*next, keep = d.updateKey(base.rows.Key(first+i), vs, *next, true)
			} else {
				*next, keep = d.update(vs, *next, true)
			}
			if !keep {
				made.removed = append(made.removed, int32(first+i))
			} else if !d.state.Same(&vals[i], next) {
				made.rows, made.vals = append(made.rows, int32(first+i)), append(made.vals, *next)
				d.state.Own(&made.vals[len(made.vals)-1])
			}
		}
	}
	for i, g := range fresh {
		if i%checkEvery == 0 {
			checkContext(t)
		}
		var v S
		keep := false
		if d.updateKey != nil {
			v, keep = d.updateKey(keys[g], values[g], v, false)
		} else {
			v, keep = d.update(values[g], v, false)
		}
		if keep {
			made.keys, made.added = append(made.keys, keys[g]), append(made.added, v)
			d.state.Own(&made.added[len(made.added)-1])
		}
	}
	return made
}

// match finds the rows of the keys: groupOf has, by row, one more than the index of the key, and fresh the indexes of
// keys without a row.
func (d *updated[K, V, S, Q]) match(t dataset.Task, base *state[K, S], keys []K) (groupOf []uint32, fresh []int) {
	if len(keys) > 0 {
		groupOf = make([]uint32, base.rows.Rows())
	}
	rows := make([]int32, len(keys))
	findAll(t, base.rows, d.key, keys, rows)
	for g, row := range rows {
		if row >= 0 {
			groupOf[row] = uint32(g) + 1
			continue
		}
		if err := checkKey(keys[g]); err != nil {
			t.Fail(err)
		}
		fresh = append(fresh, g)
	}
	return groupOf, fresh
}
