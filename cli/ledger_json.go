package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/raftnode"
)

// What ledger log -o json prints: a head, a line for each command, and where that leads. Names are part of the contract.

type logHeadJSON struct {
	Node          string `json:"node"`
	NodeID        string `json:"node_id"`
	Cluster       string `json:"cluster"`
	Term          uint64 `json:"term"`
	FirstIndex    uint64 `json:"first_index"`
	LastIndex     uint64 `json:"last_index"`
	SnapshotIndex uint64 `json:"snapshot_index"`
	SnapshotTerm  uint64 `json:"snapshot_term"`
}

type logLineJSON struct {
	Index      uint64          `json:"index"`
	Term       uint64          `json:"term"`
	N          int             `json:"n"`
	Kind       string          `json:"kind"`
	Proposed   uint64          `json:"proposed_term,omitempty"`
	App        string          `json:"app"`
	AppID      uint64          `json:"app_id"`
	Command    json.RawMessage `json:"command"`
	CRC        string          `json:"crc"`
	AppendedMS int64           `json:"appended_ms"`
	Result     *resultJSON     `json:"result,omitempty"`
	Allocated  json.RawMessage `json:"allocated,omitempty"`
}

type resultJSON struct {
	Outcome string            `json:"outcome"`
	Index   uint64            `json:"index"`
	Reason  string            `json:"reason"`
	Stale   bool              `json:"stale"`
	Blocks  []blockResultJSON `json:"blocks,omitempty"`
}

type blockResultJSON struct {
	Outcome string `json:"outcome"`
	Index   uint64 `json:"index"`
	Reason  string `json:"reason"`
}

func (r *replay) headJSON() logHeadJSON {
	return logHeadJSON{
		Node: r.dir.Name(), NodeID: r.dir.Node(), Cluster: r.dir.Cluster(), Term: r.raft.Term,
		FirstIndex: r.raft.First, LastIndex: r.raft.Last,
		SnapshotIndex: r.raft.SnapshotIndex, SnapshotTerm: r.raft.SnapshotTerm,
	}
}

func (r *replay) lineJSON(s *logged) (logLineJSON, error) {
	j := logLineJSON{Index: s.entry.Index, Term: s.entry.Term, N: s.n, Kind: kindOf(s), Command: json.RawMessage("{}")}
	if !s.entry.Appended.IsZero() {
		j.AppendedMS = s.entry.Appended.UnixMilli()
	}
	var err error
	if s.n == 0 {
		if s.entry.Kind == raftnode.EntryConfiguration {
			j.Command, err = snakeJSON(struct{ Servers []raftnode.Server }{s.entry.Servers})
		}
		return j, err
	}
	if app := appIDOf(s); app != 0 {
		j.AppID = uint64(app)
		j.App = appName(s, app)
	}
	j.CRC = fmt.Sprintf("%08x", s.proposed.CRC)
	j.Proposed = s.proposed.Term
	if j.Command, err = snakeJSON(s.proposed.Command); err != nil {
		return j, err
	}
	if s.blocks != nil {
		if j.Allocated, err = snakeJSON(s.blocks); err != nil {
			return j, err
		}
	}
	if s.result != nil {
		j.Result = resultOf(s.result)
	}
	return j, nil
}

func resultOf(r *fsm.Result) *resultJSON {
	j := &resultJSON{Outcome: r.Outcome.String(), Index: r.Index, Reason: r.Reason, Stale: r.Stale}
	for _, b := range r.Blocks {
		j.Blocks = append(j.Blocks, blockResultJSON{b.Outcome.String(), b.Index, b.Reason})
	}
	return j
}

// kindOf names a step: a command's kind, or raft/ and the kind of an entry of raft's own.
func kindOf(s *logged) string {
	if s.n == 0 {
		return "raft/" + string(s.entry.Kind)
	}
	return s.proposed.Command.Kind().String()
}

// appIDOf gives the application that a command is about: 0 for none or several.
func appIDOf(s *logged) id.App {
	switch c := s.proposed.Command.(type) {
	case *fsm.ApplicationSubmitted:
		if s.result != nil {
			return id.App(s.result.Index)
		}
		return 0
	case *fsm.BlocksAdded:
		if len(c.Blocks) == 0 {
			return 0
		}
		app := c.Blocks[0].ID.App
		for _, b := range c.Blocks {
			if b.ID.App != app {
				return 0
			}
		}
		return app
	}
	if f := reflect.ValueOf(s.proposed.Command).Elem().FieldByName("App"); f.IsValid() {
		if app, ok := f.Interface().(id.App); ok {
			return app
		}
	}
	return 0
}

func appName(s *logged, app id.App) string {
	if c, ok := s.proposed.Command.(*fsm.ApplicationSubmitted); ok {
		return c.Name
	}
	if s.result == nil {
		return ""
	}
	if a, ok := s.view.App(app); ok {
		return a.Name
	}
	return ""
}

// snakeJSON writes a plain struct with its fields' names in snake case. Text that is not UTF-8 is {"base64":".."}; the
// parameters of an application, which are JSON, are themselves.
func snakeJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := writeSnake(&b, reflect.Indirect(reflect.ValueOf(v))); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeSnake(b *bytes.Buffer, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Struct:
		return writeObject(b, v)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return writeText(b, string(v.Bytes()))
		}
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeSnake(b, v.Index(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case reflect.String:
		return writeText(b, v.String())
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		b.WriteString(strconv.FormatUint(v.Uint(), 10))
	default:
		return fmt.Errorf("a command holds a %s, which has no form in JSON yet", v.Type())
	}
	return nil
}

func writeObject(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	for i := range v.NumField() {
		if i > 0 {
			b.WriteByte(',')
		}
		name := v.Type().Field(i).Name
		fmt.Fprintf(b, "%q:", snake(name))
		if raw, ok := v.Field(i).Interface().([]byte); ok && name == "Params" && json.Valid(raw) {
			if err := json.Compact(b, raw); err != nil {
				return err
			}
			continue
		}
		if err := writeSnake(b, v.Field(i)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func writeText(b *bytes.Buffer, s string) error {
	if !utf8.ValidString(s) {
		fmt.Fprintf(b, "{%q:%q}", "base64", base64.StdEncoding.EncodeToString([]byte(s)))
		return nil
	}
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line end
	return nil
}

// snake turns a Go name into snake case: CheckpointURL is checkpoint_url, NowMS now_ms.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, c := range runes {
		begins := i > 0 && unicode.IsUpper(c) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if begins {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
