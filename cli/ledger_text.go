package cli

import (
	"fmt"
	"strings"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
)

// text says in a few words what a step is about and, unless it was simply done, what became of it.
func (r *replay) text(s *logged) string {
	if s.n == 0 {
		return raftText(s.entry)
	}
	text := r.about(s)
	if s.result == nil {
		return text
	}
	switch {
	case s.result.Outcome != fsm.Done:
		return fmt.Sprintf("%s: %s; %s", strings.ToUpper(s.result.Outcome.String()), s.result.Reason, text)
	case s.result.Index != s.entry.Index && s.result.Index != 0:
		return fmt.Sprintf("AGAIN, done at %d; %s", s.result.Index, text)
	}
	bad, again := 0, 0
	first := ""
	for _, b := range s.result.Blocks {
		switch {
		case b.Outcome != fsm.Done:
			if bad++; bad == 1 {
				first = b.Reason
			}
		case b.Index != s.entry.Index:
			again++
		}
	}
	if again > 0 {
		text += fmt.Sprintf("; %d known already", again)
	}
	if bad > 0 {
		text += fmt.Sprintf("; %d REFUSED: %s", bad, first)
	}
	return text
}

func raftText(e raftnode.StoppedEntry) string {
	if e.Kind != raftnode.EntryConfiguration {
		return ""
	}
	var servers []string
	for _, s := range e.Servers {
		what := "voter"
		if !s.Voter {
			what = "learner"
		}
		servers = append(servers, fmt.Sprintf("%s %s at %s", what, s.ID, s.Addr))
	}
	return strings.Join(servers, ", ")
}

// about says what a command wants. A kind without words here is shown as its JSON.
func (r *replay) about(s *logged) string {
	switch c := s.proposed.Command.(type) {
	case *fsm.Epoch:
		return fmt.Sprintf("%s at %s leads in term %d", c.Name, c.Addr, c.Term)
	case *fsm.ClusterNamed:
		return c.Cluster
	case *fsm.SessionOpened:
		return fmt.Sprintf("%s at %s, store %s, start %d, %d slots", c.Name, c.Addr, c.Store, c.Generation, c.Slots)
	case *fsm.SessionClosed:
		return r.session(c.Session) + ": " + c.Reason
	case *fsm.InventoryReported:
		return fmt.Sprintf("%s holds %d blocks", r.session(c.Session), len(c.Blocks))
	case *fsm.ReceiverScheduled:
		return fmt.Sprintf("stream %d on %s", c.Stream, r.session(c.Session))
	case *fsm.ReceiverRegistered:
		return fmt.Sprintf("stream %d, instance %d on %s", c.Stream, c.Instance, r.session(c.Session))
	case *fsm.ReceiverDeregistered:
		return fmt.Sprintf("stream %d, instance %d: %s %s", c.Stream, c.Instance, c.Message, c.Error)
	case *fsm.ReceiverFailed:
		return fmt.Sprintf("stream %d, instance %d: %s", c.Stream, c.Instance, c.Error)
	case *fsm.BlocksAdded:
		return r.blocksText(c)
	case *fsm.BlocksCopied:
		return fmt.Sprintf("%s holds copies of %d blocks", r.session(c.Session), len(c.Blocks))
	}
	return r.aboutApp(s)
}

func (r *replay) aboutApp(s *logged) string {
	switch c := s.proposed.Command.(type) {
	case *fsm.ApplicationSubmitted:
		return fmt.Sprintf("%s, batches of %s, copies %d, request %q", c.Program, millis(c.BatchMS), c.Factor, c.RequestID)
	case *fsm.ApplicationStopped:
		if c.Now {
			return "at once"
		}
		return "in order"
	case *fsm.ApplicationEnded:
		return ""
	case *fsm.ApplicationResumed:
		if c.AcceptLoss {
			return "accepting loss"
		}
		return ""
	case *fsm.CoordinatorAssigned:
		return r.session(c.Session)
	case *fsm.BlocksAllocated:
		return allocationText(s, c)
	case *fsm.BatchCompleted:
		text := fmt.Sprintf("batch %s by office %d, attempt %d", clock(int64(c.Time)), c.Office, c.Attempt)
		if c.Lost > 0 || len(c.LostBlocks) > 0 {
			text += fmt.Sprintf(", GIVING UP %d records of %d blocks", c.Lost, len(c.LostBlocks))
		}
		return text
	case *fsm.BatchFailed:
		return fmt.Sprintf("batch %s by office %d, attempt %d: %s", clock(int64(c.Time)), c.Office, c.Attempt, c.Error)
	case *fsm.BatchesCleaned:
		return "up to batch " + clock(int64(c.UpTo))
	case *fsm.StateCheckpointed:
		what, bytes := "changes", int64(0)
		if c.Full {
			what = "full"
		}
		for _, p := range c.Pieces {
			bytes += p.Bytes
		}
		return fmt.Sprintf("batch %s, %s, %d pieces of %s bytes", clock(int64(c.Time)), what, len(c.Pieces), grouped(bytes))
	}
	raw, err := snakeJSON(s.proposed.Command)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func allocationText(s *logged, c *fsm.BlocksAllocated) string {
	text := "batch " + clock(int64(c.From))
	if c.To != c.From {
		text = fmt.Sprintf("batches %s to %s", clock(int64(c.From)), clock(int64(c.To)))
	}
	if s.result != nil {
		text += fmt.Sprintf(": %d blocks", len(s.blocks))
	}
	if b, ok := s.view.Batch(c.App, c.From); s.result != nil && ok {
		text += fmt.Sprintf(", %s records", grouped(b.Records))
	}
	for _, d := range c.Direct {
		text += fmt.Sprintf(", stream %d: %d parts", d.Stream, len(d.Plan.Parts))
	}
	if c.Last {
		text += ", the last"
	}
	if c.Unplanned != "" {
		text += ", unplanned: " + c.Unplanned
	}
	return text
}

// maxShown bounds the ranges that a line names.
const maxShown = 3

func (r *replay) blocksText(c *fsm.BlocksAdded) string {
	records, bytes, ranges := int64(0), int64(0), 0
	var shown []string
	for _, b := range c.Blocks {
		records += b.Records
		bytes += b.Bytes
		for _, g := range b.Ranges {
			if ranges++; ranges <= maxShown {
				shown = append(shown, fmt.Sprintf("%s %d-%d", g.Partition, g.First, g.Last))
			}
		}
	}
	text := fmt.Sprintf("%d blocks, %s records, %s bytes from %s", len(c.Blocks), grouped(records), grouped(bytes), r.session(c.Session))
	if len(c.Blocks) > 0 {
		text += fmt.Sprintf(", the first is %v", c.Blocks[0].ID)
	}
	if ranges > maxShown {
		shown = append(shown, fmt.Sprintf("%d more", ranges-maxShown))
	}
	if len(shown) > 0 {
		text += ": " + strings.Join(shown, ", ")
	}
	return text
}

// session names a session by its node.
func (r *replay) session(n id.Session) string {
	if n == 0 {
		return "nobody"
	}
	if name, ok := r.names[n]; ok {
		return fmt.Sprintf("%s (session %d)", name, n)
	}
	return fmt.Sprintf("session %d", n)
}
