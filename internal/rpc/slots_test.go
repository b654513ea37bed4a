package rpc

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/raftstream/raftstream/fsm"
)

// The default of partitions is recorded for good: a submission that comes before the first executor waits for one.
func TestDefaultOfPartitionsWaitsForAnExecutor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		a := &apiServer{API: &API{Name: "n1", Ledger: l}}
		type answer struct {
			n   int32
			err error
		}
		done := make(chan answer, 1)
		go func() {
			n, err := a.slots(t.Context(), l.View())
			done <- answer{n, err}
		}()
		synctest.Wait()
		l.must(&fsm.Epoch{Term: 1, Leader: "id-1", Name: "n1", Addr: "addr-1", NowMS: 2}) // another entry is no executor
		synctest.Wait()
		select {
		case got := <-done:
			t.Fatalf("answered %+v without an executor", got)
		default:
		}
		l.must(&fsm.SessionOpened{Store: "s1", Generation: 1, Name: "n1", Addr: "addr-1", Slots: 3, NowMS: 5})
		if got := <-done; got.n != 3 || got.err != nil {
			t.Errorf("%+v, expected the slots of the executor that came", got)
		}
		l.must(&fsm.SessionOpened{Store: "s2", Generation: 1, Name: "n2", Addr: "addr-2", Slots: 4, NowMS: 6})
		if n, err := a.slots(t.Context(), l.View()); n != 7 || err != nil {
			t.Errorf("%d, %v, expected the sum of all slots", n, err)
		}
	})
}

func TestSubmissionWithoutAnExecutorSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		a := &apiServer{API: &API{Name: "n1", Ledger: l}}
		for _, patience := range []time.Duration{time.Hour, 2 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			began := time.Now()
			_, err := a.slots(ctx, l.View())
			cancel()
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no executor has a session") {
				t.Errorf("%v, expected UNAVAILABLE for want of an executor", err)
			}
			if took, most := time.Since(began), min(slotsWait, patience); took > most {
				t.Errorf("it took %v, expected at most %v", took, most)
			}
		}
		l.set(func() { l.follows = true })
		if _, err := a.slots(t.Context(), l.View()); kind(t, err).GetThing() != "node" {
			t.Errorf("%v, expected that the node does not lead", err)
		}
	})
}
