package raftnode

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestADriverNamesOneLeaderForATerm(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		leaders := map[uint64]string{}
		look := func() {
			for name, m := range c.nodes {
				term, leader := m.Standing()
				if was := leaders[term]; was != "" && leader != "" && was != leader {
					t.Fatalf("%s says that %s leads in term %d, which %s does", name, leader, term, was)
				}
				if leader != "" {
					leaders[term] = leader
				}
			}
		}
		c.three().lead()
		for _, m := range c.nodes {
			m.disk.Slow(func() time.Duration { return 40 * time.Millisecond }) // heartbeats come meanwhile
		}
		for range 20 {
			m, _ := c.lead()
			handed := make(chan error, 1)
			go func() { handed <- m.Transfer(t.Context()) }()
			for range 2000 {
				look()
				time.Sleep(time.Millisecond) // the bubble's
			}
			synctest.Wait()
			if err := <-handed; err != nil {
				t.Fatal(err)
			}
		}
		if len(leaders) < 20 {
			t.Errorf("leaders of %d terms were seen, expected 20 at least", len(leaders))
		}
	})
}
