package table

// Moves gives, by row, the number that the row has after the next Compact, for who keeps rows elsewhere; -1 where the key
// was removed. It is nil where that Compact moves no row.
func (t *State[K, V]) Moves() []int32 {
	if t.rows < compactAt || t.live*2 >= t.rows {
		return nil
	}
	moves := make([]int32, t.rows)
	next := int32(0)
	for row := range moves {
		if moves[row] = -1; t.Live(row) {
			moves[row] = next
			next++
		}
	}
	return moves
}
