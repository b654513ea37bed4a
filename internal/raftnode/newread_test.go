package raftnode

import (
	"testing"
	"testing/synctest"
	"time"
)

// A new leader has what was acknowledged before it in its log, and may not have applied it, nor know that it is committed.
// A read waits until it has: here the other follower is slow to store the entry that would tell.
func TestNewLeaderAnswersWhenItHasAppliedWhatWasAcknowledged(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T, c *cluster) {
			old, term := c.three().lead()
			c.settle(old)
			written := c.must(old, term, session(1))
			c.net.Isolate(old.config.Addr)
			var release []func()
			for _, m := range c.nodes {
				if m == old {
					continue
				}
				go func() {
					for l := range m.Leadership() {
						if !l.Leader {
							continue
						}
						for _, other := range c.nodes {
							if other != old && other != m {
								release = append(release, other.disk.Hang())
							}
						}
						if v, err := m.Linearizable(t.Context()); err == nil && v.Index() < written.Index {
							t.Errorf("a new leader reads index %d, %d was acknowledged", v.Index(), written.Index)
						}
					}
				}()
			}
			time.Sleep(time.Second)
			synctest.Wait()
			for _, f := range release {
				f()
			}
		})
	}
}
