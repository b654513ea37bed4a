package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/test/jepsen-style/cluster"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// What the prober does. Its application has small batches without input, so that a leader allocates as soon as it can.
const (
	probeName  = "probe"
	probeBatch = 100 * time.Millisecond
	probeEvery = 10 * time.Millisecond  // the resolution of failover gaps
	probeAsk   = 500 * time.Millisecond // of one question: a paused node does not answer
)

// prober sees when entries of the ledger become visible to clients: it asks every node, each by itself, for the index that
// it has applied. It is how failover gaps are measured: they end when the first batch that a new leadership has
// allocated can be read somewhere.
type prober struct {
	log    *history.Log
	client *client.Client
	at     []*client.Client
	end    context.CancelFunc
	asking sync.WaitGroup

	mu   sync.Mutex
	seen []sighting // indices grow
}

// sighting is when some node was first seen to have applied everything up to an index.
type sighting struct {
	Time  int64  `json:"time"` // of the run, as in a history
	Index uint64 `json:"index"`
}

func startProber(ctx context.Context, c *cluster.Cluster, log *history.Log) (p *prober, err error) {
	p = &prober{log: log}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("prober: %w", err), p.hangUp())
		}
	}()
	if p.client, err = c.Client(); err != nil {
		return nil, err
	}
	if _, err = p.client.Submit(ctx, &raftstreamv1.SubmitRequest{
		Program: "wordcount", Name: probeName, BatchMs: probeBatch.Milliseconds(), Params: map[string]string{"source": "ingest"},
	}); err != nil {
		return nil, err
	}
	asking, end := context.WithCancel(context.WithoutCancel(ctx))
	p.end = end
	for _, name := range c.Names() {
		at, err := c.At(name)
		if err != nil {
			end()
			return nil, err
		}
		p.at = append(p.at, at)
		p.asking.Go(func() { p.watch(asking, at) })
	}
	return p, nil
}

// watch asks one node again and again.
func (p *prober) watch(ctx context.Context, at *client.Client) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, probeAsk)
		r, err := at.ListApps(ask, &raftstreamv1.ListAppsRequest{Stale: true})
		cancel()
		if err == nil {
			p.saw(r.GetRaftIndex())
		}
	}
}

func (p *prober) saw(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.seen); n == 0 || index > p.seen[n-1].Index {
		p.seen = append(p.seen, sighting{Time: p.log.Since(time.Now()), Index: index})
	}
}

// stop stops the application and the questions.
func (p *prober) stop(ctx context.Context) error {
	_, err := p.client.Stop(ctx, &raftstreamv1.StopRequest{Name: probeName, Now: true})
	p.close()
	return err
}

// close ends the questions. It may be called again.
func (p *prober) close() {
	if p.end == nil {
		return
	}
	p.end()
	p.asking.Wait()
	p.end = nil
	_ = p.hangUp() // nothing is under way
}

func (p *prober) hangUp() error {
	var errs []error
	if p.client != nil {
		errs = append(errs, p.client.Close())
	}
	for _, at := range p.at {
		errs = append(errs, at.Close())
	}
	p.client, p.at = nil, nil
	return errors.Join(errs...)
}

// write leaves the sightings in a file of JSON lines.
func (p *prober) write(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write sightings: %w", err)
	}
	out := json.NewEncoder(f)
	for _, s := range p.seen {
		err = errors.Join(err, out.Encode(s))
	}
	return errors.Join(err, f.Close())
}
