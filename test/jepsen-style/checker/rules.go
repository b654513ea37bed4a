package checker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
)

// rules replays a log by a model of its own, made from the rules alone, and holds what the ledger made of every command
// against it. Commands that the ledger refused change nothing here: whether a refusal was right is for who asked.
func rules(dumps []*dump) Result {
	j := Judging("ledger", "")
	log, err := whole(dumps)
	if err != nil {
		j.Doubt("%v", err)
		return j.Result()
	}
	m := replay(log, j)
	j.See("commands", m.commands)
	for _, a := range m.apps {
		j.See("batches", int64(len(a.batches)))
		j.See("completed", a.completions)
		j.See("blocks", int64(len(a.added)))
	}
	j.Found.Counts["applications"] = int64(len(m.apps))
	j.Found.Counts["epochs"] = m.epochs
	j.Found.Counts["offices"] = m.offices
	j.Found.Counts["refused"] = m.refused
	return j.Result()
}

// ledgerModel is what the log says, as far as the rules need it.
type ledgerModel struct {
	j        *Judge
	line     *ledgerLine  // that is applied
	rest     []ledgerLine // of the same entry, behind it
	commands int64
	refused  int64
	epochs   int64
	offices  int64

	term    uint64            // of the leadership
	leaders map[uint64]string // by term, of all that proposed to lead
	stores  map[string]uint64 // store -> open session
	open    map[uint64]string // open session -> store
	apps    map[uint64]*appModel
}

// replay applies a whole log.
func replay(log []ledgerLine, j *Judge) *ledgerModel {
	return watch(log, j, func(*ledgerModel, *ledgerLine) {})
}

// watch is replay that shows every command before it is applied.
func watch(log []ledgerLine, j *Judge, show func(before *ledgerModel, l *ledgerLine)) *ledgerModel {
	m := &ledgerModel{
		j: j, leaders: map[uint64]string{}, stores: map[string]uint64{}, open: map[uint64]string{}, apps: map[uint64]*appModel{},
	}
	for i := range log {
		if l := &log[i]; l.N > 0 {
			show(m, l)
			m.line, m.rest = l, behind(log[i:])
			m.commands++
			if err := m.apply(l); err != nil {
				j.Doubt("entry %d, command %d (%s): %v", l.Index, l.N, l.Kind, err)
			}
		}
	}
	return m
}

// behind gives the commands of the same entry after the first line.
func behind(log []ledgerLine) []ledgerLine {
	n := 1
	for n < len(log) && log[n].Index == log[0].Index {
		n++
	}
	return log[1:n]
}

// bad is a rule that the command broke.
func (m *ledgerModel) bad(format string, args ...any) {
	m.j.Bad("entry %d (%s): %s", m.line.Index, m.line.Kind, fmt.Sprintf(format, args...))
}

// apply finds what the kind of a command means here. Kinds that no rule is about are left out.
func (m *ledgerModel) apply(l *ledgerLine) error {
	if !l.did() && l.Kind != "BlocksAdded" && l.Kind != "Epoch" { // each block has a result of its own
		m.refused++
		return nil
	}
	if l.Proposed != 0 && l.Kind != "Epoch" && l.did() && m.term != 0 && l.Proposed != m.term {
		m.bad("proposed in term %d it took effect, term %d has begun (rule 1)", l.Proposed, m.term)
	}
	switch l.Kind {
	case "Epoch":
		return applyAs(m, l, (*ledgerModel).epoch)
	case "SessionOpened":
		return applyAs(m, l, (*ledgerModel).sessionOpened)
	case "SessionClosed":
		return applyAs(m, l, (*ledgerModel).sessionClosed)
	case "ApplicationSubmitted":
		return applyAs(m, l, (*ledgerModel).submitted)
	case "ApplicationStopped":
		return applyTo(m, l, (*appModel).stopped)
	case "ApplicationResumed":
		return applyTo(m, l, (*appModel).resumed)
	case "ApplicationEnded":
		return applyTo(m, l, (*appModel).ended)
	case "BlocksAdded":
		return applyAs(m, l, (*ledgerModel).blocksAdded)
	case "BlocksAllocated":
		return applyTo(m, l, (*appModel).allocate)
	case "CoordinatorAssigned":
		return applyTo(m, l, (*appModel).assigned)
	case "BatchCompleted":
		return applyTo(m, l, (*appModel).complete)
	case "BatchFailed":
		return applyTo(m, l, (*appModel).fail)
	case "BatchesCleaned":
		return applyTo(m, l, (*appModel).clean)
	case "StateCheckpointed":
		return applyTo(m, l, (*appModel).checkpoint)
	}
	return nil
}

// applyAs decodes a command and applies it.
func applyAs[C any](m *ledgerModel, l *ledgerLine, f func(*ledgerModel, *C)) error {
	c := new(C)
	if err := json.Unmarshal(l.Command, c); err != nil {
		return err
	}
	f(m, c)
	return nil
}

// applyTo decodes a command and applies it to its application.
func applyTo[C any](m *ledgerModel, l *ledgerLine, f func(*appModel, *C)) error {
	c := new(C)
	var of struct {
		App uint64 `json:"app"`
	}
	if err := json.Unmarshal(l.Command, c); err != nil {
		return err
	}
	if err := json.Unmarshal(l.Command, &of); err != nil {
		return err
	}
	a, ok := m.apps[of.App]
	if !ok {
		m.bad("it took effect on application %d, which was never submitted", of.App)
		return nil
	}
	f(a, c)
	return nil
}

type epochCommand struct {
	Term   uint64 `json:"term"`
	Leader string `json:"leader"`
}

func (m *ledgerModel) epoch(c *epochCommand) {
	if other, ok := m.leaders[c.Term]; ok && other != c.Leader {
		m.bad("%s leads in term %d, and so does %s", c.Leader, c.Term, other)
	}
	m.leaders[c.Term] = c.Leader
	if c.Term > m.line.Term {
		m.bad("it is of term %d in an entry of term %d", c.Term, m.line.Term)
	}
	if !m.line.now() {
		return
	}
	if c.Term <= m.term {
		m.bad("term %d opens after term %d", c.Term, m.term)
	}
	m.term = c.Term
	m.epochs++
}

type sessionOpenedCommand struct {
	Store string `json:"store"`
	Name  string `json:"name"` // of the node
}

func (m *ledgerModel) sessionOpened(c *sessionOpenedCommand) {
	if !m.line.now() {
		return
	}
	delete(m.open, m.stores[c.Store])
	m.stores[c.Store] = m.line.Index
	m.open[m.line.Index] = c.Store
}

type sessionClosedCommand struct {
	Session uint64 `json:"session"`
}

func (m *ledgerModel) sessionClosed(c *sessionClosedCommand) {
	if store, ok := m.open[c.Session]; ok {
		delete(m.open, c.Session)
		delete(m.stores, store)
	}
}

type submittedCommand struct {
	Name       string            `json:"name"`
	BatchMS    int64             `json:"batch_ms"`
	Factor     int               `json:"factor"`
	RememberMS int64             `json:"remember_ms"`
	States     []json.RawMessage `json:"states"`
	NowMS      int64             `json:"now_ms"`
}

func (m *ledgerModel) submitted(c *submittedCommand) {
	if !m.line.now() {
		return
	}
	for _, a := range m.apps {
		if a.name == c.Name && !a.over {
			m.bad("application %q is submitted while application %d of that name lives", c.Name, a.id)
		}
	}
	if c.BatchMS <= 0 {
		m.bad("application %q has a batch interval of %d ms", c.Name, c.BatchMS)
		return
	}
	zero := c.NowMS - c.NowMS%c.BatchMS
	m.apps[m.line.Index] = &appModel{
		m: m, id: m.line.Index, name: c.Name, interval: c.BatchMS, factor: c.Factor, remember: max(c.RememberMS, c.BatchMS),
		keyed: len(c.States) > 0, zero: zero, allocated: zero, completed: zero, cleaned: zero, checkpointed: zero,
		added: map[blockID]*blockModel{}, last: map[instanceID]uint64{}, positions: map[positionID]uint64{},
		batches: map[int64]*batchModel{}, failed: map[int64]bool{},
	}
}

type blocksAddedCommand struct {
	Session uint64       `json:"session"`
	Blocks  []addedBlock `json:"blocks"`
}

type addedBlock struct {
	ID      blockID      `json:"id"`
	Records int64        `json:"records"`
	Bytes   int64        `json:"bytes"`
	CRC     uint32       `json:"crc"`
	Stores  []string     `json:"stores"`
	Ranges  []addedRange `json:"ranges"`
}

type addedRange struct {
	Partition text   `json:"partition"`
	First     uint64 `json:"first"`
	Last      uint64 `json:"last"`
}

// text is a text that need not be UTF-8: it is then given as {"base64":".."}.
type text string

// UnmarshalJSON reads either form.
func (t *text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var v struct {
			Base64 string `json:"base64"`
		}
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(v.Base64)
		*t = text(raw)
		return err
	}
	return json.Unmarshal(b, (*string)(t))
}

func (m *ledgerModel) blocksAdded(c *blocksAddedCommand) {
	results := m.line.Result.Blocks
	if len(results) != len(c.Blocks) {
		m.bad("%d blocks have %d results", len(c.Blocks), len(results))
		return
	}
	for i := range c.Blocks {
		if results[i].Outcome != done {
			continue
		}
		b := &c.Blocks[i]
		a, ok := m.apps[b.ID.App]
		if !ok {
			m.bad("block %v is taken, and there is no such application", b.ID)
			continue
		}
		if _, known := a.added[b.ID]; known {
			a.repeated(b)
			continue
		}
		if results[i].Index != m.line.Index {
			m.bad("block %v is said to be taken at %d, and was not", b.ID, results[i].Index)
			continue
		}
		a.add(c.Session, b)
	}
}

// copies counts the stores of a block whose executors have a session: each counts once.
func (m *ledgerModel) copies(stores []string) int {
	n := 0
	for i, s := range stores {
		if _, open := m.stores[s]; open && !slices.Contains(stores[:i], s) {
			n++
		}
	}
	return n
}

// errNoApp says that the ledger has no such application.
func errNoApp(app uint64) error { return fmt.Errorf("the ledger has no application %d", app) }
