package electionwatch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	// maxServed bounds the watch connections that a node holds open for others.
	maxServed = 1024
	// helloTime bounds the writing of a hello.
	helloTime = 5 * time.Second
)

// Listener gives accepted watch connections; Close ends Accept with net.ErrClosed.
type Listener interface {
	Accept() (net.Conn, error)
	Close() error
}

// Serve says h on every connection of l and holds it open, until ctx ends; then it closes l and every connection, and
// joins its goroutines. A process must stop serving last, right before it closes its ports: others take the end of the
// connections for a reason to look whether it is dead.
func Serve(ctx context.Context, l Listener, h Hello) error {
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	workers.Go(func() {
		<-ctx.Done()
		_ = l.Close() // ends Accept, below, which says whatever there is to say
	})
	defer workers.Wait()
	defer cancel()
	places := make(chan struct{}, maxServed)
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("serve election watch: %w", err)
		}
		select {
		case places <- struct{}{}:
		default:
			_ = c.Close() // the other side asks again
			continue
		}
		workers.Go(func() {
			defer func() { <-places }()
			hold(ctx, c, h)
		})
	}
}

// hold says h and waits for the end of the connection or of ctx.
func hold(ctx context.Context, c net.Conn, h Hello) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(helloTime)); err != nil || ctx.Err() != nil {
		return
	}
	if _, err := c.Write(h.encode()); err != nil {
		return
	}
	_, _ = c.Read(make([]byte, 1)) // nothing is ever said: it ends when the other side goes
}
