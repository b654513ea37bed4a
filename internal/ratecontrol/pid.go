// Package ratecontrol owns the arithmetic of rate control (Spark: backpressure): how many records per second an input
// may take in so that batches take as long as their interval. It promises the same answers for the same questions; it
// must not know clocks, the ledger or who is limited.
package ratecontrol

import "fmt"

// Config is what an Estimator is made of. Spark's names follow spark.streaming.backpressure.pid.
type Config struct {
	IntervalMS   int64   // batch interval
	Proportional float64 // weight of the present error, 0 or more
	Integral     float64 // weight of what waits to be processed, 0 or more
	Derivative   float64 // weight of the error's change, 0 or more (Spark: derived)
	MinRate      float64 // no estimate is below it, in records per second, more than 0
}

// Default gives Spark's weights and lowest rate.
func Default(intervalMS int64) Config {
	return Config{IntervalMS: intervalMS, Proportional: 1, Integral: 0.2, MinRate: 100}
}

// Estimator estimates the rate at which records can be processed, from batch to batch (Spark: PIDRateEstimator).
type Estimator struct {
	cfg         Config
	latestTime  float64 // ms, -1 before the first batch that counts
	latestRate  float64 // records per second
	latestError float64 // records per second
}

// NewEstimator makes an estimator. The error says which part of the configuration is out of range.
func NewEstimator(c Config) (*Estimator, error) {
	switch {
	case c.IntervalMS <= 0:
		return nil, fmt.Errorf("batch interval %d ms, expected more than 0", c.IntervalMS)
	case !(c.Proportional >= 0):
		return nil, fmt.Errorf("proportional term %v, expected 0 or more", c.Proportional)
	case !(c.Integral >= 0):
		return nil, fmt.Errorf("integral term %v, expected 0 or more", c.Integral)
	case !(c.Derivative >= 0):
		return nil, fmt.Errorf("derivative term %v, expected 0 or more", c.Derivative)
	case !(c.MinRate > 0):
		return nil, fmt.Errorf("lowest rate %v records per second, expected more than 0", c.MinRate)
	}
	return &Estimator{cfg: c, latestTime: -1, latestRate: -1, latestError: -1}, nil
}

// Compute takes a completed batch: when its processing ended, its records, how long they were processed and how long
// the batch had waited before, in milliseconds. It gives the rate for the time to come, in records per second; false:
// there is none. The first batch gives none, because there is nothing to compare it with. A batch without records or
// without processing delay, or that is not later than the one before, changes nothing.
func (e *Estimator) Compute(timeMS, records, processingMS, schedulingMS int64) (float64, bool) {
	now := float64(timeMS)
	if now <= e.latestTime || records <= 0 || processingMS <= 0 {
		return 0, false
	}
	elapsed := (now - e.latestTime) / 1000 // seconds
	speed := float64(records) / float64(processingMS) * 1000
	deviation := e.latestRate - speed
	// What waited could have been processed at this speed: so much more has to be taken off the rate to catch up.
	backlog := float64(schedulingMS) * speed / float64(e.cfg.IntervalMS)
	change := (deviation - e.latestError) / elapsed
	first := e.latestTime < 0
	e.latestTime = now
	if first {
		e.latestRate, e.latestError = speed, 0
		return 0, false
	}
	rate := e.latestRate - e.cfg.Proportional*deviation - e.cfg.Integral*backlog - e.cfg.Derivative*change
	e.latestRate, e.latestError = max(rate, e.cfg.MinRate), deviation
	return e.latestRate, true
}
