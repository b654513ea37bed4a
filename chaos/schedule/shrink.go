package schedule

import (
	"context"
	"slices"
)

// Shrink looks for the least schedule for which fails still reports true: first with fewer events, by delta debugging
// (Zeller and Hildebrandt 2002), then with shorter faults and a shorter end. fails runs a schedule, as often as it takes to be sure; its error ends the
// search. The result always has failed; it is s where nothing less fails.
func Shrink(ctx context.Context, s Schedule, fails func(context.Context, Schedule) (bool, error)) (Schedule, error) {
	best := s
	try := func(events []Event, timeMS int64) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		c := best
		c.Events, c.TimeMS = events, timeMS
		bad, err := fails(ctx, c)
		if err == nil && bad {
			best = c
		}
		return bad, err
	}
	if err := fewer(&best, try); err != nil {
		return best, err
	}
	for i := range best.Events {
		for half := best.Events[i].ForMS / 2; half > 0; half /= 2 {
			shorter := slices.Clone(best.Events)
			shorter[i].ForMS = half
			if bad, err := try(shorter, best.TimeMS); err != nil {
				return best, err
			} else if !bad {
				break
			}
		}
	}
	if end := best.end(); end < best.TimeMS {
		if _, err := try(best.Events, end); err != nil {
			return best, err
		}
	}
	return best, nil
}

// end is when the last fault of the schedule is over, with a second to spare.
func (s Schedule) end() int64 {
	end := int64(0)
	for _, e := range s.Events {
		end = max(end, e.AtMS+e.ForMS)
	}
	return end + 1000
}

// fewer leaves out events, in chunks that get smaller, until none can be left out.
func fewer(best *Schedule, try func([]Event, int64) (bool, error)) error {
	for chunk := (len(best.Events) + 1) / 2; chunk > 0; {
		left := false
		for at := 0; at < len(best.Events); {
			end := min(at+chunk, len(best.Events))
			bad, err := try(slices.Concat(best.Events[:at], best.Events[end:]), best.TimeMS)
			if err != nil {
				return err
			}
			if bad {
				left = true
				continue // what followed stands at this place now
			}
			at = end
		}
		if chunk == 1 && !left {
			return nil
		}
		chunk = max(1, chunk/2)
		if len(best.Events) == 0 {
			return nil
		}
	}
	return nil
}
