package statetracker

// Limits (rule 10). What is beyond one is refused: a coordinator makes another checkpoint, of fewer or larger pieces or
// a full one.
const (
	// MaxPieces bounds the pieces of one link of a chain.
	MaxPieces = 100_000
	// MaxChainPieces bounds the pieces of a chain.
	MaxChainPieces = 400_000
	// MaxLinks bounds the links of a chain.
	MaxLinks = 100
	// MaxPieceBytes bounds a piece: a single row may be larger than the size that coordinators cut pieces to.
	MaxPieceBytes = 256 << 20
	// MaxPieceRows bounds the rows of a piece, so that no count can overflow.
	MaxPieceRows = 1 << 30
	// MaxPieceStores bounds the stores that are named for one piece.
	MaxPieceStores = 64
	// MaxOffices bounds the offices of a stream that are remembered after they have ended and nothing of them is in the
	// chain.
	MaxOffices = 32
)
