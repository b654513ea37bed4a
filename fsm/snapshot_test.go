package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/internal/id"
)

// snapshot writes the machine's state.
func snapshot(t testing.TB, v View) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := v.WriteSnapshot(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// filled has records of every type.
func filled(t *testing.T) *running {
	t.Helper()
	r := startRunning(t)
	r.coordinator(r.b)
	r.done(&ClusterNamed{Cluster: "c"})
	asked := submission("asked")
	asked.RequestID = "r1"
	asked.States = []StateStream{{Stream: stateStream, SlideMS: 1000, Partitions: 2}}
	asked.Inputs = append(asked.Inputs, InputStream{Stream: directStream, Source: "files"})
	k := &running{ledger: r.ledger, a: r.a, b: r.b, app: id.App(r.done(asked))}
	k.coordinator(k.b)
	k.done(k.planned(connector.Plan{Parts: []connector.Part{part("f", 1, 3)}, Mark: "m", Warning: "w"}))
	k.done(k.complete())
	k.done(k.checkpoint(k.piece(1), k.piece(2)))
	for n := range uint64(6) {
		r.done(r.add(r.block(n+1, connector.Range{Partition: fmt.Sprint("p", n%3), First: n/3 + 1, Last: n/3 + 1})))
		if n%2 == 1 {
			r.done(r.tick())
		}
	}
	r.done(r.add(r.block(7)))
	r.done(r.complete())
	c := r.complete()
	r.done(&BatchFailed{App: r.app, Time: c.Time, Office: c.Office, Attempt: c.Attempt, Error: "boom"})
	r.done(&ReceiverFailed{App: r.app, Instance: r.instance, Error: "x"})
	r.done(&InventoryReported{Session: r.session("C"), Blocks: []id.Block{r.block(2).ID}, First: true})
	return r
}

// Rule 15 and invariant 11: a snapshot restores to the same bytes, and the rest of the log goes on from it.
func TestSnapshotRestoresToTheSameState(t *testing.T) {
	r := filled(t)
	types := map[recordType]bool{}
	for n := range r.m.View().s.records() {
		types[n] = true
	}
	if len(types) != len(restorers) {
		t.Fatalf("the state has records of types %v, expected all %d", types, len(restorers))
	}
	data := snapshot(t, r.m.View())
	m := New()
	if err := m.Restore(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, snapshot(t, m.View())) {
		t.Fatal("the restored state has another snapshot")
	}
	r.m = m
	r.done(&ApplicationResumed{App: r.app})
	r.done(r.complete())
	r.done(r.add(r.block(8)))
	if a, ok := m.View().AppNamed("asked"); !ok || a.Name != "asked" {
		t.Fatalf("name after restoring: %+v", a)
	}
}

// Every field of a record has a place in the snapshot: a field added to a struct and forgotten there fails here.
func TestRecordsLoseNoField(t *testing.T) {
	fill := func(v any) {
		e := reflect.ValueOf(v).Elem()
		for i := range e.NumField() {
			switch f := e.Field(i); f.Kind() {
			case reflect.String:
				f.SetString(fmt.Sprint("s", i))
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Int, reflect.Int32, reflect.Int64:
				f.SetInt(int64(i + 1))
			case reflect.Uint8, reflect.Uint32, reflect.Uint64:
				f.SetUint(uint64(i + 1))
			}
		}
	}
	app, batch := &App{}, &Batch{}
	fill(app)
	fill(batch)
	app.Params, app.Inputs = []byte{1}, []InputStream{{Source: "x", Rate: 7}}
	app.States = []StateStream{{Stream: 1, SlideMS: 2, Partitions: 3}}
	if got := appFromPB(appToPB(app)); !reflect.DeepEqual(got, app) {
		t.Errorf("application %+v came back as %+v", app, got)
	}
	if got := batchFromPB(batchToPB(batch)); !reflect.DeepEqual(got, batch) {
		t.Errorf("batch %+v came back as %+v", batch, got)
	}
	check(t, fill, storeToPB, storeFromPB)
	check(t, fill, sessionToPB, sessionFromPB)
	check(t, fill, receiverToPB, receiverFromPB)
	check(t, fill, queueToPB, queueFromPB)
	check(t, fill, instanceToPB, instanceFromPB)
	check(t, fill, spanToPB, spanFromPB)
	check(t, fill, positionToPB, positionFromPB)
	check(t, fill, planRecordToPB, planRecordFromPB)
	check(t, fill, sourceToPB, sourceFromPB)
	check(t, fill, checkpointToPB, checkpointFromPB)
	check(t, fill, officeToPB, officeFromPB)
	check(t, fill, pieceToPB, pieceFromPB)
	block := &blocktracker.Block{}
	fill(block)
	block.Batch = 0 // filled in by who reads it
	if got := blockFromPB(blockToPB(block)); !reflect.DeepEqual(got, block) {
		t.Errorf("block %+v came back as %+v", block, got)
	}
}

func check[T, M any](t *testing.T, fill func(any), to func(*T) M, from func(M) *T) {
	t.Helper()
	v := new(T)
	fill(v)
	if got := from(to(v)); !reflect.DeepEqual(got, v) {
		t.Errorf("%T %+v came back as %+v", v, v, got)
	}
}

// Invariant 12 and rule 15: a damaged or newer snapshot is refused, and the state is as before.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	r := filled(t)
	data := snapshot(t, r.m.View())
	m := startLedger(t).m
	before := m.View().Hash()
	try := func(what string, damaged []byte) {
		t.Helper()
		if err := m.Restore(bytes.NewReader(damaged)); !errors.Is(err, ErrUnreadable) {
			t.Fatalf("%s: %v, expected unreadable", what, err)
		}
		if m.View().Hash() != before {
			t.Fatalf("%s: the state has changed", what)
		}
	}
	for i := range data {
		damaged := slices.Clone(data)
		damaged[i] ^= 1 << (i % 8)
		try(fmt.Sprintf("byte %d of %d flipped", i, len(data)), damaged)
		try(fmt.Sprintf("cut after %d of %d bytes", i, len(data)), data[:i])
	}
	try("a byte more", append(slices.Clone(data), 0))
	newer := slices.Clone(data)
	newer[len(snapshotMagic)]++
	err := m.Restore(bytes.NewReader(newer))
	if err == nil || err.Error() != "restore snapshot: has version 3, expected 1 to 2: unreadable" {
		t.Fatalf("newer version: %v", err)
	}
}

// Rule 14: what version 1 wrote is still read.
func TestSnapshotOfTheVersionBeforeIsRead(t *testing.T) {
	r := startRunning(t)
	data := snapshot(t, r.m.View())
	data[len(snapshotMagic)] = oldestSnapshot
	m := New()
	if err := m.Restore(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if m.View().Hash() != r.m.View().Hash() {
		t.Fatal("the restored state has another hash")
	}
	entry, err := Encode(r.term, r.tick())
	if err != nil {
		t.Fatal(err)
	}
	entry[1] = oldestEntry
	if got, err := m.Apply(r.index+1, entry); err != nil || got[0].Outcome != Done {
		t.Fatalf("entry of version 1: %+v, %v", got, err)
	}
}

type failing struct{ after int }

func (f *failing) Read(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errDisk
	}
	return copy(p, snapshotMagic), nil
}

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

var errDisk = errors.New("disk")

func TestSnapshotPassesErrorsOn(t *testing.T) {
	r := filled(t)
	if err := r.m.View().WriteSnapshot(&failing{}); !errors.Is(err, errDisk) {
		t.Fatalf("write: %v, expected the writer's error", err)
	}
	err := r.m.Restore(&failing{})
	if !errors.Is(err, errDisk) || errors.Is(err, ErrUnreadable) {
		t.Fatalf("read: %v, expected the reader's error, which is no damage", err)
	}
	if !strings.HasPrefix(err.Error(), "restore snapshot: header: ") {
		t.Fatalf("read: %v", err)
	}
}

// A view is a picture for ever: it is read, hashed and written while the machine goes on (run with -race).
func TestViewsAreReadWhileTheMachineGoesOn(t *testing.T) {
	r := startRunning(t)
	r.coordinator(r.b)
	type picture struct {
		v    View
		hash [32]byte
		data []byte
	}
	var taken []picture
	var wg sync.WaitGroup
	for n := range uint64(300) {
		r.index++
		data, err := Encode(r.term, r.add(r.block(n+1, connector.Range{Partition: fmt.Sprint(n), First: 1, Last: 10})), r.tick(), r.complete())
		if err != nil {
			t.Fatal(err)
		}
		if n%20 == 0 {
			v := r.m.View()
			taken = append(taken, picture{v: v, hash: v.Hash(), data: snapshot(t, v)})
			wg.Go(func() {
				for range 3 {
					if err := v.Check(); err != nil {
						t.Error(err)
					}
					if err := v.WriteSnapshot(io.Discard); err != nil {
						t.Error(err)
					}
				}
			})
		}
		if _, err := r.m.Apply(r.index, data); err != nil {
			t.Fatal(err)
		}
		if n%3 == 0 {
			r.done(&BatchesCleaned{App: r.app, UpTo: r.state().Completed - 1000})
		}
	}
	wg.Wait()
	for i, p := range taken {
		if p.v.Hash() != p.hash || !bytes.Equal(snapshot(t, p.v), p.data) {
			t.Fatalf("view %d has changed", i)
		}
	}
}

func TestZeroViewIsAnEmptyLedger(t *testing.T) {
	var v View
	if v.Index() != 0 || v.Hash() != New().View().Hash() || v.Check() != nil {
		t.Fatal("the zero view is not an empty ledger")
	}
	if n := len(slices.Collect(v.Apps())) + len(slices.Collect(v.Batches(1, maxTime))); n != 0 {
		t.Fatalf("%d applications and batches", n)
	}
	if v.Attempt(1, 2) != 0 || v.Input(1, 2, 3) != nil || v.Leadership().Epoch != 0 {
		t.Fatal("the zero view holds something")
	}
}

func FuzzRestore(f *testing.F) {
	l := &ledger{t: &testing.T{}, m: New()}
	f.Add(snapshot(f, l.m.View()))
	m := New()
	for i, c := range samples() {
		data, err := Encode(1, c)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := m.Apply(uint64(i+1), data); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(snapshot(f, m.View()))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := New()
		before := m.View().Hash()
		if err := m.Restore(bytes.NewReader(data)); err != nil {
			if m.View().Hash() != before {
				t.Fatal("a refused snapshot changed the state")
			}
			return
		}
		data[len(snapshotMagic)] = snapshotVersion // an older one is read and written anew
		if again := snapshot(t, m.View()); !bytes.Equal(again, data) {
			t.Fatal("a snapshot that was read is not the one that is written")
		}
	})
}
