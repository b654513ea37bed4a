package cli

import (
	"testing"
	"time"
)

// User code that never returns holds up neither the node's leaving nor anything else.
func TestNodeLeavesThoughUserCodeHangs(t *testing.T) {
	n := newTestNode(t)
	n.must(new(submittedJSON), "", "submit", "hang", "--name", "h", "--batch", "100ms")
	n.must(new(struct{}), "a\nb\n", "ingest", "h", "--producer", "p")
	<-hanging
	defer close(unhang) // for the leak check
	began := time.Now()
	if status := n.stop(); status != statusDone {
		t.Errorf("start ended with status %d, expected 0\n%s", status, n.log)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the node took %v to leave", took)
	} else {
		t.Logf("left within %v", took)
	}
}
