package ratecontrol

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// spark is a case of testdata/pid_rate_estimator.json: what Spark's estimator answers.
type spark struct {
	Test   string
	Op     string
	Params struct {
		BatchInterval int64   `json:"batchInterval_ms"`
		Proportional  float64 `json:"proportional"`
		Integral      float64 `json:"integral"`
		Derivative    float64 `json:"derivative"`
		MinRate       float64 `json:"minRate"`
	}
	Calls []struct {
		Time            int64    `json:"time_ms"`
		NumElements     int64    `json:"numElements"`
		ProcessingDelay int64    `json:"processingDelay_ms"`
		SchedulingDelay int64    `json:"schedulingDelay_ms"`
		Expected        *float64 `json:"expected"`
	}
}

func TestPIDRateEstimatorSuite(t *testing.T) {
	text, err := os.ReadFile("testdata/pid_rate_estimator.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []spark
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Op != "PIDRateEstimator.compute" {
			continue // "the right estimator is created" chooses one by name: there is no other here
		}
		t.Run(c.Test, func(t *testing.T) {
			p := c.Params
			e, err := NewEstimator(Config{
				IntervalMS: p.BatchInterval, Proportional: p.Proportional, Integral: p.Integral, Derivative: p.Derivative, MinRate: p.MinRate,
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Calls) == 0 {
				t.Fatal("no calls")
			}
			for i, call := range c.Calls {
				got, ok := e.Compute(call.Time, call.NumElements, call.ProcessingDelay, call.SchedulingDelay)
				switch {
				case ok != (call.Expected != nil):
					t.Errorf("call %d: estimate %v %v, expected one: %v", i, got, ok, call.Expected != nil)
				case ok && math.Abs(got-*call.Expected) > 1e-9*math.Abs(*call.Expected):
					t.Errorf("call %d: %v, expected %v", i, got, *call.Expected)
				}
			}
		})
	}
}

func TestEstimatorChecksRanges(t *testing.T) {
	good := Default(1000)
	for name, change := range map[string]func(*Config){
		"interval 0":            func(c *Config) { c.IntervalMS = 0 },
		"negative proportional": func(c *Config) { c.Proportional = -1 },
		"negative integral":     func(c *Config) { c.Integral = -1 },
		"negative derivative":   func(c *Config) { c.Derivative = -1 },
		"derivative no number":  func(c *Config) { c.Derivative = math.NaN() },
		"lowest rate 0":         func(c *Config) { c.MinRate = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if _, err := NewController(c); err == nil {
				t.Errorf("%+v is taken", c)
			}
		})
	}
	if _, err := NewController(good); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

func TestEstimateIsAFiniteRateWhateverComes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, err := NewEstimator(Default(rapid.Int64Range(1, 1e6).Draw(t, "interval")))
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 20).Draw(t, "calls") {
			number := rapid.Int64Range(-10, 1<<50)
			rate, ok := e.Compute(number.Draw(t, "time"), number.Draw(t, "records"), number.Draw(t, "processing"), number.Draw(t, "scheduling"))
			if ok && !(rate >= 100 && rate < math.Inf(1)) {
				t.Fatalf("estimate %v", rate)
			}
		}
	})
}
