package rate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/connector"
	"github.com/raftstream/raftstream/connector/rate"
)

func source(t *testing.T, perSecond int) *rate.Source {
	t.Helper()
	s, err := rate.New(perSecond)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func plan(t *testing.T, s *rate.Source, position uint64, at time.Time, interval time.Duration) connector.Plan {
	t.Helper()
	p, err := s.Plan(t.Context(), connector.PlanRequest{
		Time: at, Interval: interval, Position: func(string) uint64 { return position }, MaxParts: connector.MaxPlanParts, MaxBytes: 1 << 30,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var start = time.UnixMilli(1_800_000_000_123)

// Over time there are as many lines as promised, whatever the interval, and each number is there once.
func TestBatchesTogetherHaveTheRate(t *testing.T) {
	for _, c := range []struct {
		perSecond int
		interval  time.Duration
	}{{1, 200 * time.Millisecond}, {7, 30 * time.Millisecond}, {100_000, time.Second}, {12_345, 10 * time.Millisecond}, {rate.MaxPerSecond, time.Second}} {
		s, position := source(t, c.perSecond), uint64(0)
		for at := c.interval; at <= 6*time.Second; at += c.interval {
			p := plan(t, s, position, start.Add(at), c.interval)
			records, least, most := int64(0), int64(1<<62), int64(0)
			for _, part := range p.Parts {
				records, least, most = records+part.Records, min(least, part.Records), max(most, part.Records)
			}
			if len(p.Parts) == 0 {
				continue
			}
			r := p.Parts[0].Ranges
			if len(r) != 1 || r[0].First != position+1 || r[0].Last != position+uint64(records) || most-least > 1 {
				t.Fatalf("ranges %+v for %d lines after %d, parts of %d to %d", r, records, position, least, most)
			}
			position = r[0].Last
		}
		if position != uint64(6*c.perSecond) {
			t.Errorf("%d a second, every %v: %d lines in 6 s", c.perSecond, c.interval, position)
		}
	}
}

func TestPartsHaveTheLinesOfTheirNumbers(t *testing.T) {
	s := source(t, 12_000)
	p := plan(t, s, 500, start, time.Second)
	if len(p.Parts) != 3 || p.Mark != "line 12500" {
		t.Errorf("%d parts, mark %q", len(p.Parts), p.Mark)
	}
	n := uint64(501)
	for _, part := range p.Parts {
		before := n
		if err := s.Read(t.Context(), part, func(line string) bool {
			if want := rate.Line(n); line != want {
				t.Fatalf("line %d is %q, want %q", n, line, want)
			}
			n++
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if n-before != uint64(part.Records) {
			t.Errorf("%d lines, planned were %d", n-before, part.Records)
		}
	}
	if n != 12_501 {
		t.Errorf("the last line is %d", n-1)
	}
}

// The text of a line is fixed: oracles of other processes depend on it.
func TestLinesAreFixed(t *testing.T) {
	for n, want := range map[uint64]string{
		1:             "stone mirror river copper rocket signal cloud silver",
		2:             "thunder valley mirror harbor lantern island engine mirror",
		1_000_000_007: "lamp mirror mirror garden thunder comet bridge river",
	} {
		if got := rate.Line(n); got != want {
			t.Errorf("line %d is %q, want %q", n, got, want)
		}
	}
	common := map[string]int{}
	for n := range uint64(10_000) {
		words := strings.Fields(rate.Line(n))
		if len(words) != 8 {
			t.Fatalf("line %d: %q", n, words)
		}
		for _, w := range words {
			common[w]++
		}
	}
	if len(common) != 64 || common["river"] < 5*common["kernel"] {
		t.Errorf("%d words, river %d times, kernel %d times; want common ones and rare ones", len(common), common["river"], common["kernel"])
	}
}

func TestWrongRatesAndPartsAreNamed(t *testing.T) {
	for _, n := range []int{0, -1, rate.MaxPerSecond + 1} {
		if _, err := rate.New(n); err == nil || !strings.Contains(err.Error(), "expected 1 to 10000000") {
			t.Errorf("%d: %v", n, err)
		}
	}
	s := source(t, 1)
	for _, data := range []string{``, `{}`, `{"v":2,"first":1,"last":2}`, `{"v":1,"first":2,"last":1}`} {
		if err := s.Read(t.Context(), connector.Part{Data: []byte(data)}, func(string) bool { return true }); err == nil {
			t.Errorf("%q was read", data)
		}
	}
}

func TestReaderThatHasEnoughOrIsCancelledEnds(t *testing.T) {
	s := source(t, rate.MaxPerSecond)
	p := plan(t, s, 0, start, time.Second).Parts[0]
	n := 0
	if err := s.Read(t.Context(), p, func(string) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Errorf("%d lines, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Read(ctx, p, func(string) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestLimitsOfABatchAreKept(t *testing.T) {
	s := source(t, 1_000_000)
	p, err := s.Plan(t.Context(), connector.PlanRequest{
		Time: start, Interval: time.Second, Position: func(string) uint64 { return 0 }, MaxParts: 3, MaxBytes: 1 << 20,
	})
	bytes := int64(0)
	for _, part := range p.Parts {
		bytes += part.Bytes
	}
	if err != nil || len(p.Parts) != 3 || bytes > 1<<20 {
		t.Errorf("%d parts of %d bytes, %v", len(p.Parts), bytes, err)
	}
}

func BenchmarkLine(b *testing.B) {
	b.ReportAllocs()
	n, bytes := uint64(0), 0
	for b.Loop() {
		n++
		bytes += len(rate.Line(n))
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "bytes/line")
}

func TestPlanHasNoMoreLinesThanRateControlLetsThrough(t *testing.T) {
	for _, c := range []struct{ limit, want int64 }{{0, 1000}, {300, 300}, {5000, 1000}} {
		p, err := source(t, 1000).Plan(t.Context(), connector.PlanRequest{
			Time: start, Interval: time.Second, Position: func(string) uint64 { return 4 }, MaxParts: 1, MaxBytes: 1 << 30, MaxRecords: c.limit,
		})
		if err != nil || len(p.Parts) != 1 || p.Parts[0].Records != c.want || p.Parts[0].Ranges[0].Last != 4+uint64(c.want) {
			t.Errorf("limit %d: %+v, %v, expected %d lines", c.limit, p, err, c.want)
		}
	}
}
