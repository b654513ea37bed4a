package fsm

import (
	"fmt"
	"slices"

	"github.com/raftstream/raftstream/internal/id"
)

// model is the ledger written down naively: lists that are searched, counts that are counted anew. It is what the
// state machine is compared with in TestLedgerAgreesWithItsModel. It knows applications of one stream with a receiver;
// those named "a" have keyed state and a direct stream too (model_state_test.go).
type model struct {
	index    uint64
	sessions []mSession // ever opened
	apps     []*mApp
}

type mSession struct {
	id    id.Session
	s     SessionOpened
	open  bool
	lists bool       // its inventory has begun and not ended
	named []id.Block // by its inventory so far
}

type mApp struct {
	id         id.App
	name       string
	state      AppState
	draining   bool
	last       bool
	batches    []*mBatch
	blocks     []*mBlock // in order of arrival
	instances  []*mInstance
	offices    []mOffice
	resumed    uint64
	prev       uint64 // resumed before
	loss       bool   // of the last resumption
	acceptLoss bool
	atOnce     bool
	cleaned    id.Time
	stopped    uint64
	ended      uint64
	discarded  int64
	keyed      bool
	plans      []*mPlan
	chain      []*mLink
	lasts      map[id.Office]uint64 // highest number of a piece that was committed
}

type mBatch struct {
	at        id.Time
	index     uint64
	done      uint64
	failed    uint64
	by        BatchCompleted // who reported it last
	forgotten bool           // discarded by stop --now
}

type mBlock struct {
	b     AddedBlock
	batch id.Time // 0: queued, -1: discarded
	lost  bool
	index uint64
}

type mInstance struct {
	id         id.Instance
	prev       id.Instance
	session    id.Session
	registered uint64
	closed     bool
}

type mOffice struct {
	id      id.Office
	prev    id.Office
	session id.Session
	ended   bool
}

const mZero = 10_000 // zero time of every application, whose interval is 1000 and which remembers one

func (m *model) app(n id.App) *mApp {
	for _, a := range m.apps {
		if a.id == n {
			return a
		}
	}
	return nil
}

func (m *model) open(n id.Session) bool {
	return slices.ContainsFunc(m.sessions, func(s mSession) bool { return s.id == n && s.open })
}

func (m *model) openStores() (out []id.Store) {
	for _, s := range m.sessions {
		if s.open {
			out = append(out, s.s.Store)
		}
	}
	return out
}

// pending lists the batches that are allocated and not completed.
func (a *mApp) pending() (out []*mBatch) {
	for _, b := range a.batches {
		if b.done == 0 && !b.forgotten {
			out = append(out, b)
		}
	}
	return out
}

func (a *mApp) allocated() id.Time {
	at := id.Time(mZero)
	for _, b := range a.batches {
		if !b.forgotten {
			at = b.at
		}
	}
	return at
}

func (a *mApp) completed() id.Time {
	at := id.Time(mZero)
	for _, b := range a.batches {
		if b.done != 0 {
			at = b.at
		}
	}
	return at
}

func (a *mApp) batch(at id.Time) *mBatch {
	for _, b := range a.batches {
		if b.at == at && !b.forgotten {
			return b
		}
	}
	return nil
}

func (a *mApp) instance(n id.Instance) *mInstance {
	for _, i := range a.instances {
		if i.id == n {
			return i
		}
	}
	return nil
}

func (a *mApp) office() mOffice {
	if len(a.offices) == 0 {
		return mOffice{ended: true}
	}
	return a.offices[len(a.offices)-1]
}

// current is the last instance granted.
func (a *mApp) current() id.Instance {
	if len(a.instances) == 0 {
		return 0
	}
	return a.instances[len(a.instances)-1].id
}

// numbers gives the highest number committed of an instance, and high the highest position of a partition.
func (a *mApp) numbers(n id.Instance) (last uint64) {
	for _, b := range a.blocks {
		if b.b.ID.Instance == n {
			last = max(last, b.b.ID.Number)
		}
	}
	return last
}

func (a *mApp) high(partition string) (last uint64) {
	for _, b := range a.blocks {
		for _, r := range b.b.Ranges {
			if r.Partition == partition {
				last = max(last, r.Last)
			}
		}
	}
	return last
}

// records counts the records of blocks in a batch.
func (a *mApp) records(at id.Time) (n int64) {
	for _, b := range a.blocks {
		if b.batch == at {
			n += b.b.Records
		}
	}
	for _, p := range a.plans {
		if p.at == at && !p.dropped {
			n += p.records()
		}
	}
	return n
}

func (a *mApp) attempt(b *mBatch) id.Attempt {
	return id.Attempt(max(b.index, uint64(a.office().id), a.resumed))
}

func (m *model) done(index ...uint64) Result {
	if len(index) > 0 {
		return Result{Outcome: Done, Index: index[0]}
	}
	return Result{Outcome: Done, Index: m.index}
}

var (
	mRefused = Result{Outcome: Refused}
	mLimited = Result{Outcome: Limited}
)

// apply gives the expected result: outcome and index.
func (m *model) apply(c Command) Result {
	switch c := c.(type) {
	case *SessionOpened:
		return m.sessionOpened(c)
	case *SessionClosed:
		m.close(c.Session)
		return m.done()
	case *ApplicationSubmitted:
		return m.submitted(c)
	case *BlocksAdded:
		return m.added(c, &c.Blocks[0])
	case *InventoryReported:
		return m.inventory(c)
	case *BlocksCopied:
		return m.copied(c)
	}
	a := m.app(mAppOf(c))
	if a == nil {
		return mRefused
	}
	switch c := c.(type) {
	case *ApplicationStopped:
		return m.stopped(a, c)
	case *ApplicationEnded:
		return m.ended(a)
	case *BatchesCleaned:
		return m.cleaned(a, c)
	case *ReceiverDeregistered:
		return m.deregistered(a, c)
	}
	if a.state == Stopped {
		if c, ok := c.(*BatchCompleted); ok {
			return m.completed(a, c)
		}
		return mRefused
	}
	switch c := c.(type) {
	case *ApplicationResumed:
		return m.resumed(a, c)
	case *ReceiverScheduled:
		return m.scheduled(a, c)
	case *ReceiverRegistered:
		return m.registered(a, c)
	case *BlocksAllocated:
		return m.allocated(a, c)
	case *CoordinatorAssigned:
		return m.assigned(a, c)
	case *BatchCompleted:
		return m.completed(a, c)
	case *BatchFailed:
		return m.failed(a, c)
	case *StateCheckpointed:
		return m.checkpointed(a, c)
	}
	panic(fmt.Sprintf("model: %T", c))
}

func mAppOf(c Command) id.App {
	switch c := c.(type) {
	case *ApplicationStopped:
		return c.App
	case *ApplicationEnded:
		return c.App
	case *ApplicationResumed:
		return c.App
	case *ReceiverScheduled:
		return c.App
	case *ReceiverRegistered:
		return c.App
	case *ReceiverDeregistered:
		return c.App
	case *BlocksAllocated:
		return c.App
	case *CoordinatorAssigned:
		return c.App
	case *BatchCompleted:
		return c.App
	case *BatchFailed:
		return c.App
	case *BatchesCleaned:
		return c.App
	case *StateCheckpointed:
		return c.App
	}
	return 0
}

func (m *model) sessionOpened(c *SessionOpened) Result {
	old := id.Session(0)
	for _, s := range m.sessions {
		if s.s.Store == c.Store && s.s.Generation > c.Generation {
			return mRefused
		}
		if s.s.Store == c.Store && s.open {
			old = s.id
			if s.s.Generation == c.Generation {
				return m.done(uint64(s.id))
			}
		}
	}
	if n := len(m.sessions); n > 0 && m.sessions[n-1].id == id.Session(m.index) {
		return mLimited
	}
	m.close(old)
	m.sessions = append(m.sessions, mSession{id: id.Session(m.index), s: *c, open: true})
	return m.done()
}

// inventory is rule 5: the session's store holds what it names, and with the last part nothing else of what was
// committed before the session was opened.
func (m *model) inventory(c *InventoryReported) Result {
	if !m.open(c.Session) {
		return mRefused
	}
	s := &m.sessions[slices.IndexFunc(m.sessions, func(s mSession) bool { return s.id == c.Session && s.open })]
	if c.First {
		s.lists, s.named = true, nil
	}
	r := m.done()
	for _, n := range c.Blocks {
		a := m.app(n.App)
		if a != nil && (a.piece(n) != nil || slices.ContainsFunc(a.blocks, func(b *mBlock) bool { return b.b.ID == n })) {
			s.named = append(s.named, n) // one that is not committed yet says by itself where its copies are
		}
		if a := m.app(n.App); a == nil || a.state == Stopped || a.gone(n) {
			r.Missing = append(r.Missing, n)
		}
	}
	for _, a := range m.apps {
		for _, b := range a.blocks {
			s.list(c, b.b.ID, &b.b.Stores, b.index)
		}
		for _, l := range a.chain {
			for i := range l.c.Pieces {
				s.list(c, l.c.Pieces[i].ID, &l.c.Pieces[i].Stores, l.index)
			}
		}
	}
	if c.Last {
		s.lists, s.named = false, nil
	}
	return r
}

// list moves the session's store into or out of the stores of something.
func (s *mSession) list(c *InventoryReported, n id.Block, stores *[]id.Store, index uint64) {
	holds := slices.Contains(s.named, n) || slices.Contains(c.Blocks, n)
	lists := slices.Contains(*stores, s.s.Store)
	if holds && !lists {
		*stores = append(slices.Clone(*stores), s.s.Store)
	} else if lists && !holds && c.Last && s.lists && index < uint64(c.Session) {
		*stores = slices.DeleteFunc(slices.Clone(*stores), func(o id.Store) bool { return o == s.s.Store })
	}
}

// gone tells whether a block can never be asked for.
func (a *mApp) gone(n id.Block) bool {
	if n.Stream == mState {
		return a.pieceGone(n)
	}
	in := a.instance(n.Instance)
	if in == nil {
		return n.Instance < a.current() // it was not granted and never will be
	}
	for _, b := range a.blocks {
		if b.b.ID == n {
			return b.batch == -1 || b.batch != 0 && b.batch <= a.cleaned
		}
	}
	return in.closed
}

func (m *model) close(n id.Session) {
	for i := range m.sessions {
		if m.sessions[i].id == n {
			m.sessions[i].open, m.sessions[i].lists, m.sessions[i].named = false, false, nil
		}
	}
	for _, a := range m.apps {
		for _, in := range a.instances {
			in.closed = in.closed || in.session == n
		}
		for i := range a.offices {
			a.offices[i].ended = a.offices[i].ended || a.offices[i].session == n
		}
	}
}

func (m *model) submitted(c *ApplicationSubmitted) Result {
	for _, a := range m.apps {
		if a.name == c.Name && a.state != Stopped {
			return mRefused
		}
	}
	if m.app(id.App(m.index)) != nil {
		return mLimited
	}
	m.apps = append(m.apps, &mApp{id: id.App(m.index), name: c.Name, state: Running, cleaned: mZero, keyed: len(c.States) > 0})
	return m.done()
}

func (m *model) added(c *BlocksAdded, b *AddedBlock) Result {
	a := m.app(b.ID.App)
	if !m.open(c.Session) || a == nil || a.state == Stopped {
		return mRefused
	}
	in := a.instance(b.ID.Instance)
	if in == nil {
		return mRefused
	}
	for _, have := range a.blocks {
		if have.b.ID == b.ID {
			if (have.batch == 0 || have.batch > a.cleaned) && !slices.Equal(have.b.Ranges, b.Ranges) {
				return mRefused
			}
			if have.batch == -1 || have.batch != 0 && have.batch <= a.cleaned {
				return m.done()
			}
			return m.done(have.index)
		}
	}
	if in.closed || in.session != c.Session || in.registered == 0 || in.id != a.current() && len(b.Ranges) > 0 {
		return mRefused
	}
	if b.ID.Number != a.numbers(in.id)+1 {
		return mLimited
	}
	stores := m.openStores()
	held := 0
	for _, s := range b.Stores {
		if slices.Contains(stores, s) {
			held++
		}
	}
	if held < min(2, len(stores)) {
		return mLimited
	}
	for _, r := range b.Ranges {
		if r.First != a.high(r.Partition)+1 {
			return mRefused
		}
	}
	a.blocks = append(a.blocks, &mBlock{b: *b, index: m.index})
	return m.done()
}
