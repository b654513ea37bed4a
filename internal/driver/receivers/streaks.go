package receivers

import (
	"maps"
	"time"

	"github.com/raftstream/raftstream/fsm"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/tracker"
)

// steady is how long an instance must have run for its failure to be the first one of a row.
const steady = time.Minute

// streaks count the failures of receivers in a row. A new leadership begins at one, which makes it grant an instance
// sooner than the one before would have. One goroutine uses it.
type streaks map[key]streak

type streak struct {
	failures int
	last     id.Instance // that failed
	active   id.Instance // that was seen to run
	since    int64       // when it began to, Unix milliseconds
}

// note takes in how a receiver stands.
func (s streaks) note(r *tracker.Receiver) {
	k := key{r.App, r.Stream}
	was := s[k]
	now := was
	switch {
	case r.State == tracker.Active && r.Instance != was.active:
		now.active, now.since = r.Instance, r.Since
	case r.State == tracker.Inactive && failed(r) && r.Instance != was.last:
		if r.Instance == was.active && r.Since-was.since >= steady.Milliseconds() {
			now.failures = 0
		}
		now.last = r.Instance
		now.failures++
	}
	if now != was {
		s[k] = now
	}
}

// failures gives how many instances of a receiver have failed in a row.
func (s streaks) failures(r *tracker.Receiver) int { return s[key{r.App, r.Stream}].failures }

// forget drops the receivers that are no more.
func (s streaks) forget(v fsm.View) {
	maps.DeleteFunc(s, func(k key, _ streak) bool {
		_, ok := v.Receiver(k.app, k.stream)
		return !ok
	})
}
