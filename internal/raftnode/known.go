package raftnode

import (
	"slices"

	"github.com/hashicorp/raft"
)

// known says what this node has of the log that is common to all, for the hand that passes on what others ask of raft.
// Four rules of the Raft paper (figures 2 and 13, section 6) are kept there, because the library does not:
//
// A snapshot of what is here already changes nothing. The library installs it: the ledger goes back, and entries after it
// are gone that were compacted or acknowledged.
//
// Entries that follow what a snapshot of this node contains are taken. The library looks for the entry before them, which
// is in its log no more: it refuses a request that is repeated because its answer was lost, and the leader, which may have
// compacted what comes before, sends the snapshot again, and again.
//
// What a request says is committed holds up to its last entry. The library takes it for what comes after that too, which
// may be of an older leader.
//
// Who asks for a vote need not be a voter, or a member, by this node's own configuration: it may have become one in entries
// that this node lacks. The library refuses: where the leader dies after it promoted a server together with that server
// alone, nobody could be elected ever again, though a majority of the voters lives.
type known struct {
	applied   func() uint64
	voters    func() []string // by this node's configuration; none, if there is none yet
	log       raft.LogStore
	snapshots *snapshots
}

// has reports whether the entry of this index and term is here, in the log or in the ledger: then all before it are too.
// What is applied is of no other term than the leader's.
func (k *known) has(index, term uint64) bool {
	if index <= k.applied() {
		return true
	}
	var e raft.Log
	return k.log.GetLog(index, &e) == nil && e.Term == term
}

// trim takes from a request what a snapshot of this node contains. Everybody who leads has that, in this term or a later
// one, and raft itself refuses older terms: that the entry before matches need not be looked at, as at the log's start.
func (k *known) trim(q *raft.AppendEntriesRequest) {
	q.LeaderCommitIndex = min(q.LeaderCommitIndex, q.PrevLogEntry+uint64(len(q.Entries)))
	snapshot := k.snapshots.newest()
	if snapshot.index == 0 || q.PrevLogEntry > snapshot.index {
		return
	}
	have := min(snapshot.index-q.PrevLogEntry, uint64(len(q.Entries)))
	q.PrevLogEntry, q.PrevLogTerm, q.Entries = 0, 0, q.Entries[have:]
}

// compare gives what a candidate's log ends with, for raft to compare: nothing, if a snapshot of this node ends after it.
// Raft would find that out itself, but for one case: behind a snapshot that was installed may be entries of an older term,
// which nobody has deleted yet, and raft compares with those.
func (k *known) compare(index, term uint64) (uint64, uint64) {
	snapshot := k.snapshots.newest()
	if term < snapshot.term || term == snapshot.term && index < snapshot.index {
		return 0, 0
	}
	return index, term
}

// candidate gives the id under which raft shall look at a request for a vote: that of a voter, if the log of who asks ends
// with this index and term and goes on after all that is here. Raft uses it for nothing else but whether it is one's. The
// log is read for nobody who is a voter: its last entry may be long, and the disk may hang.
func (k *known) candidate(server []byte, index, term uint64) []byte {
	voters := k.voters()
	if len(voters) == 0 || slices.Contains(voters, string(server)) {
		return server
	}
	last, err := k.log.LastIndex()
	if err != nil {
		return server
	}
	var e raft.Log
	if last > 0 && k.log.GetLog(last, &e) != nil {
		return server
	}
	snapshot := k.snapshots.newest()
	after := func(lastIndex, lastTerm uint64) bool { return term > lastTerm || term == lastTerm && index > lastIndex }
	if after(last, e.Term) && after(snapshot.index, snapshot.term) {
		return []byte(voters[0])
	}
	return server
}
