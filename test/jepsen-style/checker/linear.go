package checker

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// LinearTime is how long the search for an order of a history's operations may take. Beyond it nothing is known.
const LinearTime = 60 * time.Second

// linear looks for an order of the operations, by a model, in which each took effect at one moment between its invocation
// and its return. Partitions are judged by themselves. dir gets a page that shows a history for which there is none.
func linear(j *Judge, dir, page string, model porcupine.Model, partitions map[string][]porcupine.Operation) Result {
	over := time.Now().Add(LinearTime)
	for _, name := range slices.Sorted(maps.Keys(partitions)) {
		ops := partitions[name]
		left := time.Until(over)
		if left <= 0 {
			j.Doubt("%s: the time of %v is over, and its %d operations were not looked at", name, LinearTime, len(ops))
			continue
		}
		got, info := porcupine.CheckOperationsVerbose(model, ops, left)
		switch got {
		case porcupine.Ok:
			j.See("operations", int64(len(ops)))
			j.Found.Counts["partitions"]++
		case porcupine.Unknown:
			j.Doubt("%s: no order of its %d operations was found, and none was ruled out, in %v", name, len(ops), left.Round(time.Second))
		case porcupine.Illegal:
			j.See("operations", int64(len(ops)))
			j.Bad("%s: its %d operations have no order that explains all replies%s", name, len(ops), stuck(model, info))
			draw(j, dir, page+"-"+name+".html", model, info)
		}
	}
	return j.Result()
}

// stuck tells how far the longest order went.
func stuck(model porcupine.Model, info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, order := range partition {
			if len(order) > len(longest) {
				longest = order
			}
		}
	}
	if len(longest) == 0 {
		return ""
	}
	state := model.Init()
	for _, o := range longest {
		_, state = model.Step(state, o.Input, o.Output)
	}
	o := longest[len(longest)-1]
	return fmt.Sprintf("; the longest order has %d and ends with %s in state %s", len(longest), model.DescribeOperation(o.Input, o.Output), model.DescribeState(state))
}

// draw writes the page for people.
func draw(j *Judge, dir, name string, model porcupine.Model, info porcupine.LinearizationInfo) {
	if dir == "" {
		return
	}
	path := filepath.Join(dir, fileName(name))
	f, err := os.Create(path)
	if err == nil {
		if err = porcupine.Visualize(model, info, f); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		j.tell("the page %s could not be written: %v", path, err)
		return
	}
	j.tell("see %s", path)
}

// fileName makes a name that is one file's, whatever an application is called.
func fileName(name string) string {
	out := []byte(name)
	for i, c := range out {
		if c != '.' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			out[i] = '_'
		}
	}
	return string(out)
}

// timed is an operation's time, for porcupine. One whose outcome is not known may take effect at any time later.
func timed(o *history.Op, input, output any) porcupine.Operation {
	v := porcupine.Operation{ClientId: o.Invoke.Process, Input: input, Call: o.Start(), Output: output, Return: o.Return()}
	if o.Type() == history.Info {
		v.Return = math.MaxInt64
	}
	return v
}
