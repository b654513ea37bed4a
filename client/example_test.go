package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

// A program submits word count, sends it two lines and waits until they are committed.
func Example() {
	addr, stop := exampleNode()
	defer stop()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial([]string{addr}) // any nodes of the cluster
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	app, err := c.Submit(ctx, &raftstreamv1.SubmitRequest{
		Program: "wordcount", Name: "wc", Params: map[string]string{"source": "ingest"},
	})
	if err != nil {
		log.Fatal(err)
	}
	// The same lines under the same producer's name are taken once, however often this program is run.
	in, err := c.Ingest(ctx, app.GetName(), client.IngestOptions{Producer: "example"})
	if err != nil {
		log.Fatal(err)
	}
	if err := in.Send(ctx, "to be or", "not to be"); err != nil {
		log.Fatal(err)
	}
	if err := in.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s has %d lines\n", app.GetName(), in.Acked())
	// Output: wc has 2 lines
}

// exampleNode stands in for a cluster.
func exampleNode() (addr string, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	raftstreamv1.RegisterApplicationsServer(s, exampleApplications{})
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }() // ends with stop
	return l.Addr().String(), func() { s.Stop(); <-done }
}

type exampleApplications struct {
	raftstreamv1.UnimplementedApplicationsServer
}

func (exampleApplications) Submit(_ context.Context, r *raftstreamv1.SubmitRequest) (*raftstreamv1.SubmitReply, error) {
	return &raftstreamv1.SubmitReply{RaftIndex: 7, Id: 7, Name: r.GetName()}, nil
}

func (exampleApplications) Ingest(s grpc.BidiStreamingServer[raftstreamv1.IngestRequest, raftstreamv1.IngestReply]) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	reply := &raftstreamv1.IngestReply{Opened: &raftstreamv1.IngestOpened{AppId: 7}}
	for {
		if err := s.Send(reply); err != nil {
			return err
		}
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p := m.GetPush()
		reply = &raftstreamv1.IngestReply{Acked: p.GetFirst() + uint64(len(p.GetRecords())) - 1, RaftIndex: 8}
	}
}
