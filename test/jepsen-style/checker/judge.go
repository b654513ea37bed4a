package checker

import (
	"errors"
	"fmt"
	"slices"
)

// maxDetails bounds what one result tells people; all violations are counted.
const maxDetails = 20

// Judge gathers what one checker finds, and comes to its verdict. One that has seen nothing comes to Unknown.
type Judge struct {
	// Found is the result so far. Checkers fill in its sums, and counts of what they did not hold against anything.
	Found Result

	seen    int64 // things that were held against what must be
	wrong   int64 // violations
	unknown bool
	doubts  int64 // reasons to be unknown other than errTrimmed
}

// Judging begins the result of a checker; workload is "" where it judges the cluster.
func Judging(checker, workload string) *Judge {
	return &Judge{Found: Result{Checker: checker, Workload: workload, Counts: map[string]int64{}}}
}

// See counts things of a name that were held against what must be.
func (j *Judge) See(name string, n int64) {
	j.Found.Counts[name] += n
	j.seen += n
}

// Bad is a violation.
func (j *Judge) Bad(format string, args ...any) {
	j.wrong++
	j.tell(format, args...)
}

// Doubt is a reason why the checker cannot come to a verdict.
func (j *Judge) Doubt(format string, args ...any) {
	j.unknown = true
	if !slices.ContainsFunc(args, trimmed) {
		j.doubts++
	}
	j.tell(format, args...)
}

// errTrimmed says that a log does not go back far enough because it needs not: a snapshot holds what came of the rest.
var errTrimmed = errors.New("nodes have removed what their snapshots hold")

func trimmed(arg any) bool {
	err, ok := arg.(error)
	return ok && errors.Is(err, errTrimmed)
}

func (j *Judge) tell(format string, args ...any) {
	if len(j.Found.Details) < maxDetails {
		j.Found.Details = append(j.Found.Details, fmt.Sprintf(format, args...))
	}
}

// Result comes to the verdict. A violation counts, whatever else could not be checked, and anything lost, doubled, made up or
// unexplained is one.
func (j *Judge) Result() Result {
	r := j.Found
	if r.Lost+r.Duplicated+r.Phantom+r.Unexplained > 0 {
		j.wrong = max(j.wrong, 1)
	}
	switch {
	case j.wrong > 0:
		r.Verdict = Invalid
		r.Counts["violations"] = j.wrong
	case j.unknown:
		r.Verdict, r.Trimmed = Unknown, j.doubts == 0
	case j.seen == 0:
		r.Verdict = Unknown
		r.Details = append(r.Details, "nothing was checked: there was nothing to see")
	default:
		r.Verdict = Valid
	}
	return r
}
