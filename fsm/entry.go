package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// The data of a Raft entry is a magic byte, a version byte, the number of commands, and each command's envelope behind
// its length (docs/formats/ledger.md).
const (
	entryMagic   = 0xB7
	entryVersion = 2 // 1 had no keyed state and no direct sources
	oldestEntry  = 1 // still read
	// maxEntryCommands bounds what is believed of an entry's count before anything is allocated for it.
	maxEntryCommands = 1 << 20
)

// ErrUnreadable is in the chain of every error of Apply and Restore: the entry or snapshot is damaged, of an unknown
// kind or of a newer version. The node must stop: it can neither skip nor guess (rule 15).
var ErrUnreadable = errors.New("unreadable")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode makes the data of one Raft entry of commands proposed in term.
func Encode(term uint64, commands ...Command) ([]byte, error) {
	parts := make([][]byte, 0, len(commands))
	for _, c := range commands {
		p, err := EncodeCommand(term, c)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return JoinCommands(parts...), nil
}

// EncodeCommand makes one command's part of an entry: its envelope behind its length. An error means that the command
// itself is at fault (a name that is not UTF-8, say).
func EncodeCommand(term uint64, c Command) ([]byte, error) {
	r, ok := commands[c.Kind()]
	if !ok {
		return nil, fmt.Errorf("encode command: %T has unknown kind %d", c, c.Kind())
	}
	payload, err := r.encode(c)
	if err != nil {
		return nil, err
	}
	env, err := marshal(&ledgerpb.Envelope{
		Kind: uint32(r.kind), Term: term, Payload: payload, Crc32C: checksum(r.kind, term, payload),
	})
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(env)+binary.MaxVarintLen32)
	return append(binary.AppendUvarint(out, uint64(len(env))), env...), nil
}

// JoinCommands makes the data of one entry of parts made by EncodeCommand: all of them must be of the same term.
func JoinCommands(parts ...[]byte) []byte {
	size := 2 + binary.MaxVarintLen64
	for _, p := range parts {
		size += len(p)
	}
	out := append(make([]byte, 0, size), entryMagic, entryVersion)
	out = binary.AppendUvarint(out, uint64(len(parts)))
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// checksum covers kind, term and payload, so that no bit of a command can flip unseen.
func checksum(k Kind, term uint64, payload []byte) uint32 {
	var head [12]byte
	binary.LittleEndian.PutUint32(head[:], uint32(k))
	binary.LittleEndian.PutUint64(head[4:], term)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, payload)
}

// proposed is a decoded command with the term that it was proposed in.
type proposed struct {
	row     row
	term    uint64
	crc     uint32
	command Command
}

// decodeEntry reads a whole entry before anything of it is applied.
func decodeEntry(data []byte) ([]proposed, error) {
	if len(data) < 2 || data[0] != entryMagic {
		return nil, fmt.Errorf("entry of %d bytes does not start with the magic byte %#x: %w", len(data), entryMagic, ErrUnreadable)
	}
	if v := data[1]; v < oldestEntry || v > entryVersion {
		return nil, fmt.Errorf("entry has version %d, expected %d to %d: %w", v, oldestEntry, entryVersion, ErrUnreadable)
	}
	rest := data[2:]
	count, n := binary.Uvarint(rest)
	if n <= 0 || count > maxEntryCommands || count > uint64(len(rest)) {
		return nil, fmt.Errorf("entry has a damaged count of commands: %w", ErrUnreadable)
	}
	rest = rest[n:]
	out := make([]proposed, 0, count)
	for i := range count {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return nil, fmt.Errorf("command %d of %d has a damaged length: %w", i+1, count, ErrUnreadable)
		}
		p, err := decodeEnvelope(rest[n : n+int(size)])
		if err != nil {
			return nil, fmt.Errorf("command %d of %d: %w: %w", i+1, count, err, ErrUnreadable)
		}
		out = append(out, p)
		rest = rest[n+int(size):]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("entry has %d bytes behind its %d commands: %w", len(rest), count, ErrUnreadable)
	}
	return out, nil
}

func decodeEnvelope(b []byte) (proposed, error) {
	env, err := unmarshal[*ledgerpb.Envelope](b)
	if err != nil {
		return proposed{}, err
	}
	k := Kind(env.GetKind())
	if want := checksum(k, env.GetTerm(), env.GetPayload()); uint32(k) != env.GetKind() || want != env.GetCrc32C() {
		return proposed{}, fmt.Errorf("kind %d has CRC %08x, expected %08x", env.GetKind(), env.GetCrc32C(), want)
	}
	r, ok := commands[k]
	if !ok {
		return proposed{}, fmt.Errorf("unknown kind %d: written by a newer version", k)
	}
	c, err := r.decode(env.GetPayload())
	if err != nil {
		return proposed{}, err
	}
	return proposed{row: r, term: env.GetTerm(), crc: env.GetCrc32C(), command: c}, nil
}
