package fsm

import "fmt"

// Proposed is a command as an entry holds it, with the term that it was proposed in and the checksum over both.
type Proposed struct {
	Term    uint64
	CRC     uint32
	Command Command
}

// Decode reads the commands of an entry, in order, for whoever looks at a log: Apply alone says what they do. Its
// errors are those of Apply.
func Decode(data []byte) ([]Proposed, error) {
	commands, err := decodeEntry(data)
	if err != nil {
		return nil, fmt.Errorf("decode entry: %w", err)
	}
	out := make([]Proposed, len(commands))
	for i, p := range commands {
		out[i] = Proposed{Term: p.term, CRC: p.crc, Command: p.command}
	}
	return out, nil
}

// String gives the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Done:
		return "done"
	case Refused:
		return "refused"
	case Limited:
		return "limited"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}
