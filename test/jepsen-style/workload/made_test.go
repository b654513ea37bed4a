package workload

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
	"github.com/raftstream/raftstream/test/jepsen-style/programs"
)

// What follows makes the folders of runs in which everything held, but for what is planted.

func makeAppendSet(f *folder, plant string) {
	f.opened(0, 0, 0)
	f.add(history.OK, 10, "p0", 1, 3)
	f.add(history.Info, 0, "p0", 4, 6)
	f.ledger(2, 2)
	first := []string{"p0-1", "p0-2"}
	switch plant {
	case "lost":
		first = first[:1]
	case "doubled":
		first = append(first, "p0-1")
	case "phantom":
		first = append(first, "p0-7")
	case "fell back":
		f.opened(3, 6, 2)
	}
	second := []string{"p0-3", "p0-4"}
	if plant == "in another batch" {
		first, second = first[:1], append(second, first[1])
	}
	f.saved(outputsPrefix, 1, first...)
	if plant != "batch gone" {
		f.saved(outputsPrefix, 2, second...)
	}
	if plant == "torn" {
		f.put(fmt.Sprintf("%s-%d/part-00000", outputsPrefix, madeZero+madeBatch), "p0-1\n")
	}
}

// madeRecords are how many records each batch of a made-up ledger has.
var madeRecords = []uint64{40, 25, 60, 1, 30, 44, 12, 90, 3, 50, 21, 33}

// sendAll records that everything was acknowledged.
func (f *folder) sendAll() {
	f.opened(0, 0, 0)
	next := uint64(1)
	for i, n := range madeRecords {
		f.add(history.OK, uint64(10+i), "p0", next, next+n-1)
		next += n
	}
	f.ledger(madeRecords...)
}

// madeCounts counts the words of the batches from to to, from 0.
func madeCounts(from, to int) map[string]int64 {
	line, counts, next := words(madeSeed, countedKeys), map[string]int64{}, uint64(1)
	for i, n := range madeRecords {
		for range n {
			if i >= from && i <= to {
				for w := range strings.FieldsSeq(line("p0", next)) {
					counts[w]++
				}
			}
			next++
		}
	}
	return counts
}

func linesOf(counts map[string]int64) []string {
	var lines []string
	for k, n := range counts {
		lines = append(lines, fmt.Sprintf("%s\t%d", k, n))
	}
	return lines
}

func makeTotals(f *folder, plant string) {
	f.sendAll()
	for i := range madeRecords {
		counts := madeCounts(0, i)
		switch {
		case plant == "counted twice" && i == 5:
			counts["k0"]++
		case plant == "went back" && i == 4:
			counts["k0"] += 1000
		case plant == "missing batch" && i == 5:
			continue
		case plant == "lost at the end" && i == len(madeRecords)-1:
			counts["k0"]--
		}
		f.saved(outputsPrefix, i+1, linesOf(counts)...)
	}
}

func makeWindow(f *folder, prefix string, length, slide int, plant string) {
	if f.process == 0 {
		f.sendAll()
	}
	for i := slide - 1; i < len(madeRecords); i += slide {
		from := max(0, i-length+1)
		if i == 11 {
			switch plant {
			case "too long":
				from = max(0, from-1)
			case "too short":
				from++
			}
		}
		f.saved(prefix, i+1, linesOf(madeCounts(from, i))...)
	}
	if plant == "not in the ledger" {
		f.add(history.OK, 99, "p1", 1, 1)
	}
}

func makeWindows(f *folder, plant string) {
	makeWindow(f, outputsPrefix+"-reduced", 3, 1, "")
	makeWindow(f, outputsPrefix+"-inverse", 10, 2, plant)
	makeWindow(f, outputsPrefix+"-lines", 4, 2, "")
	makeWindow(f, outputsPrefix+"-long", 24, 3, "")
}

func makeReceiver(f *folder, plant string) {
	for k := range receiverPartitions {
		at := "3"
		if plant == "cursor too far" && k == 1 {
			at = "5"
		}
		f.put(fmt.Sprintf("%s/cursor-s%d", cursors, k), at)
	}
	f.saved(outputsPrefix, 1, "s0-1", "s1-1", "s2-1", "s2-2")
	second := []string{"s0-2", "s0-3", "s1-2", "s1-3", "s2-4", "s2-3"}
	if plant == "gap" {
		second = second[:len(second)-1]
	}
	f.saved(outputsPrefix, 2, second...)
	if plant == "noted" {
		f.put(cursors+"/violation-s1", "the cursor of s1 is at 9, and the engine has it up to 3")
	}
}

// makeSink runs the program's graph in process.
func makeSink(f *folder, plant string) {
	f.opened(0, 0, 0)
	f.add(history.OK, 10, "p0", 1, 5)
	input := [][]string{{"p0-1", "p0-2"}, {"p0-3"}, {"p0-5", "p0-4"}}
	if plant == "lost" {
		input[1] = nil
	}
	streamtest.Run(f.t, input, func(lines *dstream.DStream[string]) *dstream.DStream[string] {
		to := lines
		if plant == "only in one" {
			to = lines.Filter(func(line string) bool { return line != "p0-3" })
		}
		dstream.To(to, programs.Journal{Dir: f.dir})
		lines.SaveAsObjectFiles(filepath.Join(f.dir, programs.Objects), "")
		return lines
	})
	parts, err := filepath.Glob(filepath.Join(f.dir, programs.JournalParts, "*-1000-0-*"))
	if err != nil || len(parts) == 0 {
		f.t.Fatalf("parts %q: %v", parts, err)
	}
	switch plant {
	case "damaged":
		f.put(filepath.Join(programs.JournalParts, filepath.Base(parts[0])), "p0-1 \n")
	case "out of order":
		f.put(programs.JournalCommits+"/4000", f.json(programs.Committed{Time: 4000, Later: 5000}))
	}
}

func makeFiles(f *folder, plant string) {
	f.add(history.OK, 0, "f0", 1, 2)
	f.add(history.OK, 0, "f1", 1, 1)
	lines := []string{"f0-1", "f0-2", "f1-1"}
	switch plant {
	case "lost":
		lines = lines[1:]
	case "doubled":
		lines = append(lines, lines[0])
	}
	f.saved(outputsPrefix, 1, lines...)
}

func makeBackpressure(f *folder, plant string) {
	f.opened(0, 0, 0)
	f.add(history.OK, 10, "p0", 1, 3)
	f.add(history.OK, 11, calmProducer, 1, 1)
	if plant == "slow" {
		last := len(f.run.Events) - 1
		f.run.Events[last].Time += int64(2 * calmLatency)
	}
	processed := int64(4)
	if plant == "not processed" {
		processed--
	}
	f.op(history.Read, history.OK, 12, "", history.Counts{App: f.name, ID: madeApp, Received: 4, Processed: processed, State: history.Stopped})
	f.saved(outputsPrefix, 1, "p0-1", "p0-2", "p0-3", "calm-1")
}

// makeResume is the run of makeAppendSet whose first batch fails at index 10 and is resumed at 11.
func makeResume(f *folder, plant string) {
	failure := checker.Turn{Failed: true, Error: "task 0 of stage 0: panic: " + programs.Tripped}
	index, after := uint64(11), uint64(0)
	f.turns = []checker.Turn{failure, {After: 0, Index: 11}}
	switch plant {
	case "resumed twice":
		f.turns = append(f.turns, failure, checker.Turn{After: 0})
	case "another index":
		index = 12
	case "another wish":
		after = 7
	case "not its own failure":
		f.turns[0].Error = "no executor is there"
	}
	show := func(index uint64, state string) {
		f.op(history.Read, history.OK, index, "", history.Counts{App: f.name, ID: madeApp, State: state})
	}
	show(9, history.Running)
	if plant == "shown too early" {
		show(9, history.Failed)
	}
	show(10, history.Failed)
	f.op(history.Resume, history.Info, 0, "", history.Resumption{App: f.name, ID: madeApp, After: after})
	f.op(history.Resume, history.OK, index, "", history.Resumption{App: f.name, ID: madeApp, After: after})
	if plant == "shown too late" {
		show(12, history.Failed)
	}
	if plant != "resumed twice" {
		show(20, history.Running)
	}
	makeAppendSet(f, plant)
}

func makeLifecycle(f *folder, plant string) {
	get := func(index, id uint64, state string) {
		f.op(history.Get, history.OK, index, "", history.Lookup{Name: "life-0", App: &history.App{Name: "life-0", ID: id, State: state}})
	}
	submit := func(index uint64, request string) {
		f.op(history.Submit, history.OK, index, "", history.Submission{Name: "life-0", Request: request, ID: index})
	}
	submit(10, "a")
	submit(10, "a")
	get(11, 10, history.Running)
	f.op(history.Stop, history.OK, 12, "", history.StopValue{Name: "life-0", ID: 10})
	if plant == "runs after its stop" {
		get(13, 10, history.Running)
	}
	get(14, 10, history.Stopped)
	if plant == "back to life" {
		get(15, 10, history.Stopping)
	}
	request := "b"
	if plant == "two for one request" {
		request = "a"
	}
	submit(20, request)
	newest := history.App{Name: "life-0", ID: 20, State: history.Running}
	if plant == "not the newest" {
		newest = history.App{Name: "life-0", ID: 10, State: history.Stopped}
	}
	get(21, newest.ID, newest.State)
	f.op(history.List, history.OK, 22, "", history.Listing{Prefix: lifecyclePrefix, Apps: []history.App{
		{Name: "life-0", ID: 10, State: history.Stopped}, {Name: "life-0", ID: 20, State: history.Running},
	}})
}

func makeMembership(f *folder, plant string) {
	view := func(term uint64, leader string) memberList {
		l := memberList{Term: term, Leader: leader, Members: []memberRow{{Name: "n1", ID: "1"}, {Name: "n2", ID: "2"}}}
		for i := range l.Members {
			if l.Members[i].Name == leader {
				l.Members[i].Raft = "RAFT_ROLE_LEADER"
			}
		}
		return l
	}
	f.op(membersOp, history.OK, 0, "n1", view(2, "n1"))
	f.op(membersOp, history.OK, 0, "n2", view(3, ""))
	f.op(membersOp, history.OK, 0, "n2", view(3, "n2"))
	if plant == "two leaders" {
		f.op(membersOp, history.OK, 0, "n1", view(3, "n1"))
	}
	f.op(convergedOp, history.OK, 0, "n1", view(3, "n2"))
	last := view(3, "n2")
	last.Members = append(last.Members, memberRow{Name: "n3", ID: "3", Status: "MEMBER_STATUS_DEAD", Raft: "RAFT_ROLE_NONE"})
	if plant == "no agreement" {
		last.Members = last.Members[1:]
	}
	f.op(convergedOp, history.OK, 0, "n2", last)
}

func makeLedger(f *folder, plant string) {
	counts := func(index uint64, node string, received, processed int64) {
		f.op(history.Read, history.OK, index, node, history.Counts{
			App: f.name, ID: madeApp, Stale: node != "", Received: received, Processed: processed, Zero: madeZero,
			Allocated: madeZero + processed*madeBatch, Completed: madeZero + processed*madeBatch, State: history.Running,
		})
	}
	f.opened(0, 0, 0)
	counts(10, "", 0, 0)
	f.add(history.OK, 12, "p0", 1, 1)
	counts(11, "n1", 0, 0)
	counts(13, "n1", 1, 0)
	f.add(history.OK, 14, "p0", 2, 2)
	counts(15, "", 2, 1)
	switch plant {
	case "stale":
		counts(13, "", 1, 0)
	case "ahead":
		counts(16, "n2", 3, 1)
	case "went back":
		counts(16, "n2", 2, 0)
	case "node went back":
		counts(11, "n1", 0, 0)
	case "two answers":
		counts(15, "n2", 1, 1)
	}
	rows := func(n int) []batchRow {
		var rows []batchRow
		for i := 1; i <= n; i++ {
			rows = append(rows, batchRow{Time: int64(madeZero + i*madeBatch), Records: 1, Complete: i < n})
		}
		return rows
	}
	f.op(batchesOp, history.OK, 15, "", batchList{Batches: rows(2)})
	next := rows(4)
	switch plant {
	case "batch changed":
		next[0].Records++
	case "gap":
		next = append(next[:1], next[2:]...)
	}
	f.op(batchesOp, history.OK, 16, "n1", batchList{Stale: true, Batches: next})
	f.op(batchesOp, history.OK, 16, "n1", batchList{Stale: true, Batches: next})
	instance := uint64(9)
	if plant == "old instance" {
		instance = 7
	}
	f.op(receiversOp, history.OK, 15, "n1", receiverList{Stale: true, Receivers: []receiverRow{{Instance: 8, State: "active"}}})
	f.op(receiversOp, history.OK, 16, "n1", receiverList{Stale: true, Receivers: []receiverRow{{Instance: instance, State: "active"}}})
	f.saved(outputsPrefix, 1, "p0-1")
	f.saved(outputsPrefix, 2, "p0-2")
}
