// Command sessions cuts click streams into sessions: the clicks of a user up to the moment when he was idle for a while.
// Each line is a click as JSON: {"user": "u1", "page": "/", "ms": 17}.
package main

import (
	"encoding/json"
	"iter"
	"time"

	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
)

type params struct {
	Idle time.Duration `json:"idle"` // a session ends after it, "30m"
	Out  string        `json:"out"`  // prefix of the text files that sessions are written to
}

type click struct {
	User string `json:"user"`
	Page string `json:"page"`
	MS   int64  `json:"ms"` // when, in milliseconds
}

// session is what is known of one, while it goes on and when it is over.
type session struct {
	Clicks  int64  `json:"clicks"`
	First   int64  `json:"first_ms"`
	Last    int64  `json:"last_ms"`
	Landing string `json:"landing"` // page that it began with
}

// clicks reads the lines that are clicks; what is none is left out.
func clicks(lines *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, click]] {
	return dstream.FlatMap(lines, func(line string) iter.Seq[dstream.KV[string, click]] {
		return func(yield func(dstream.KV[string, click]) bool) {
			var c click
			if json.Unmarshal([]byte(line), &c) == nil && c.User != "" {
				yield(dstream.Pair(c.User, c))
			}
		}
	})
}

// sessions has every session in the batch in which it ends.
func sessions(lines *dstream.DStream[string], idle time.Duration) *dstream.DStream[dstream.KV[string, session]] {
	track := func(_ time.Time, user string, c dstream.Opt[click], s *dstream.State[session]) dstream.Opt[dstream.KV[string, session]] {
		now, ok := s.Get()
		if s.TimingOut() {
			return dstream.Some(dstream.Pair(user, now))
		}
		if !ok {
			now = session{First: c.Value.MS, Last: c.Value.MS, Landing: c.Value.Page}
		}
		now.Clicks++
		now.First, now.Last = min(now.First, c.Value.MS), max(now.Last, c.Value.MS)
		s.Update(now)
		return dstream.None[dstream.KV[string, session]]()
	}
	return dstream.MapWithState(clicks(lines), track, dstream.Timeout(idle)).DStream
}

func program(c *dstream.Context, p params) error {
	ended := sessions(ingest.TextStream(c), p.Idle)
	asJSON := dstream.Map(ended, func(s dstream.KV[string, session]) string {
		b, err := json.Marshal(struct {
			User string `json:"user"`
			session
		}{s.Key, s.Value})
		if err != nil {
			panic(err) // plain fields always have a form
		}
		return string(b)
	})
	asJSON.SaveAsTextFiles(p.Out, "jsonl")
	return nil
}

func main() {
	dstream.Register("sessions", program)
	cli.Main()
}
