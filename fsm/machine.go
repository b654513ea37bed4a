package fsm

import (
	"io"
	"iter"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// View is a consistent, immutable picture of the ledger at one applied index. Copying it is cheap.
type View struct{}

// SKELETON, to be replaced by the real one with the same exported shape.

func (View) Index() uint64                                          { panic("skeleton") }
func (View) Cluster() string                                        { panic("skeleton") }
func (View) Leadership() Leadership                                 { panic("skeleton") }
func (View) Session(id.Session) (*tracker.Session, bool)            { panic("skeleton") }
func (View) SessionOf(id.Store) (*tracker.Session, bool)            { panic("skeleton") }
func (View) Sessions() iter.Seq[*tracker.Session]                   { panic("skeleton") }
func (View) App(id.App) (*App, bool)                                { panic("skeleton") }
func (View) AppNamed(string) (*App, bool)                           { panic("skeleton") }
func (View) Apps() iter.Seq[*App]                                   { panic("skeleton") }
func (View) Receiver(id.App, id.Stream) (*tracker.Receiver, bool)   { panic("skeleton") }
func (View) Receivers(id.App) iter.Seq[*tracker.Receiver]           { panic("skeleton") }
func (View) Instances(id.App) iter.Seq[*blocktracker.Instance]      { panic("skeleton") }
func (View) Positions(id.App, id.Stream) iter.Seq2[string, uint64]  { panic("skeleton") }
func (View) Batch(id.App, id.Time) (*Batch, bool)                   { panic("skeleton") }
func (View) Batches(id.App, id.Time) iter.Seq[*Batch]               { panic("skeleton") }
func (View) Attempt(id.App, id.Time) id.Attempt                     { panic("skeleton") }
func (View) Input(id.App, id.Time, id.Stream) []*blocktracker.Block { panic("skeleton") }
func (View) Queued(id.App, id.Stream) iter.Seq[*blocktracker.Block] { panic("skeleton") }

// Hash is a canonical hash of the whole state: equal on every node at equal applied index.
func (View) Hash() [32]byte { panic("skeleton") }

// WriteSnapshot writes the view as a snapshot: header, checksummed chunks, trailer.
func (View) WriteSnapshot(w io.Writer) error { panic("skeleton") }

// Machine is the ledger's state machine. One goroutine calls it.
type Machine struct{}

// New makes an empty ledger.
func New() *Machine { return &Machine{} }

// Encode makes the data of one Raft entry of commands proposed in term.
func Encode(term uint64, commands ...Command) ([]byte, error) { panic("skeleton") }

// Apply applies one Raft entry and gives one result per command. An error means that the entry is unreadable or of an
// unknown kind: the node must stop.
func (m *Machine) Apply(index uint64, data []byte) ([]Result, error) { panic("skeleton") }

// View gives the state after the last Apply or Restore.
func (m *Machine) View() View { panic("skeleton") }

// Restore replaces the state by a snapshot. On an error the state is as before.
func (m *Machine) Restore(r io.Reader) error { panic("skeleton") }
