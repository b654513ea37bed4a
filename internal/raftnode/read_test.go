package raftnode

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/raftstream/raftstream/fsm"
)

// A leader that was paused finds answers in its sockets that followers gave before they elected another one. They must
// not confirm a read that began after them.
func TestAnswersFromBeforeAReadDoNotConfirmIt(t *testing.T) {
	for range 20 {
		bubble(t, func(t *testing.T, c *cluster) {
			ports := map[string]*pausedStream{}
			for _, name := range []string{"n1", "n2", "n3"} {
				c.start(name, NewMemoryDisk(), func(cfg *Config) {
					ports[name] = &pausedStream{Stream: cfg.Stream}
					cfg.Stream = ports[name]
				})
			}
			old, _ := c.lead()
			c.settle(old)
			ports[old.config.ID].pause()
			time.Sleep(old.config.HeartbeatTimeout / 5) // heartbeats are on their way, and answered
			c.told(old, time.Now(), c.followers(old)...)
			next, term := c.lead(old.config.ID)
			written := c.must(next, term, session(1))

			type answer struct {
				view fsm.View
				err  error
			}
			read := make(chan answer, 1)
			go func() {
				v, err := old.Linearizable(t.Context())
				read <- answer{v, err}
			}()
			synctest.Wait()
			ports[old.config.ID].wake()
			if a := <-read; a.err == nil && a.view.Index() < written.Index {
				t.Errorf("a read that began after index %d was acknowledged sees %d", written.Index, a.view.Index())
			}
		})
	}
}
