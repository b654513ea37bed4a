package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// row is all that the ledger knows of one kind of command: its number, its wire form and its handler. Handlers see
// plain Go types, never protobuf.
type row struct {
	kind   Kind
	name   string
	encode func(Command) ([]byte, error)
	decode func([]byte) (Command, error)
	apply  func(*tx, Command) Result
}

// commands is the command table. Adding a kind: a number at the end of the list in kind.go, a message in ledger.proto,
// a file with struct, row and handler, a line here, and a higher entryVersion (rule 14).
var commands = table(
	epochRow,
	clusterNamedRow,
	sessionOpenedRow,
	sessionClosedRow,
	inventoryReportedRow,
	applicationSubmittedRow,
	applicationStoppedRow,
	applicationEndedRow,
	applicationResumedRow,
	receiverScheduledRow,
	receiverRegisteredRow,
	receiverDeregisteredRow,
	receiverFailedRow,
	blocksAddedRow,
	blocksAllocatedRow,
	coordinatorAssignedRow,
	batchCompletedRow,
	batchFailedRow,
	batchesCleanedRow,
	stateCheckpointedRow,
	blocksCopiedRow,
)

// table makes the command table and refuses a number that is used twice.
func table(makers ...func() row) map[Kind]row {
	t := make(map[Kind]row, len(makers))
	for _, m := range makers {
		r := m()
		if was, ok := t[r.kind]; ok {
			panic(fmt.Sprintf("fsm: kind %d is both %s and %s", r.kind, was.name, r.name))
		}
		t[r.kind] = r
	}
	return t
}

// newRow makes the row of command type C, whose wire form is message type M.
func newRow[C Command, M proto.Message](name string, to func(C) M, from func(M) C, apply func(*tx, C) Result) row {
	var none C
	return row{
		kind: none.Kind(),
		name: name,
		encode: func(c Command) ([]byte, error) {
			typed, ok := c.(C)
			if !ok {
				return nil, fmt.Errorf("%T is not the command of kind %s", c, name)
			}
			return marshal(to(typed))
		},
		decode: func(b []byte) (Command, error) {
			m, err := unmarshal[M](b)
			if err != nil {
				return nil, err
			}
			return from(m), nil
		},
		apply: func(t *tx, c Command) Result { return apply(t, c.(C)) },
	}
}

var (
	marshalOptions   = proto.MarshalOptions{Deterministic: true}
	unmarshalOptions = proto.UnmarshalOptions{DiscardUnknown: true}
)

func marshal(m proto.Message) ([]byte, error) {
	b, err := marshalOptions.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return b, nil
}

// unmarshal decodes a message and refuses one with fields that this version does not know: they were dropped, so the
// message became shorter. Half-understood commands would make nodes differ.
func unmarshal[M proto.Message](b []byte) (M, error) {
	var m M
	m, ok := m.ProtoReflect().New().Interface().(M)
	if !ok {
		panic("fsm: protobuf message of another type than its own")
	}
	name := m.ProtoReflect().Descriptor().Name()
	if err := unmarshalOptions.Unmarshal(b, m); err != nil {
		return m, fmt.Errorf("decode %s: %w", name, err)
	}
	if n := proto.Size(m); n != len(b) {
		return m, fmt.Errorf("decode %s: %d bytes understood, %d present: written by a newer version", name, n, len(b))
	}
	return m, nil
}
