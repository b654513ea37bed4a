package fsm

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
)

// samples is one command of each kind with every field set.
func samples() []Command {
	block := id.Block{App: 1, Stream: -2, Instance: 3, Number: 4}
	return []Command{
		&Epoch{Term: 1, Leader: "l", Name: "n", Addr: "a", NowMS: 2},
		&ClusterNamed{Cluster: "c"},
		&SessionOpened{Store: "s", Generation: 1, Name: "n", Addr: "a", Slots: 2, Build: "b", NowMS: 3},
		&SessionClosed{Session: 1, Reason: "r", NowMS: 2},
		&InventoryReported{Session: 1, Blocks: []id.Block{block}, First: true, Last: true},
		&ApplicationSubmitted{
			RequestID: "r", Name: "n", Program: "p", Params: []byte{1}, BatchMS: 2, BlockMS: 3, Partitions: 4, Factor: 5, CheckpointURL: "u",
			Fingerprint: "f", Build: "b", RememberMS: 6, NowMS: 7,
			Inputs: []InputStream{{Stream: 1, Source: "s", Receiver: true, Pushed: true, Preferred: "p", Rate: 8}},
			States: []StateStream{{Stream: 2, SlideMS: 3, Partitions: 4}},
		},
		&ApplicationStopped{App: 1, Now: true, NowMS: 2},
		&ApplicationEnded{App: 1, NowMS: 2},
		&ApplicationResumed{App: 1, Prev: 7, AcceptLoss: true, NowMS: 2},
		&ReceiverScheduled{App: 1, Stream: 2, Session: 3, Prev: 4, NowMS: 5},
		&ReceiverRegistered{App: 1, Stream: 2, Instance: 3, Session: 4, NowMS: 5},
		&ReceiverDeregistered{App: 1, Stream: 2, Instance: 3, Message: "m", Error: "e", NowMS: 4},
		&ReceiverFailed{App: 1, Stream: 2, Instance: 3, Error: "e", NowMS: 4},
		&BlocksAdded{Session: 1, NowMS: 2, Blocks: []AddedBlock{{
			ID: block, Records: 1, Bytes: 2, CRC: 3, Stores: []id.Store{"s"},
			Ranges: []connector.Range{{Partition: "p\xff", First: 1, Last: 2}},
		}}},
		&BlocksAllocated{
			App: 1, From: -2, To: 3, Last: true, NowMS: 4, Unplanned: "u",
			Direct: []StreamPlan{{Stream: 1, Plan: connector.Plan{
				Parts:  []connector.Part{{Data: []byte{1}, Records: 2, Bytes: 3, Ranges: []connector.Range{{Partition: "q\xff", First: 4, Last: 5}}}},
				Forget: []string{"r\xff"}, Mark: "m\xff", Warning: "w\xff",
			}}},
		},
		&CoordinatorAssigned{App: 1, Session: 2, Prev: 3, NowMS: 4},
		&BatchCompleted{App: 1, Time: 2, Office: 3, Attempt: 4, StartedMS: 5, EndedMS: 6, Tries: 7, Lost: 8, NowMS: 9, LostBlocks: []id.Block{block}},
		&BatchFailed{App: 1, Time: 2, Office: 3, Attempt: 4, Error: "e", StartedMS: 5, EndedMS: 6, Tries: 7, NowMS: 8},
		&BatchesCleaned{App: 1, UpTo: 2},
		&StateCheckpointed{
			App: 1, Office: 2, Time: 3, Attempt: 4, Full: true, Since: 5, NowMS: 6,
			Pieces: []CheckpointPiece{{ID: block, Stream: -2, Part: 1, Rows: 2, Bytes: 3, CRC: 4, Stores: []id.Store{"a", "b"}}},
		},
		&BlocksCopied{Session: 1, Blocks: []id.Block{block}},
	}
}

func TestCommandsSurviveEncoding(t *testing.T) {
	all := samples()
	if len(all) != len(commands) {
		t.Fatalf("%d samples for %d kinds", len(all), len(commands))
	}
	data, err := Encode(7, all...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeEntry(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got {
		if p.term != 7 || p.row.kind != all[i].Kind() {
			t.Errorf("%v came back as %v of term %d", all[i].Kind(), p.row.kind, p.term)
		}
		if diff := cmp.Diff(all[i], p.command); diff != "" {
			t.Errorf("%v came back changed: %s", all[i].Kind(), diff)
		}
		if int(p.row.kind) != i+1 || p.row.kind.String() != p.row.name {
			t.Errorf("kind %d is number %d in the list, named %s", p.row.kind, i+1, p.row.kind)
		}
	}
	if got := Kind(99).String(); got != "kind 99" {
		t.Errorf("an unknown kind is called %q", got)
	}
}

// Invariant 12: no flipped bit of an entry is applied.
func TestEveryFlippedBitOfAnEntryIsDetected(t *testing.T) {
	data, err := Encode(7, samples()...)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(data) * 8 {
		damaged := append([]byte(nil), data...)
		damaged[i/8] ^= 1 << (i % 8)
		if _, err := decodeEntry(damaged); !errors.Is(err, ErrUnreadable) {
			t.Fatalf("bit %d of byte %d flipped: %v, expected unreadable", i%8, i/8, err)
		}
	}
	for i := range data {
		if _, err := decodeEntry(data[:i]); !errors.Is(err, ErrUnreadable) {
			t.Fatalf("cut after %d of %d bytes: %v, expected unreadable", i, len(data), err)
		}
	}
}

// envelope makes an entry of one envelope with a right CRC.
func envelope(t *testing.T, kind uint32, payload []byte) []byte {
	t.Helper()
	env, err := marshal(&ledgerpb.Envelope{Kind: kind, Term: 1, Payload: payload, Crc32C: checksum(Kind(kind), 1, payload)})
	if err != nil {
		t.Fatal(err)
	}
	return JoinCommands(append(binary.AppendUvarint(nil, uint64(len(env))), env...))
}

// Rule 15: what cannot be read stops the node, and nothing of its entry is applied.
func TestUnreadableEntriesAreErrors(t *testing.T) {
	good, err := Encode(1, &ClusterNamed{Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	part, err := EncodeCommand(1, &ClusterNamed{Cluster: "c"})
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte(nil), good...)
	newer[1]++
	field := append(append([]byte(nil), "\x0a\x01c"...), 0x78, 1) // field 15, unknown
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"empty", "entry 2: entry of 0 bytes does not start with the magic byte 0xb7", nil},
		{"magic", "entry 2: entry of 3 bytes does not start with the magic byte 0xb7", []byte("abc")},
		{"newer version", "entry 2: entry has version 3, expected 1 to 2", newer},
		{"unknown kind", "entry 2: command 1 of 1: unknown kind 99: written by a newer version", envelope(t, 99, nil)},
		{"wide kind", "entry 2: command 1 of 1: kind 65538 has CRC", envelope(t, 1<<16+2, nil)},
		{"unknown field", "entry 2: command 1 of 1: decode ClusterNamed: 3 bytes understood, 5 present", envelope(t, 2, field)},
		{"bytes behind", "entry 2: entry has 1 bytes behind its 1 commands", append(append([]byte(nil), good...), 0)},
		{"second damaged", "entry 2: command 2 of 2: unknown kind 99", JoinCommands(part, envelope(t, 99, nil)[3:])},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := startLedger(t)
			before := l.stateBytes()
			_, err := l.m.Apply(2, c.data)
			if !errors.Is(err, ErrUnreadable) || !strings.HasPrefix(err.Error(), c.want) {
				t.Fatalf("%v, expected %q", err, c.want)
			}
			if string(before) != string(l.stateBytes()) || l.m.View().Index() != 1 {
				t.Fatal("an unreadable entry changed the state")
			}
		})
	}
	l := startLedger(t)
	if _, err := l.m.Apply(1, good); !errors.Is(err, ErrUnreadable) || !strings.HasPrefix(err.Error(), "entry 1 comes after 1") {
		t.Fatalf("an index twice: %v", err)
	}
}

func TestNamesMustBeText(t *testing.T) {
	_, err := Encode(1, &ClusterNamed{Cluster: "a\xff"})
	if err == nil || !strings.Contains(err.Error(), "encode ClusterNamed") {
		t.Fatalf("name that is not UTF-8: %v, expected an error", err)
	}
	// What user code says is reported whatever it is.
	long := strings.Repeat("ä", MaxText)
	for _, s := range []string{"a\xff", long, "x" + long, strings.Repeat("\xff", MaxText)} {
		if got := text(s); len(got) > MaxText || !utf8.ValidString(got) || got == "" {
			t.Fatalf("text of %d bytes became one of %d", len(s), len(got))
		}
	}
}

func TestTableRefusesANumberThatIsUsedTwice(t *testing.T) {
	defer func() {
		if r := recover(); r != "fsm: kind 1 is both Epoch and Epoch" {
			t.Fatalf("recovered %v", r)
		}
	}()
	table(epochRow, epochRow)
}

func FuzzDecodeEntry(f *testing.F) {
	for _, c := range samples() {
		data, err := Encode(3, c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	all, err := Encode(3, samples()...)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := New()
		open, err := Encode(3, &Epoch{Term: 3, Leader: "l"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Apply(1, open); err != nil {
			t.Fatal(err)
		}
		before := m.View().Hash()
		if _, err := m.Apply(2, data); err != nil && m.View().Hash() != before {
			t.Fatalf("an unreadable entry changed the state: %v", err)
		}
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
	})
}
