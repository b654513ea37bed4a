package fsm

import (
	"github.com/raftstream/raftstream/blocktracker"
	"github.com/raftstream/raftstream/internal/id"
	"github.com/raftstream/raftstream/internal/ledgerpb"
	"github.com/raftstream/raftstream/statetracker"
)

func planRecordToPB(v *blocktracker.Plan) *ledgerpb.PlanRecord {
	return &ledgerpb.PlanRecord{App: uint64(v.App), Time: int64(v.Time), Stream: int32(v.Stream), Plan: planToPB(v.Plan)}
}

func planRecordFromPB(m *ledgerpb.PlanRecord) *blocktracker.Plan {
	return &blocktracker.Plan{
		App: id.App(m.GetApp()), Time: id.Time(m.GetTime()), Stream: id.Stream(m.GetStream()), Plan: planFromPB(m.GetPlan()),
	}
}

func sourceToPB(v *blocktracker.Source) *ledgerpb.SourceRecord {
	return &ledgerpb.SourceRecord{
		App: uint64(v.App), Stream: int32(v.Stream), Mark: []byte(v.Mark), Newest: []byte(v.Newest),
		Warning: []byte(v.Warning),
	}
}

func sourceFromPB(m *ledgerpb.SourceRecord) *blocktracker.Source {
	return &blocktracker.Source{
		App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), Mark: string(m.GetMark()), Newest: string(m.GetNewest()),
		Warning: string(m.GetWarning()),
	}
}

func checkpointToPB(v *statetracker.Checkpoint) *ledgerpb.CheckpointRecord {
	return &ledgerpb.CheckpointRecord{
		App: uint64(v.App), Time: int64(v.Time), Attempt: uint64(v.Attempt), Office: uint64(v.Office), Index: v.Index,
		Links: int64(v.Links), Pieces: int64(v.Pieces), FullBytes: v.FullBytes, ChangeBytes: v.ChangeBytes,
	}
}

func checkpointFromPB(m *ledgerpb.CheckpointRecord) *statetracker.Checkpoint {
	return &statetracker.Checkpoint{
		App: id.App(m.GetApp()), Time: id.Time(m.GetTime()), Attempt: id.Attempt(m.GetAttempt()),
		Office: id.Office(m.GetOffice()), Index: m.GetIndex(), Links: int(m.GetLinks()), Pieces: int(m.GetPieces()),
		FullBytes: m.GetFullBytes(), ChangeBytes: m.GetChangeBytes(),
	}
}

func officeToPB(v *statetracker.Office) *ledgerpb.OfficeRecord {
	return &ledgerpb.OfficeRecord{App: uint64(v.App), Stream: int32(v.Stream), Id: uint64(v.ID), Last: v.Last}
}

func officeFromPB(m *ledgerpb.OfficeRecord) *statetracker.Office {
	return &statetracker.Office{
		App: id.App(m.GetApp()), Stream: id.Stream(m.GetStream()), ID: id.Office(m.GetId()), Last: m.GetLast(),
	}
}

func pieceToPB(v *statetracker.Piece) *ledgerpb.PieceRecord {
	return &ledgerpb.PieceRecord{
		Id: blockIDToPB(v.ID), Link: int64(v.Link), Stream: int32(v.Stream), Part: int64(v.Part), Rows: v.Rows,
		Bytes: v.Bytes, Crc: v.CRC, Stores: storesToPB(v.Stores), Index: v.Index,
	}
}

func pieceFromPB(m *ledgerpb.PieceRecord) *statetracker.Piece {
	return &statetracker.Piece{
		ID: blockIDFromPB(m.GetId()), Link: int(m.GetLink()), Stream: id.Stream(m.GetStream()), Part: int(m.GetPart()),
		Rows: m.GetRows(), Bytes: m.GetBytes(), CRC: m.GetCrc(), Stores: storesFromPB(m.GetStores()), Index: m.GetIndex(),
	}
}
