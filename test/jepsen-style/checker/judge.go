package checker

import "fmt"

// maxDetails bounds what one result tells people; all violations are counted.
const maxDetails = 20

// judge gathers what a checker finds. Its zero value has seen nothing and comes to Unknown.
type judge struct {
	r       Result
	seen    int64 // things that were held against what must be
	wrong   int64 // violations
	unknown bool
}

func judging(checker, workload string) *judge {
	return &judge{r: Result{Checker: checker, Workload: workload, Counts: map[string]int64{}}}
}

// see counts things of a name that were checked.
func (j *judge) see(name string, n int64) {
	j.r.Counts[name] += n
	j.seen += n
}

// bad is a violation.
func (j *judge) bad(format string, args ...any) {
	j.wrong++
	j.tell(format, args...)
}

// doubt is a reason why the checker cannot come to a verdict.
func (j *judge) doubt(format string, args ...any) {
	j.unknown = true
	j.tell(format, args...)
}

func (j *judge) tell(format string, args ...any) {
	if len(j.r.Details) < maxDetails {
		j.r.Details = append(j.r.Details, fmt.Sprintf(format, args...))
	}
}

// result comes to the verdict. A violation counts, whatever else could not be checked.
func (j *judge) result() Result {
	r := j.r
	if r.Lost+r.Duplicated+r.Phantom+r.Unexplained > 0 {
		j.wrong = max(j.wrong, 1)
	}
	switch {
	case j.wrong > 0:
		r.Verdict = Invalid
		r.Counts["violations"] = j.wrong
	case j.unknown:
		r.Verdict = Unknown
	case j.seen == 0:
		r.Verdict = Unknown
		r.Details = append(r.Details, "nothing was checked: there was nothing to see")
	default:
		r.Verdict = Valid
	}
	return r
}
