// Package ingest owns the source that clients push to: records come in through any node's API, numbered by their
// producer, and are acknowledged when they are committed. It promises that a record which is sent again, to this or a
// later instance of the receiver, is taken once, and that nothing is acknowledged before it is stored and committed. It
// must not know the API or the engine.
package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/raftstream/raftstream/connector"
)

const (
	// waitingMax bounds the pushes that wait for their commit; more of them wait to be taken.
	waitingMax = 1024
	// producersMax bounds the producers whose last receipt is remembered.
	producersMax = 10_000
)

// ErrRecord says that a push holds something that is no record of the stream. Nothing of the push was taken. It is a
// connector.ErrRecord: whoever serves pushes tells the producer not to repeat it.
var ErrRecord = fmt.Errorf("not a record of this stream: %w", connector.ErrRecord)

// RecordError is an ErrRecord with the record's place.
type RecordError struct {
	Producer string
	Sequence uint64
	Reason   string
}

// Error names the producer, the sequence number and what is wrong with the record.
func (e *RecordError) Error() string {
	return fmt.Sprintf("record %d of producer %q: %s", e.Sequence, e.Producer, e.Reason)
}

// Unwrap makes the error an ErrRecord.
func (e *RecordError) Unwrap() error { return ErrRecord }

// Receiver takes pushes. A producer is a partition of the source: its sequence numbers are positions.
type Receiver[T any] struct {
	decode func(record []byte) (T, error)
}

var _ connector.Receiver[string] = (*Receiver[string])(nil)

// NewReceiver makes a receiver of records that decode understands. decode must not keep the bytes.
func NewReceiver[T any](decode func(record []byte) (T, error)) *Receiver[T] {
	return &Receiver[T]{decode: decode}
}

// Line decodes a record of text: one line, without its end.
func Line(record []byte) (string, error) {
	if at := bytes.IndexByte(record, '\n'); at >= 0 {
		return "", fmt.Errorf("it has a newline at byte %d, expected one line without its end", at)
	}
	return string(record), nil
}

// Run takes pushes until ctx ends, then waits for the fate of those it took, and answers them.
func (r *Receiver[T]) Run(ctx context.Context, in connector.Inlet[T]) error {
	t := &taker[T]{decode: r.decode, in: in, waiting: make(chan answer, waitingMax), receipts: map[string]connector.Receipt{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for a := range t.waiting {
			a.give()
		}
	}()
	defer func() {
		close(t.waiting)
		<-done
	}()
	for {
		select {
		case p := <-in.Pushes():
			t.take(ctx, p)
		case <-ctx.Done():
			return nil
		}
	}
}

// answer is a push whose records are stored or being stored.
type answer struct {
	receipt connector.Receipt // of the last records taken of the producer; nil: committed by an earlier instance
	last    uint64
	reply   func(last, index uint64, err error)
}

// give waits for the receipt and replies. Receipts are settled in the order in which they were given, so that waiting
// for one after the other keeps nobody waiting.
func (a answer) give() {
	if a.receipt == nil {
		a.reply(a.last, 0, nil)
		return
	}
	<-a.receipt.Done()
	index, err := a.receipt.Result()
	if err != nil {
		a.reply(0, 0, err)
		return
	}
	a.reply(a.last, index, nil)
}

// taker is the state of one run; its methods are called by Run's goroutine.
type taker[T any] struct {
	decode   func([]byte) (T, error)
	in       connector.Inlet[T]
	waiting  chan answer
	receipts map[string]connector.Receipt // the last of each producer
}

// errUnwound answers the push that was being taken when user code ended the run.
var errUnwound = errors.New("the receiver failed while it took the records")

// take stores what is new of a push and sees to its reply, also when user code unwinds this goroutine.
func (t *taker[T]) take(ctx context.Context, p connector.Push) {
	answered := false
	defer func() {
		if !answered {
			p.Reply(0, 0, errUnwound)
		}
	}()
	t.answer(ctx, p)
	answered = true
}

func (t *taker[T]) answer(ctx context.Context, p connector.Push) {
	if p.Producer == "" {
		p.Reply(0, 0, fmt.Errorf("push without a producer: %w: expected its name", ErrRecord))
		return
	}
	records, err := t.fresh(p)
	if err == nil && len(records) > 0 {
		err = t.store(ctx, p.Producer, records)
	}
	if err != nil {
		p.Reply(0, 0, err)
		return
	}
	t.waiting <- answer{receipt: t.receipt(p.Producer), last: t.in.Position(p.Producer), reply: p.Reply}
}

// fresh decodes a push and trims what was taken before. A gap before it is a *connector.PositionError.
func (t *taker[T]) fresh(p connector.Push) ([]T, error) {
	if len(p.Records) == 0 {
		return nil, nil
	}
	next := t.in.Position(p.Producer) + 1
	if p.First == 0 || p.First > next {
		return nil, &connector.PositionError{Partition: p.Producer, Got: p.First, Want: next}
	}
	known := min(next-p.First, uint64(len(p.Records)))
	records := make([]T, 0, uint64(len(p.Records))-known)
	for i, raw := range p.Records[known:] {
		v, err := t.try(raw)
		if err != nil {
			return nil, &RecordError{Producer: p.Producer, Sequence: p.First + known + uint64(i), Reason: err.Error()}
		}
		records = append(records, v)
	}
	return records, nil
}

// try decodes a record. A panic is an error like others: it is the record's, and would come again with it for ever.
func (t *taker[T]) try(raw []byte) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the decoder panicked: %v", r)
		}
	}()
	return t.decode(raw)
}

func (t *taker[T]) store(ctx context.Context, producer string, records []T) error {
	first := t.in.Position(producer) + 1
	receipt, err := t.in.StoreAt(ctx,
		connector.Range{Partition: producer, First: first, Last: first + uint64(len(records)) - 1}, records...)
	if err != nil {
		return fmt.Errorf("take records of producer %q: %w", producer, err)
	}
	if len(t.receipts) >= producersMax {
		t.forget()
	}
	t.receipts[producer] = receipt
	return nil
}

// receipt gives the producer's last receipt, nil where the producer stored nothing in this run, or nothing that counts.
func (t *taker[T]) receipt(producer string) connector.Receipt {
	r := t.receipts[producer]
	if r != nil && settled(r) {
		if _, err := r.Result(); err != nil {
			delete(t.receipts, producer) // its positions were given back: what is left was committed before
			return nil
		}
	}
	return r
}

// forget drops the receipts that are settled. A repeated push of such a producer is still acknowledged, with index 0.
func (t *taker[T]) forget() {
	for producer, r := range t.receipts {
		if settled(r) {
			delete(t.receipts, producer)
		}
	}
}

func settled(r connector.Receipt) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}
