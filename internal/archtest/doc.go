// Package archtest owns the checks that keep the house as docs/architecture.md and docs/house-style.md describe it: who
// may import whom, which packages compute only, how long files and functions are, what has a comment. It promises that
// a finding names the place, the rule and the reason. It reads source text and must not import what it checks.
package archtest
