package fsm

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecodeGivesWhatWasEncoded(t *testing.T) {
	commands := []Command{&Epoch{Term: 3, Leader: "l"}, &ClusterNamed{Cluster: "c"}, &BatchesCleaned{App: 7, UpTo: 9}}
	data, err := Encode(3, commands...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil || len(got) != len(commands) {
		t.Fatalf("%d commands, %v, expected %d", len(got), err, len(commands))
	}
	for i, p := range got {
		if diff := cmp.Diff(commands[i], p.Command); diff != "" || p.Term != 3 || p.CRC == 0 {
			t.Errorf("command %d: term %d, CRC %08x, %s", i, p.Term, p.CRC, diff)
		}
	}
	data[len(data)-1] ^= 1
	if _, err := Decode(data); !errors.Is(err, ErrUnreadable) {
		t.Errorf("a flipped bit gives %v, expected %v", err, ErrUnreadable)
	}
}
