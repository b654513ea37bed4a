package lineage

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/internal/codec"
	"github.com/raftstream/raftstream/internal/dataset"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/table"
)

// KeyedWindowed is how records P come apart into key and value, how the values of a key over a window become one, and how key
// and value make a result Q.
type KeyedWindowed[P any, K comparable, V, C, Q any] struct {
	Keyed[P, K, V, C, Q]
	// Batch combines what a key has in one batch.
	Batch Combiner[V, C]
	// Reduce combines the values of a key in two stretches of time, the older one first; it is taken for associative.
	// Nil: Gather is used instead.
	Reduce func(a, b C) C
	// Inverse, if not nil, takes values that a window has lost from what Reduce made of them and others: a window is then
	// computed from the one before.
	Inverse func(a, b C) C
	// Keep, if not nil, says which keys stay in a window that Inverse was used for.
	Keep func(K, C) bool
	// Gather makes one value of those of all batches, oldest first. They must not be changed by what it gives.
	Gather func(values []C) C
	// Default is what a window without keys has, in a stream of one partition.
	Default []C
}

// KeyedWindow computes windows over the keys of n, in parts partitions: one that ends at the scope's time, if one does, and
// else nothing but the state that the next window needs. Keys come in the order in which they got their first value that
// is not older than what is kept for later windows. n may be nil: there is no new data. base is the time of the stream's
// state that it goes on from.
func KeyedWindow[P any, K comparable, V, C, Q any](s *Scope, n *Node[P], w KeyedWindowed[P, K, V, C, Q], p PaneTimes, base id.Time, parts int) *Node[Q] {
	d := &windowed[K, C, Q]{
		Node: newNode[Q](s, parts, nil, nil), base: base, windowing: windowing[K, C]{
			PaneTimes: p, at: s.Time, key: w.Key,
			reduce:  folding[C]{w.Value, w.Reduce},
			inverse: folding[C]{w.Value, w.Inverse},
			keep:    w.Keep, gather: w.Gather,
		},
		groups: func(dataset.Task, int) *table.Table[K, C] { return table.New[K, C](nil) },
	}
	d.Node.stateful = true
	// Between windows that do not touch, what comes is not even looked at. A window may end right now.
	if needed := p.index(s.Time) >= d.empty().from(s.Time-1); n != nil && needed {
		deps, gather := gathered(d.Node.id, n, w.Keyed, w.Batch, parts)
		d.Node.on(deps)
		d.groups = gather
	}
	d.Node.loop = func(t dataset.Task, part int, yield func(Q) bool) {
		base, made := d.advanced(t, part)
		if !p.ends(s.Time) {
			return
		}
		empty := true
		d.each(t, base, made, func(k K, v C) bool {
			empty = false
			return yield(w.Join(k, v))
		})
		for i := 0; empty && i < len(w.Default) && yield(w.Join(*new(K), w.Default[i])); i++ {
		}
	}
	// The engine must see the stateful dataset, operators a Node.
	return newNode(s, parts, same(d), d.Node.loop).Keep(Partitioning{By: w.By, Parts: parts})
}

// GatherValues puts lists of values one behind the other.
func GatherValues[V any](c *codec.Codec[V]) func([][]V) []V {
	return func(lists [][]V) []V {
		n := 0
		for _, l := range lists {
			n += len(l)
		}
		all := make([]V, 0, n)
		for _, l := range lists {
			all = append(all, l...)
		}
		if !c.Fixed {
			for i := range all {
				c.Own(&all[i])
			}
		}
		return all
	}
}

// windowed is the stateful dataset of KeyedWindow.
type windowed[K comparable, C, Q any] struct {
	*Node[Q]
	windowing[K, C]
	base   id.Time
	groups func(t dataset.Task, part int) *table.Table[K, C]
}

var _ dataset.Stateful = (*windowed[int, int, int])(nil)

// Base implements dataset.Stateful.
func (d *windowed[K, C, Q]) Base() id.Time { return d.base }

// Initial implements dataset.Stateful.
func (d *windowed[K, C, Q]) Initial(int) dataset.State { return d.empty() }

// Blank implements dataset.Stateful.
func (d *windowed[K, C, Q]) Blank() dataset.State { return d.empty() }

// Collect advances the state. It gives no rows: they are read through the node above.
func (d *windowed[K, C, Q]) Collect(t dataset.Task, part, _ int) dataset.Rows {
	d.advanced(t, part)
	return &rows[Q]{}
}

// advanced gives the state that a partition goes on from, and what this time changes of it.
func (d *windowed[K, C, Q]) advanced(t dataset.Task, part int) (*keyedPanes[K, C], *panesDelta[K, C]) {
	base, changes := t.State(d, part, func(base dataset.State) dataset.Delta {
		of, ok := base.(*keyedPanes[K, C])
		if !ok {
			t.Fail(fmt.Errorf("state of dataset %v is a %T, expected a %T", d.id, base, of))
		}
		return d.advance(t, of, d.groups(t, part))
	})
	of, okBase := base.(*keyedPanes[K, C])
	made, okChanges := changes.(*panesDelta[K, C])
	if !okBase || !okChanges {
		t.Fail(fmt.Errorf("state of dataset %v is a %T with changes of %T, expected a %T with a %T", d.id, base, changes, of, made))
	}
	return of, made
}

// windowing is how panes go on by the batch at a time.
type windowing[K comparable, C any] struct {
	PaneTimes
	at      id.Time
	key     *codec.Codec[K]
	reduce  folding[C] // without a function where values are gathered
	inverse folding[C] // without a function where there is none
	keep    func(K, C) bool
	gather  func([]C) C
}

func (w *windowing[K, C]) empty() *keyedPanes[K, C] {
	return &keyedPanes[K, C]{
		PaneTimes: w.PaneTimes, inverse: w.inverse.f != nil, key: w.key, val: w.reduce.codec, rows: table.NewState[K, int32](w.key.Own, w.key.Hash),
	}
}

// advance makes what a batch changes, and the window that ends with it.
func (w *windowing[K, C]) advance(t dataset.Task, base *keyedPanes[K, C], groups *table.Table[K, C]) *panesDelta[K, C] {
	d := &panesDelta[K, C]{pane: w.index(w.at)}
	d.put = w.arrived(t, base, groups, d)
	d.rows = d.put.rows
	list := slices.Clip(base.list)
	if n := len(list); n > 0 && len(d.rows) > 0 && list[n-1].index == d.pane {
		d.put = w.reduce.merge(t, list[n-1].run, d.put)
		list = list[:n-1]
	}
	if !w.ends(w.at) {
		return d
	}
	all := slices.Clone(list) // what is in the delta must not change with the state
	if len(d.rows) > 0 {
		all = append(all, keyedPane[C]{d.pane, w.at, d.put})
	}
	from, to := w.window(w.at, 0)
	rows := base.rows.Rows() + len(d.keys)
	switch {
	case w.inverse.f != nil:
		w.slide(t, base, all, d)
	case w.reduce.f != nil:
		runs := blocks[C]{t, w.reduce, all, base.blocks, map[blockID]run[C]{}}
		d.window = w.reduce.fold(t, runs.of(from, to), rows)
		d.blocks = runs.made
	default:
		d.lists = listed(between(all, from, to), rows, func() { checkContext(t) })
	}
	return d
}

// arrived makes a run of what a batch has for each key, and notes new keys.
func (w *windowing[K, C]) arrived(t dataset.Task, base *keyedPanes[K, C], groups *table.Table[K, C], d *panesDelta[K, C]) run[C] {
	keys, values := groups.Keys(), groups.Values()
	if len(keys) == 0 {
		return run[C]{}
	}
	first := base.rows.Rows()
	rows, order := make([]int32, len(keys)), make([]int32, len(keys))
	findAll(t, base.rows, w.key, keys, rows)
	sorted := true
	for g := range keys {
		if rows[g] < 0 {
			if err := checkKey(keys[g]); err != nil {
				t.Fail(err)
			}
			rows[g] = int32(first + len(d.keys))
			d.keys = append(d.keys, keys[g])
		}
		order[g] = int32(g)
		sorted = sorted && (g == 0 || rows[g-1] < rows[g])
	}
	if !sorted {
		sortByRow(order, rows, first+len(d.keys))
	}
	r := run[C]{make([]int32, len(keys)), make([]C, len(keys))}
	for i, g := range order {
		r.rows[i], r.vals[i] = rows[g], values[g]
		w.reduce.own(&r.vals[i])
	}
	return r
}

// sortByRow sorts an order of different rows, all below the given number: through a table of them if they are many.
func sortByRow(order, rows []int32, below int) {
	const sparse = 16 // rows looked at cost less than one more in a sort
	if below > sparse*len(order) {
		slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(rows[a], rows[b]) })
		return
	}
	at := make([]int32, below) // one more than the place in rows
	for i, row := range rows {
		at[row] = int32(i) + 1
	}
	n := 0
	for _, i := range at {
		if i > 0 {
			order[n] = i - 1
			n++
		}
	}
}

// slide makes a window from the one before: by what it has lost, then by what is new in it (Spark: reduceByKeyAndWindow
// with an inverse function). A key that was in no window before counts from what is new.
func (w *windowing[K, C]) slide(t dataset.Task, base *keyedPanes[K, C], all []keyedPane[C], d *panesDelta[K, C]) {
	from, to := w.window(w.at, 0)
	oldFrom, oldTo := w.window(w.at, w.Every)
	old := w.reduce.mergeAll(t, between(all, oldFrom, min(from, oldTo)))
	fresh := w.reduce.mergeAll(t, between(all, max(oldTo, from), to))
	size := min(len(old.rows)+len(fresh.rows), base.rows.Rows()+len(d.keys))
	d.next = run[C]{make([]int32, 0, size), make([]C, 0, size)}
	d.gone = make([]bool, 0, size)
	for i, j := 0, 0; i < len(old.rows) || j < len(fresh.rows); {
		if (i+j)%checkEvery < 2 { // a step is one or two
			checkContext(t)
		}
		var row int32
		var lost, new *C
		if j == len(fresh.rows) || i < len(old.rows) && old.rows[i] <= fresh.rows[j] {
			row, lost = old.rows[i], &old.vals[i]
			i++
		}
		if j < len(fresh.rows) && (lost == nil || fresh.rows[j] == row) {
			row, new = fresh.rows[j], &fresh.vals[j]
			j++
		}
		w.step(base, d, row, lost, new)
	}
}

// step makes the value of a row from that in the window before, and notes it if it is another.
func (w *windowing[K, C]) step(base *keyedPanes[K, C], d *panesDelta[K, C], row int32, lost, fresh *C) {
	var before *C
	if int(row) < len(base.last) && base.last[row].has {
		before = &base.last[row].val
	}
	var next C
	switch {
	case before == nil && fresh == nil:
		return
	case before == nil:
		next = *fresh
	case lost == nil:
		next = w.reduce.f(w.reduce.lend(before), w.reduce.lend(fresh))
	default:
		next = w.inverse.f(w.reduce.lend(before), w.reduce.lend(lost))
		if fresh != nil {
			next = w.reduce.f(next, w.reduce.lend(fresh))
		}
	}
	d.next.vals = append(d.next.vals, next)
	n := len(d.next.vals) - 1
	made := &d.next.vals[n]
	if before != nil {
		w.reduce.own(made)
	}
	gone := w.keep != nil && !w.keep(keyOf(base, d, int(row)), w.reduce.lend(made))
	if gone {
		*made = *new(C)
	}
	if gone && before == nil || !gone && before != nil && w.reduce.codec.Same(before, made) {
		d.next.vals = d.next.vals[:n]
		return
	}
	d.next.rows, d.gone = append(d.next.rows, row), append(d.gone, gone)
}

func keyOf[K comparable, C any](base *keyedPanes[K, C], d *panesDelta[K, C], row int) K {
	if n := base.rows.Rows(); row >= n {
		return d.keys[row-n]
	}
	return base.rows.Key(row)
}

// blocks makes the blocks of windows, from panes and from those that are kept.
type blocks[C any] struct {
	t    dataset.Task
	fold folding[C]
	all  []keyedPane[C]
	kept map[blockID]run[C]
	made map[blockID]run[C]
}

// of gives the blocks of the panes [from, to) that have something, oldest first.
func (b *blocks[C]) of(from, to int64) (runs []run[C]) {
	for _, id := range blocksOf(from, to) {
		if r := b.block(id); len(r.rows) > 0 {
			runs = append(runs, r)
		}
	}
	return runs
}

func (b *blocks[C]) block(id blockID) run[C] {
	if r, ok := b.kept[id]; ok {
		return r
	}
	// Stretches of time without data need no blocks.
	switch panes := between(b.all, id.from(), id.from()+1<<id.level); len(panes) {
	case 0:
		return run[C]{}
	case 1:
		return panes[0].run
	}
	r := b.fold.merge(b.t, b.block(blockID{id.level - 1, 2 * id.n}), b.block(blockID{id.level - 1, 2*id.n + 1}))
	b.made[id] = r
	return r
}

// each yields the window. Who gets a value may change it.
func (w *windowing[K, C]) each(t dataset.Task, base *keyedPanes[K, C], d *panesDelta[K, C], yield func(K, C) bool) {
	switch {
	case w.inverse.f != nil:
		w.eachLast(t, base, d, yield)
	case w.reduce.f != nil:
		for i, row := range d.window.rows {
			if i%checkEvery == 0 {
				checkContext(t)
			}
			if !yield(keyOf(base, d, int(row)), w.reduce.lend(&d.window.vals[i])) {
				return
			}
		}
	default:
		w.eachList(t, base, d, yield)
	}
}

// eachLast yields the last window as d leaves it.
func (w *windowing[K, C]) eachLast(t dataset.Task, base *keyedPanes[K, C], d *panesDelta[K, C], yield func(K, C) bool) {
	changed := 0
	for row := range base.rows.Rows() + len(d.keys) {
		if row%checkEvery == 0 {
			checkContext(t)
		}
		var v *C
		switch {
		case changed < len(d.next.rows) && int(d.next.rows[changed]) == row:
			if !d.gone[changed] {
				v = &d.next.vals[changed]
			}
			changed++
		case row < len(base.last) && base.last[row].has:
			v = &base.last[row].val
		}
		if v != nil && !yield(keyOf(base, d, row), w.reduce.lend(v)) {
			return
		}
	}
}

// eachList yields what the panes have for each key.
func (w *windowing[K, C]) eachList(t dataset.Task, base *keyedPanes[K, C], d *panesDelta[K, C], yield func(K, C) bool) {
	var values []C
	looked := 0
	for row := range len(d.lists.ends) - 1 {
		if row%checkEvery == 0 || looked > checkEvery {
			checkContext(t)
			looked = 0
		}
		refs := d.lists.row(row)
		if len(refs) == 0 {
			continue
		}
		looked += len(refs)
		values = values[:0]
		for _, r := range refs {
			values = append(values, *d.lists.value(r))
		}
		if !yield(keyOf(base, d, row), w.gather(values)) {
			return
		}
	}
}
