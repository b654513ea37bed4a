package ratecontrol

// maxRate is more than anybody takes in: what is estimated above it is cut.
const maxRate = 1 << 40

// Controller decides how much one input stream may take in, from its batches (Spark: RateController). It differs from
// Spark's in three things, for which docs/adr/0008-rate-control.md has the reasons: an input that has no need of its limit
// is relieved of it, a first batch that is too slow limits at once, and a batch too fast to be measured counts as 1 ms.
type Controller struct {
	intervalMS int64
	minRate    float64
	pid        *Estimator
	limit      int64 // records per second now, 0 for none
	before     int64 // the same when the last batch was allocated
}

// Batch is one batch of an input stream, as it was allocated.
type Batch struct {
	Records int64
	Bound   int64 // records per second that its input was limited to while it was gathered, 0 for no limit
}

// Run is how a batch was processed.
type Run struct {
	EndMS        int64 // when it ended, on any clock that never goes back
	ProcessingMS int64
	SchedulingMS int64 // how long it had waited for earlier batches
}

// NewController makes a controller that limits nothing at first.
func NewController(c Config) (*Controller, error) {
	pid, err := NewEstimator(c)
	if err != nil {
		return nil, err
	}
	return &Controller{intervalMS: c.IntervalMS, minRate: c.MinRate, pid: pid}, nil
}

// Limit is how many records per second the input may take in now, 0 for no limit.
func (c *Controller) Limit() int64 { return c.limit }

// Allocated notes that a batch was cut off: what comes now is for the next one.
func (c *Controller) Allocated(records int64) Batch {
	b := Batch{Records: records, Bound: lower(c.before, c.limit)}
	c.before = c.limit
	return b
}

// lower gives the lower of two limits, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// Completed takes a completed batch and gives the limit from now on. A batch that was done in half of its interval, the
// wait included, of an input that did not come near its limit is no reason to limit: an idle application takes a burst
// at full speed.
func (c *Controller) Completed(b Batch, r Run) int64 {
	if r.ProcessingMS < 0 || r.SchedulingMS < 0 {
		return c.limit // clocks were set: it says nothing
	}
	processing := max(r.ProcessingMS, 1)
	first := c.pid.latestTime < 0
	rate, ok := c.pid.Compute(r.EndMS, b.Records, processing, r.SchedulingMS)
	total := processing + r.SchedulingMS
	near := b.Bound > 0 && 2*b.Records*1000 >= b.Bound*c.intervalMS
	switch {
	case 2*total <= c.intervalMS && !near:
		c.limit = 0
	case ok:
		c.limit = int64(min(rate, maxRate))
	case first && b.Records > 0 && total > c.intervalMS:
		c.limit = int64(min(max(c.pid.latestRate, c.minRate), maxRate))
	}
	return c.limit
}
