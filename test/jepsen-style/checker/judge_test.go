package checker

import "testing"

func TestAJudgeComesToWhatItHasFound(t *testing.T) {
	for name, c := range map[string]struct {
		finds func(j *Judge)
		want  Verdict
	}{
		"nothing was there":                {func(*Judge) {}, Unknown},
		"nothing of a kind was there":      {func(j *Judge) { j.See("records", 0) }, Unknown},
		"all is well":                      {func(j *Judge) { j.See("records", 1) }, Valid},
		"something could not be looked at": {func(j *Judge) { j.See("records", 1); j.Doubt("no file") }, Unknown},
		"a violation":                      {func(j *Judge) { j.See("records", 1); j.Bad("wrong") }, Invalid},
		"a violation, and a doubt":         {func(j *Judge) { j.Bad("wrong"); j.Doubt("no file") }, Invalid},
		"a loss that is only summed up":    {func(j *Judge) { j.See("records", 1); j.Found.Lost = 1 }, Invalid},
		"a duplicate":                      {func(j *Judge) { j.See("records", 1); j.Found.Duplicated = 1 }, Invalid},
		"a phantom":                        {func(j *Judge) { j.See("records", 1); j.Found.Phantom = 1 }, Invalid},
		"an unexplained outcome":           {func(j *Judge) { j.See("records", 1); j.Found.Unexplained = 1 }, Invalid},
	} {
		j := Judging("a checker", "a workload")
		c.finds(j)
		r := j.Result()
		if r.Verdict != c.want {
			t.Errorf("%s: %s, expected %s", name, r.Verdict, c.want)
		}
		if (r.Verdict == Invalid) != (r.Counts["violations"] > 0) {
			t.Errorf("%s: %s with %d violations", name, r.Verdict, r.Counts["violations"])
		}
	}
}
