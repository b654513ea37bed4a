package schedule

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Plan is a schedule as people write it: what is left to chance is drawn by Expand. See Parse for the grammar.
type Plan struct {
	Seed      uint64
	Nodes     int
	Workloads []string
	Rate      int
	Time      time.Duration
	Trim      bool // as in Schedule

	statements []statement
}

// statement says when one of its actions is taken: once at a time, or again and again.
type statement struct {
	line    int
	every   bool
	at      span // of the time, or of the interval
	actions []action
}

// action is one fault with what is to be drawn.
type action struct {
	kind    Kind
	shape   string // of a partition, instead of a kind
	targets []string
	peers   []string
	both    bool
	hold    span // For
	values  map[string]value
}

// span is a range of durations, both ends included.
type span struct{ low, high time.Duration }

// value is a range of numbers, or a word.
type value struct {
	low, high int64
	word      string
}

const (
	partition = "partition" // a statement's word for shapes of cuts
	maxTime   = 24 * time.Hour
	maxNodes  = 9
)

// shapes are the forms of partitions: one node, a minority or the leader from the rest, and rings in which every node sees
// a majority, but no two nodes the same one.
var shapes = []string{"one", "minority", "leader", "majorities-ring"}

// chances are the targets that Expand resolves; roles are those that stay until the event begins.
var (
	chances = []string{"any", "minority", "majority", "all"}
	roles   = []string{"leader", "followers", "follower", "coordinator", "receiver"}
)

// Parse reads a plan. Its first line gives the run, the others say what goes wrong:
//
//	seed=8412 nodes=5 workload=append-set+counter rate=500 time=120s
//	at 5s    partition majorities-ring plane=raft for 8s..15s
//	at 9s    kill leader for 0s..3s
//	every 4s..8s oneof { pause any for 1s..6s | powercut minority for 1s | clock-jump any offset=-90s..90s for 5s }
//	at 20s   cut leader from followers both for 3s
//	at 30s   delay any to leader delay=200ms jitter=150ms for 5s
//	at 40s   exit leader point=batch.allocated hit=3 for 1s
//
// A target is a node (n1), a role that is resolved when the fault begins (leader, follower, followers, coordinator,
// receiver) or a chance that the seed decides (any, minority, majority, all). "to" names the other ends of links, "from"
// says that it is their frames that suffer, "both" means both ways. A..B is drawn from the range. A semicolon is as good as the
// end of a line. What follows # in a line is left out.
func Parse(text string) (*Plan, error) {
	p := &Plan{Nodes: 3, Time: time.Minute, Rate: 500}
	header := false
	for n, words := range statements(text) {
		var err error
		switch {
		case states(words):
			var s statement
			if s, err = parseStatement(words, n); err == nil {
				p.statements = append(p.statements, s)
			}
		case !header:
			err = p.header(words)
			header = true
		default:
			err = fmt.Errorf("begins with %q, expected at or every", words[0])
		}
		if err != nil {
			return nil, fmt.Errorf("schedule, line %d: %w", n, err)
		}
	}
	return p, p.check()
}

// Headed reports whether a schedule's text gives the run itself: a line of it does not say what goes wrong.
func Headed(text string) bool {
	for _, words := range statements(text) {
		if !states(words) {
			return true
		}
	}
	return false
}

// states reports whether words say what goes wrong.
func states(words []string) bool { return words[0] == "at" || words[0] == "every" }

// statements gives the words of each statement, with the number of its line.
func statements(text string) iter.Seq2[int, []string] {
	return func(yield func(int, []string) bool) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			line, _, _ = strings.Cut(line, "#")
			for part := range strings.SplitSeq(line, ";") {
				if words := strings.Fields(spaced(part)); len(words) > 0 && !yield(n, words) {
					return
				}
			}
		}
	}
}

// spaced makes words of the signs of oneof.
func spaced(line string) string {
	return strings.NewReplacer("{", " { ", "}", " } ", "|", " | ").Replace(line)
}

func (p *Plan) header(words []string) (err error) {
	for _, w := range words {
		key, text, found := strings.Cut(w, "=")
		if !found {
			return fmt.Errorf("%q, expected key=value, or a line that begins with at or every", w)
		}
		switch key {
		case "seed":
			p.Seed, err = strconv.ParseUint(text, 10, 64)
		case "nodes":
			p.Nodes, err = strconv.Atoi(text)
		case "workload":
			p.Workloads = strings.Split(text, "+")
		case "rate":
			p.Rate, err = strconv.Atoi(strings.TrimSuffix(text, "/s"))
		case "time":
			p.Time, err = time.ParseDuration(text)
		case "trim":
			p.Trim, err = strconv.ParseBool(text)
		default:
			return fmt.Errorf("unknown key %q, expected seed, nodes, workload, rate, time or trim", key)
		}
		if err != nil {
			return fmt.Errorf("%s is %q: %w", key, text, err)
		}
	}
	return nil
}

func (p *Plan) check() error {
	switch {
	case p.Nodes < 1 || p.Nodes > maxNodes:
		return fmt.Errorf("schedule: nodes is %d, expected 1 to %d", p.Nodes, maxNodes)
	case p.Time <= 0 || p.Time > maxTime:
		return fmt.Errorf("schedule: time is %v, expected more than 0 and at most %v", p.Time, maxTime)
	case p.Rate < 1:
		return fmt.Errorf("schedule: rate is %d, expected 1 or more", p.Rate)
	}
	for _, s := range p.statements {
		for _, a := range s.actions {
			for _, t := range slices.Concat(a.targets, a.peers) {
				if err := checkTarget(t, p.Nodes); err != nil {
					return fmt.Errorf("schedule, line %d: %w", s.line, err)
				}
			}
		}
	}
	return nil
}

// checkTarget refuses what names no node of so many.
func checkTarget(t string, nodes int) error {
	if slices.Contains(chances, t) || slices.Contains(roles, t) || t == clients {
		return nil
	}
	if n, err := strconv.Atoi(strings.TrimPrefix(t, "n")); err == nil && t == Node(n) && n >= 1 && n <= nodes {
		return nil
	}
	return fmt.Errorf("target is %q, expected n1 to %s, %s or %s", t, Node(nodes), strings.Join(roles, ", "), strings.Join(chances, ", "))
}

// clients is the end of links where clients are.
const clients = "client"

// Node is the name of the n-th node, from 1.
func Node(n int) string { return fmt.Sprintf("n%d", n) }

// parser reads the words of a statement.
type parser struct{ words []string }

func (r *parser) next() string {
	if len(r.words) == 0 {
		return ""
	}
	w := r.words[0]
	r.words = r.words[1:]
	return w
}

func (r *parser) peek() string {
	if len(r.words) == 0 {
		return ""
	}
	return r.words[0]
}

func (r *parser) take(word string) bool {
	if r.peek() == word && word != "" {
		r.next()
		return true
	}
	return false
}

func parseStatement(words []string, line int) (statement, error) {
	r := &parser{words}
	s := statement{line: line, every: r.next() == "every"}
	var err error
	if s.at, err = parseSpan(r.next()); err != nil {
		return s, err
	}
	if s.every && s.at.low < 10*time.Millisecond {
		return s, fmt.Errorf("every %v, expected 10ms or more", s.at.low)
	}
	if !r.take("oneof") {
		a, err := r.action()
		if err == nil && r.peek() != "" {
			err = fmt.Errorf("%q after the end of the action", r.peek())
		}
		s.actions = []action{a}
		return s, err
	}
	if !r.take("{") {
		return s, fmt.Errorf("oneof is followed by %q, expected {", r.peek())
	}
	for {
		a, err := r.action()
		if err != nil {
			return s, err
		}
		s.actions = append(s.actions, a)
		switch w := r.next(); w {
		case "|":
		case "}":
			if r.peek() != "" {
				return s, fmt.Errorf("%q after the end of oneof", r.peek())
			}
			return s, nil
		default:
			return s, fmt.Errorf("%q in oneof, expected | or }", w)
		}
	}
}

// action reads a kind, its targets and what it is given.
func (r *parser) action() (action, error) {
	a := action{kind: Kind(r.next()), values: map[string]value{}}
	switch {
	case a.kind == partition:
		a.shape = r.next()
		if !slices.Contains(shapes, a.shape) {
			return a, fmt.Errorf("partition is %q, expected one of %s", a.shape, strings.Join(shapes, ", "))
		}
		a.kind = Cut
	case !slices.Contains(Kinds(), a.kind):
		return a, fmt.Errorf("unknown fault %q, expected %s or one of %v", a.kind, partition, Kinds())
	default:
		a.targets = strings.Split(r.next(), ",")
	}
	for {
		w := r.peek()
		key, text, assigned := strings.Cut(w, "=")
		switch {
		case w == "" || w == "|" || w == "}":
			return a, nil
		case r.take("both"):
			a.both = true
		case r.take("to"), r.take("from"):
			a.peers = strings.Split(r.next(), ",")
			if w == "from" { // the frames of the peers suffer: they are the ones that the fault is on
				a.targets, a.peers = a.peers, a.targets
			}
		case r.take("for"):
			var err error
			if a.hold, err = parseSpan(r.next()); err != nil {
				return a, err
			}
		case assigned:
			v, err := parseValue(key, text)
			if err != nil {
				return a, err
			}
			a.values[key] = v
			r.next()
		default:
			return a, fmt.Errorf("%q, expected to, from, both, for or key=value", w)
		}
	}
}

func parseSpan(text string) (span, error) {
	low, high, ranged := strings.Cut(text, "..")
	if !ranged {
		high = low
	}
	a, err := time.ParseDuration(low)
	if err != nil {
		return span{}, fmt.Errorf("time is %q, expected a duration such as 5s, or a range such as 1s..6s", text)
	}
	b, err := time.ParseDuration(high)
	if err != nil || a < 0 || b < a || b > maxTime {
		return span{}, fmt.Errorf("time is %q, expected a range of durations from 0s to %v, the smaller one first", text, maxTime)
	}
	return span{a, b}, nil
}

// units of what an action is given: a duration in milliseconds, a number, or a word.
var units = map[string]byte{
	"delay": 'd', "jitter": 'd', "offset": 'd', "percent": 'n', "bytes": 'n', "count": 'n', "hit": 'n', "file": 'w', "point": 'w', "plane": 'w',
}

func parseValue(key, text string) (v value, err error) {
	unit, known := units[key]
	if !known {
		return v, fmt.Errorf("unknown key %q, expected delay, jitter, offset, percent, bytes, count, hit, file, point or plane", key)
	}
	if unit == 'w' {
		if key == "plane" && !slices.Contains(planes, Plane(text)) {
			return v, fmt.Errorf("plane is %q, expected one of %v", text, planes)
		}
		return value{word: text}, nil
	}
	low, high, ranged := strings.Cut(text, "..")
	if !ranged {
		high = low
	}
	if v.low, err = parseNumber(unit, low); err == nil {
		v.high, err = parseNumber(unit, high)
	}
	if err != nil || v.high < v.low {
		return v, fmt.Errorf("%s is %q, expected %s, or a range of them, the smaller one first", key, text, map[byte]string{'d': "a duration", 'n': "a number"}[unit])
	}
	return v, nil
}

func parseNumber(unit byte, text string) (int64, error) {
	if unit == 'd' {
		d, err := time.ParseDuration(text)
		return d.Milliseconds(), err
	}
	return strconv.ParseInt(text, 10, 64)
}
