package local

import (
	"errors"
	"slices"

	"github.com/raftstream/raftstream/executor/job"
)

func cloneLaunch(l *job.Launch) *job.Launch {
	c := *l
	c.App.Spec.Params = slices.Clone(l.App.Spec.Params)
	c.Parts = slices.Clone(l.Parts)
	c.Inputs = slices.Clone(l.Inputs)
	for i, in := range l.Inputs {
		c.Inputs[i].Blocks = slices.Clone(in.Blocks)
		for k, b := range in.Blocks {
			c.Inputs[i].Blocks[k].Stores = slices.Clone(b.Stores)
		}
		c.Inputs[i].Parts = slices.Clone(in.Parts)
		for k, p := range in.Parts {
			c.Inputs[i].Parts[k].Data, c.Inputs[i].Parts[k].Ranges = slices.Clone(p.Data), slices.Clone(p.Ranges)
		}
	}
	c.MapOutputs = slices.Clone(l.MapOutputs)
	for i, o := range l.MapOutputs {
		c.MapOutputs[i].Holders = slices.Clone(o.Holders)
	}
	c.States = slices.Clone(l.States)
	for i, b := range l.States {
		c.States[i].Chain = clonePieces(b.Chain)
	}
	if l.Collect != nil {
		o := *l.Collect
		c.Collect = &o
	}
	if l.Checkpoint != nil {
		o := *l.Checkpoint
		o.Numbers = slices.Clone(o.Numbers)
		c.Checkpoint = &o
	}
	return &c
}

func clonePieces(pieces []job.Piece) []job.Piece {
	c := slices.Clone(pieces)
	for i, p := range pieces {
		c[i].Block.Stores = slices.Clone(p.Block.Stores)
	}
	return c
}

func cloneResult(r *job.LaunchResult) *job.LaunchResult {
	c := &job.LaunchResult{Tasks: slices.Clone(r.Tasks)}
	for i, t := range r.Tasks {
		c.Tasks[i].Receipt, c.Tasks[i].Rows = slices.Clone(t.Receipt), slices.Clone(t.Rows)
		c.Tasks[i].Pieces = clonePieces(t.Pieces)
		if t.Err != nil {
			c.Tasks[i].Err = cloneTaskError(t.Err)
		}
	}
	return c
}

func cloneTaskError(e *job.TaskError) *job.TaskError {
	c := *e
	c.MapParts = slices.Clone(e.MapParts)
	return &c
}

// cloneError copies what crosses a wire as a value; other errors are taken as they are.
func cloneError(err error) error {
	if e, ok := errors.AsType[*job.TaskError](err); ok {
		return cloneTaskError(e)
	}
	return err
}
