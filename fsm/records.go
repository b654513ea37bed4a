package fsm

import (
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
	"github.com/raftstream/raftstream/tracker"
)

// recordType says of which kind a snapshot's record is. Numbers are append-only.
type recordType uint8

const (
	metaRecord recordType = iota + 1
	storeRecord
	sessionRecord
	receiverRecord
	appRecord
	batchRecord
	requestRecord
	queueRecord
	instanceRecord
	spanRecord
	blockRecord
	positionRecord
	namedRecord
	planRecord
	sourceRecord
	checkpointRecord
	officeRecord
	pieceRecord
)

// records lists the whole state in its canonical order: by type, within a type by key. What can be derived from it (the
// newest application of a name, positions by age) is not in it.
func (s *state) records() iter.Seq2[recordType, proto.Message] {
	return func(yield func(recordType, proto.Message) bool) {
		_ = yield(metaRecord, metaToPB(s)) &&
			each(s.tracker.Stores(), storeRecord, storeToPB, yield) &&
			each(s.tracker.Sessions(), sessionRecord, sessionToPB, yield) &&
			each(s.tracker.AllReceivers(), receiverRecord, receiverToPB, yield) &&
			each(View{s: s}.Apps(), appRecord, appToPB, yield) &&
			each(s.allBatches(), batchRecord, batchToPB, yield) &&
			each(s.allRequests(), requestRecord, requestToPB, yield) &&
			each(s.blocks.Queues(), queueRecord, queueToPB, yield) &&
			each(s.blocks.AllInstances(), instanceRecord, instanceToPB, yield) &&
			each(s.blocks.Spans(), spanRecord, spanToPB, yield) &&
			each(s.blocks.Blocks(), blockRecord, blockToPB, yield) &&
			each(s.blocks.AllPositions(), positionRecord, positionToPB, yield) &&
			each(s.blocks.AllNamed(), namedRecord, namedToPB, yield) &&
			each(s.blocks.Plans(), planRecord, planRecordToPB, yield) &&
			each(s.blocks.Sources(), sourceRecord, sourceToPB, yield) &&
			each(s.states.Checkpoints(), checkpointRecord, checkpointToPB, yield) &&
			each(s.states.AllOffices(), officeRecord, officeToPB, yield) &&
			each(s.states.AllPieces(), pieceRecord, pieceToPB, yield)
	}
}

func each[T any, M proto.Message](all iter.Seq[T], t recordType, to func(T) M, yield func(recordType, proto.Message) bool) bool {
	for v := range all {
		if !yield(t, to(v)) {
			return false
		}
	}
	return true
}

func (s *state) allBatches() iter.Seq[*Batch] { return s.batches.Scan }

func (s *state) allRequests() iter.Seq[*request] {
	return func(yield func(*request) bool) {
		s.asked.Scan(func(_ id.App, r *request) bool { return yield(r) })
	}
}

// count gives the number of records.
func (s *state) count() uint64 {
	return uint64(1 + s.tracker.Len() + s.apps.Len() + s.batches.Len() + s.requests.Len() + s.blocks.Len() + s.states.Len())
}

// restorers put one record of each type into a state that is being built.
var restorers = map[recordType]func(*state, []byte) error{
	metaRecord:       restorer(restoreMeta),
	storeRecord:      restorer(func(s *state, m *ledgerpb.StoreRecord) { s.tracker.PutStore(storeFromPB(m)) }),
	sessionRecord:    restorer(func(s *state, m *ledgerpb.SessionRecord) { s.tracker.PutSession(sessionFromPB(m)) }),
	receiverRecord:   restorer(func(s *state, m *ledgerpb.ReceiverRecord) { s.tracker.PutReceiver(receiverFromPB(m)) }),
	appRecord:        restorer(func(s *state, m *ledgerpb.AppRecord) { s.putApp(appFromPB(m)) }),
	batchRecord:      restorer(func(s *state, m *ledgerpb.BatchRecord) { s.batches.Set(batchFromPB(m)) }),
	requestRecord:    restorer(func(s *state, m *ledgerpb.RequestRecord) { s.putRequest(requestFromPB(m)) }),
	queueRecord:      restorer(func(s *state, m *ledgerpb.QueueRecord) { s.blocks.PutQueue(queueFromPB(m)) }),
	instanceRecord:   restorer(func(s *state, m *ledgerpb.InstanceRecord) { s.blocks.PutInstance(instanceFromPB(m)) }),
	spanRecord:       restorer(func(s *state, m *ledgerpb.SpanRecord) { s.blocks.PutSpan(spanFromPB(m)) }),
	blockRecord:      restorer(func(s *state, m *ledgerpb.BlockRecord) { s.blocks.PutBlock(blockFromPB(m)) }),
	positionRecord:   restorer(func(s *state, m *ledgerpb.PositionRecord) { s.blocks.PutPosition(positionFromPB(m)) }),
	namedRecord:      restorer(func(s *state, m *ledgerpb.NamedRecord) { s.blocks.PutNamed(namedFromPB(m)) }),
	planRecord:       restorer(func(s *state, m *ledgerpb.PlanRecord) { s.blocks.PutPlan(planRecordFromPB(m)) }),
	sourceRecord:     restorer(func(s *state, m *ledgerpb.SourceRecord) { s.blocks.PutSource(sourceFromPB(m)) }),
	checkpointRecord: restorer(func(s *state, m *ledgerpb.CheckpointRecord) { s.states.PutCheckpoint(checkpointFromPB(m)) }),
	officeRecord:     restorer(func(s *state, m *ledgerpb.OfficeRecord) { s.states.PutOffice(officeFromPB(m)) }),
	pieceRecord:      restorer(func(s *state, m *ledgerpb.PieceRecord) { s.states.PutPiece(pieceFromPB(m)) }),
}

func restorer[M proto.Message](put func(*state, M)) func(*state, []byte) error {
	return func(s *state, b []byte) error {
		m, err := unmarshal[M](b)
		if err != nil {
			return err
		}
		put(s, m)
		return nil
	}
}

// restoreRecord puts one encoded record into s.
func restoreRecord(s *state, t recordType, b []byte) error {
	put, ok := restorers[t]
	if !ok {
		return fmt.Errorf("record of unknown type %d: written by a newer version", t)
	}
	return put(s, b)
}

func metaToPB(s *state) *ledgerpb.MetaRecord {
	l := s.leader
	return &ledgerpb.MetaRecord{
		Index: s.index, Cluster: s.cluster, Epoch: uint64(l.Epoch), Term: l.Term, Leader: l.Leader, Name: l.Name,
		Addr: l.Addr, NowMs: l.NowMS,
	}
}

func restoreMeta(s *state, m *ledgerpb.MetaRecord) {
	s.index, s.cluster = m.GetIndex(), m.GetCluster()
	s.leader = Leadership{
		Epoch: id.Epoch(m.GetEpoch()), Term: m.GetTerm(), Leader: m.GetLeader(), Name: m.GetName(), Addr: m.GetAddr(),
		NowMS: m.GetNowMs(),
	}
}

func storeToPB(v *tracker.Store) *ledgerpb.StoreRecord {
	return &ledgerpb.StoreRecord{
		Store: string(v.ID), Generation: v.Generation, Session: uint64(v.Session), Used: v.Used,
	}
}

func storeFromPB(m *ledgerpb.StoreRecord) *tracker.Store {
	return &tracker.Store{
		ID: id.Store(m.GetStore()), Generation: m.GetGeneration(), Session: id.Session(m.GetSession()), Used: m.GetUsed(),
	}
}

func sessionToPB(v *tracker.Session) *ledgerpb.SessionRecord {
	return &ledgerpb.SessionRecord{
		Id: uint64(v.ID), Store: string(v.Store), Generation: v.Generation, Name: v.Name, Addr: v.Addr,
		Slots: int64(v.Slots), Build: v.Build, OpenedMs: v.OpenedMS,
	}
}

func sessionFromPB(m *ledgerpb.SessionRecord) *tracker.Session {
	return &tracker.Session{
		ID: id.Session(m.GetId()), Store: id.Store(m.GetStore()), Generation: m.GetGeneration(), Name: m.GetName(),
		Addr: m.GetAddr(), Slots: int(m.GetSlots()), Build: m.GetBuild(), OpenedMS: m.GetOpenedMs(),
	}
}

func receiverToPB(v *tracker.Receiver) *ledgerpb.ReceiverRecord {
	return &ledgerpb.ReceiverRecord{
		App: uint64(v.App), Stream: int32(v.Stream), Source: v.Source, Preferred: v.Preferred, State: uint32(v.State),
		Instance: uint64(v.Instance), Prev: uint64(v.Prev), Session: uint64(v.Session), Since: v.Since,
		LastError: v.LastError, ErrorMs: v.ErrorMS, Errors: int64(v.Errors),
	}
}

func receiverFromPB(m *ledgerpb.ReceiverRecord) *tracker.Receiver {
	return &tracker.Receiver{
		App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Source: m.GetSource(), Preferred: m.GetPreferred(),
		State: tracker.ReceiverState(m.GetState()), Instance: id.Instance(m.GetInstance()), Prev: id.Instance(m.GetPrev()),
		Session: id.Session(m.GetSession()), Since: m.GetSince(), LastError: m.GetLastError(), ErrorMS: m.GetErrorMs(),
		Errors: int(m.GetErrors()),
	}
}

func requestToPB(v *request) *ledgerpb.RequestRecord {
	return &ledgerpb.RequestRecord{Id: v.id, App: uint64(v.app), Name: v.name}
}

func requestFromPB(m *ledgerpb.RequestRecord) *request {
	return &request{id: m.GetId(), app: id.App(m.GetApp()), name: m.GetName()}
}

func queueToPB(v *blocktracker.Queue) *ledgerpb.QueueRecord {
	return &ledgerpb.QueueRecord{
		App: uint64(v.App), Added: v.Added, Allocated: v.Allocated, Live: int64(v.Live), Records: v.Records, Bytes: v.Bytes,
		PlanBytes: v.PlanBytes,
	}
}

func queueFromPB(m *ledgerpb.QueueRecord) *blocktracker.Queue {
	return &blocktracker.Queue{
		App: id.App(m.GetApp()), Added: m.GetAdded(), Allocated: m.GetAllocated(), Live: int(m.GetLive()),
		Records: m.GetRecords(), Bytes: m.GetBytes(), PlanBytes: m.GetPlanBytes(),
	}
}

func instanceToPB(v *blocktracker.Instance) *ledgerpb.InstanceRecord {
	return &ledgerpb.InstanceRecord{
		App: uint64(v.App), Stream: int32(v.Stream), Id: uint64(v.ID), Session: uint64(v.Session),
		Registered: v.Registered, Last: v.Last, Cleaned: v.Cleaned, Closed: v.Closed,
	}
}

func instanceFromPB(m *ledgerpb.InstanceRecord) *blocktracker.Instance {
	return &blocktracker.Instance{
		App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), ID: id.Instance(m.GetId()),
		Session: id.Session(m.GetSession()), Registered: m.GetRegistered(), Last: m.GetLast(), Cleaned: m.GetCleaned(),
		Closed: m.GetClosed(),
	}
}

func spanToPB(v *blocktracker.Span) *ledgerpb.SpanRecord {
	return &ledgerpb.SpanRecord{App: uint64(v.App), Time: int64(v.Time), First: v.First, Last: v.Last}
}

func spanFromPB(m *ledgerpb.SpanRecord) *blocktracker.Span {
	return &blocktracker.Span{
		App: id.App(m.GetApp()), Time: id.Time(m.GetTime()), First: m.GetFirst(), Last: m.GetLast(),
	}
}

func blockToPB(v *blocktracker.Block) *ledgerpb.BlockRecord {
	return &ledgerpb.BlockRecord{
		Id: blockIDToPB(v.ID), Records: v.Records, Bytes: v.Bytes, Crc: v.CRC, Stores: storesToPB(v.Stores),
		Ranges: rangesToPB(v.Ranges), Seq: v.Seq, Index: v.Index, Lost: v.Lost,
	}
}

func blockFromPB(m *ledgerpb.BlockRecord) *blocktracker.Block {
	return &blocktracker.Block{
		ID: blockIDFromPB(m.GetId()), Records: m.GetRecords(), Bytes: m.GetBytes(), CRC: m.GetCrc(),
		Stores: storesFromPB(m.GetStores()), Ranges: rangesFromPB(m.GetRanges()), Seq: m.GetSeq(), Index: m.GetIndex(),
		Lost: m.GetLost(),
	}
}

func positionToPB(v *blocktracker.Position) *ledgerpb.PositionRecord {
	return &ledgerpb.PositionRecord{
		App: uint64(v.App), Stream: int32(v.Stream), Partition: []byte(v.Partition), Last: v.Last, UsedMs: v.UsedMS,
	}
}

func positionFromPB(m *ledgerpb.PositionRecord) *blocktracker.Position {
	return &blocktracker.Position{
		App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Partition: string(m.GetPartition()),
		Last: m.GetLast(), UsedMS: m.GetUsedMs(),
	}
}

func namedToPB(v blocktracker.Named) *ledgerpb.NamedRecord {
	return &ledgerpb.NamedRecord{Session: uint64(v.Session), Block: blockIDToPB(v.Block)}
}

func namedFromPB(m *ledgerpb.NamedRecord) blocktracker.Named {
	return blocktracker.Named{Session: id.Session(m.GetSession()), Block: blockIDFromPB(m.GetBlock())}
}
