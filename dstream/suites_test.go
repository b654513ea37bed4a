package dstream_test

import (
	"strings"
	"testing"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/id"
)

// The facts are those of Spark's StreamingContextSuite that hold for a graph; docs/conformance.md has the others.
func TestStreamingContextSuite(t *testing.T) {
	t.Run("start with non-serializable DStream checkpoints", TestTypesWithoutCodecAreRefusedWhereRecordsWouldCross)
	t.Run("start failure should stop internal components", func(t *testing.T) {
		_, err := build(t, func(c *dstream.Context) error {
			dstream.Map(stream[int](c), func(v int) int { return v })
			return nil
		})
		says(t, err, "no output operations registered")
	})
	t.Run("throw exception on using active or stopped context", TestAGraphThatIsBuiltDoesNotChange)
	t.Run("Creating an InputDStream but not using it should not crash", func(t *testing.T) {
		app := built(t, func(c *dstream.Context) {
			stream[int](c)
			stream[int](c).Print()
		})
		if p := app.Plan(); len(p.Inputs) != 2 || len(p.Outputs) != 1 || p.Outputs[0].Stream != 1 {
			t.Errorf("plan %+v, expected two inputs, of which the second is printed", p)
		}
	})
	t.Run("DStream and generated RDD creation sites", func(t *testing.T) {
		app := built(t, func(c *dstream.Context) {
			dstream.Map(stream[int](c), func(v int) int { return v }).Filter(func(int) bool { return true }).Print()
		})
		for _, s := range app.Plan().Streams[1:] {
			if !strings.HasPrefix(s.At, "dstream/suites_test.go:") {
				t.Errorf("stream %d was made at %q, expected a line of this file", s.ID, s.At)
			}
		}
	})
}

// Spark: InputStreamsSuite.
func TestInputStreamsSuite(t *testing.T) {
	t.Run("test track the number of input stream", func(t *testing.T) {
		app := built(t, func(c *dstream.Context) {
			for range 2 {
				stream[int](c).Print()
			}
			for range 3 {
				dstream.DirectStream(c, numbers{}).Print()
			}
		})
		p := app.Plan()
		if len(p.Inputs) != 5 {
			t.Fatalf("%d inputs, expected 5", len(p.Inputs))
		}
		for i, in := range p.Inputs {
			if in.Stream != id.Stream(i) || in.Receiver != (i < 2) {
				t.Errorf("input %d: %+v, expected stream %d, a receiver if it is one of the first two", i, in, i)
			}
		}
	})
}

func TestMaxRateOfADirectStreamIsInThePlan(t *testing.T) {
	app := built(t, func(c *dstream.Context) { dstream.DirectStream(c, numbers{}, dstream.MaxRate(70)).Print() })
	if in := app.Plan().Inputs[0]; in.Receiver || in.MaxRate != 70 {
		t.Errorf("%+v, expected at most 70 records a second", in)
	}
}
