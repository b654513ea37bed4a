package lineage

import "github.com/raftstream/raftstream/internal/codec"

// Cell is the state of one key while the function of a mapped state is called (Spark: State). It panics when it is asked
// for what makes no sense; the text is for the user.
type Cell[S any] struct {
	codec     *codec.Codec[S]
	kept      *S // what the engine keeps, not to be changed
	val       S  // what the user gets or has given
	own       bool
	has       bool
	updated   bool
	removed   bool
	timingOut bool
}

// wrap begins with the state of another key.
func (c *Cell[S]) wrap(kept *S, has bool) {
	c.kept, c.has = kept, has
	c.own, c.updated, c.removed, c.timingOut = false, false, false, false
}

// Exists says whether the key has a state.
func (c *Cell[S]) Exists() bool { return c.has }

// Get gives the state, and whether there is one. It belongs to the user.
func (c *Cell[S]) Get() (S, bool) {
	if !c.has {
		return *new(S), false
	}
	if !c.own {
		c.own = true
		if c.val = *c.kept; !c.codec.Fixed {
			c.codec.Own(&c.val)
		}
	}
	return c.val, true
}

// Update sets the state.
func (c *Cell[S]) Update(v S) {
	switch {
	case c.removed:
		panic("State.Update: the state was removed in this call already")
	case c.timingOut:
		panic("State.Update: the state is timing out")
	}
	c.val, c.own, c.has, c.updated = v, true, true, true
}

// Remove removes the state, if there is one.
func (c *Cell[S]) Remove() {
	switch {
	case c.removed:
		panic("State.Remove: the state was removed in this call already")
	case c.timingOut:
		panic("State.Remove: the state is timing out")
	}
	c.val, c.own, c.has, c.updated, c.removed = *new(S), false, false, false, true
}

// TimingOut says that the state is removed after the call, because there was no data for long.
func (c *Cell[S]) TimingOut() bool { return c.timingOut }

// settle keeps what the function made of the state. With a timeout, data alone keeps it alive, too.
func (c *Cell[S]) settle(to *touched[S], timeout bool) {
	switch {
	case c.removed:
		to.val, to.has, to.put, to.cut = *new(S), false, false, false
	case c.updated:
		to.val, to.has, to.put = c.val, true, true
		if !settled(c.codec) {
			c.codec.Own(&to.val) // the user may keep and change what he gave
		} else {
			to.cut = !c.codec.Plain
		}
	case c.has && timeout && !to.put:
		to.val, to.put = *c.kept, true
	}
}
