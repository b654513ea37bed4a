package report

import (
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/checker"
	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

const style = `body{font:13px sans-serif;margin:1em}.chart{display:flex}.chart>div{overflow-x:auto}.chart svg{display:block}
.ok{stroke:#2f855a}.fail{stroke:#dd8500}.info{stroke:#c53030}path.ok,path.fail,path.info{stroke-width:9;fill:none}
.fault{fill:#c53030;fill-opacity:.75}.shade{fill:#c53030;fill-opacity:.08}.wrong{stroke:#000;stroke-width:2}
table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:2px 6px;text-align:left;vertical-align:top}.valid{color:#2f855a}.invalid,.unknown{color:#c53030}
svg text{font:11px sans-serif}`

// timeline draws the whole run on one page that needs nothing else: who led, what was broken, and what every client did.
func (r *Report) timeline(d *data) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title><style>%s</style></head><body>\n", esc(r.Title), style)
	fmt.Fprintf(&b, "<h1>%s: %s</h1>\n", esc(r.Title), esc(r.Verdict))
	if len(r.Reasons) > 0 {
		b.WriteString("<ul>\n")
		for _, reason := range r.Reasons {
			fmt.Fprintf(&b, "<li>%s</li>\n", esc(reason))
		}
		b.WriteString("</ul>\n")
	}
	b.WriteString(`<p>Operations: <b class="valid">ok</b>, <b style="color:#dd8500">failed</b>, <b class="invalid">not known</b>. ` +
		`Red bands: faults. Black lines: violations, with their event. Hold the pointer on something to read more.</p>` + "\n")
	r.chart(&b, d)
	r.table(&b)
	b.WriteString("</body></html>\n")
	return []byte(b.String())
}

// chart draws the rows, with their names in a column that stays when the rest is scrolled.
func (r *Report) chart(b *strings.Builder, d *data) {
	c := newCanvas(d)
	faults := pack(d.faults)
	rows, more := lanes(d.ops)
	var names, body strings.Builder
	y := 20
	name := func(s string) {
		fmt.Fprintf(&names, `<text x="2" y="%d">%s</text>`+"\n", y+11, esc(s))
	}
	name("leader")
	c.reigns(&body, y)
	y += laneHeight + laneGap
	for i, row := range faults {
		if i == 0 {
			name("nemesis")
		}
		c.faults(&body, row, y)
		y += laneHeight + laneGap
	}
	last := ""
	for _, l := range rows {
		if l.label != last || last == "" {
			name(l.label)
			last = l.label
		}
		c.row(&body, l, y)
		y += laneHeight + laneGap
	}
	if more > 0 {
		name(fmt.Sprintf("%d operations more", more))
		y += laneHeight + laneGap
	}
	var over strings.Builder
	c.times(&over, y)
	c.shades(&over, y)
	over.WriteString(body.String())
	c.named(&over, rows, 20+(1+len(faults))*(laneHeight+laneGap))
	c.wrongs(&over, r.Results, y)
	fmt.Fprintf(b, `<div class="chart"><svg width="150" height="%d">%s</svg><div><svg width="%d" height="%d">%s</svg></div></div>`+"\n",
		y+20, names.String(), c.width+20, y+20, over.String())
	if len(d.ops) == 0 {
		b.WriteString("<p>There were no operations.</p>\n")
	}
}

// reigns draws who led, in a colour of its own for each node.
func (c canvas) reigns(b *strings.Builder, y int) {
	for _, g := range c.d.reigns {
		from, to := c.x(g.from), c.x(g.to)
		text := fmt.Sprintf("%s t%d", g.Node, g.Term)
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"><title>%s leads in term %d from index %d, %s</title></rect>`+"\n",
			from, y, max(to-from, 1), laneHeight, colour(g.Node), esc(g.Node), g.Term, g.Index, seconds(g.from))
		if to-from > float64(7*len(text)) {
			fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", from+3, y+11, esc(text))
		}
	}
}

// colour is one for a name, the same in every run.
func colour(name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return fmt.Sprintf("hsl(%d 60%% 80%%)", h.Sum32()%360)
}

func (c canvas) faults(b *strings.Builder, row []*history.Fault, y int) {
	for i, f := range row {
		from, to := c.x(f.Start()), c.x(f.Ended())
		fmt.Fprintf(b, `<rect class="fault" x="%.1f" y="%d" width="%.1f" height="%d"><title>%s</title></rect>`+"\n",
			from, y, max(to-from, 2), laneHeight, esc(faultText(f)))
		next := float64(c.width)
		if i+1 < len(row) {
			next = c.x(row[i+1].Start())
		}
		if text := faultName(f); next-from > float64(7*len(text)) {
			fmt.Fprintf(b, `<text x="%.1f" y="%d">%s</text>`+"\n", from+3, y+11, esc(text))
		}
	}
}

// faultText tells all that the history has of a fault.
func faultText(f *history.Fault) string {
	text := fmt.Sprintf("event %d: %s, %s", f.Begin.Index, faultName(f), seconds(f.Start()))
	if f.End.F == "" {
		return text + ", never healed"
	}
	text += fmt.Sprintf(" to %s, %s", seconds(f.Ended()), f.End.Type)
	if f.End.Error != "" {
		text += ": " + f.End.Error
	}
	return text
}

// shades carries faults down through all rows.
func (c canvas) shades(b *strings.Builder, height int) {
	for i := range c.d.faults {
		f := &c.d.faults[i]
		from, to := c.x(f.Start()), c.x(f.Ended())
		fmt.Fprintf(b, `<rect class="shade" x="%.1f" y="20" width="%.1f" height="%d"/>`+"\n", from, max(to-from, 1), height-20)
	}
}

// times draws a scale.
func (c canvas) times(b *strings.Builder, height int) {
	step := time.Second
	for _, longer := range []time.Duration{2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute} {
		if c.x(step.Nanoseconds()) < 60 {
			step = longer
		}
	}
	for t := int64(0); t <= c.d.end; t += step.Nanoseconds() {
		fmt.Fprintf(b, `<path d="M%.1f 14v%d" stroke="#eee"/><text x="%.1f" y="11">%s</text>`+"\n", c.x(t), height-14, c.x(t), seconds(t))
	}
}

// named lets people read about single operations: those that did not end as ok first, as many as a page can bear.
func (c canvas) named(b *strings.Builder, rows []*lane, y int) {
	left := namedOpsMost
	for _, of := range []history.Type{history.Info, history.Fail, history.OK} {
		for i, l := range rows {
			for _, o := range l.ops {
				if o.Type() != of || left == 0 {
					continue
				}
				left--
				from, to := c.x(o.Start()), c.x(o.Ended())
				fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="transparent"><title>%s</title></rect>`+"\n",
					from, y+i*(laneHeight+laneGap), max(to-from, 2), laneHeight, esc(opText(o)))
			}
		}
	}
}

// opText tells of an operation in a few words.
func opText(o *history.Op) string {
	const most = 200
	text := fmt.Sprintf("event %d, process %d: %s %s", o.Invoke.Index, o.Invoke.Process, o.Invoke.F, o.Type())
	if o.Ended() != history.Forever {
		text += fmt.Sprintf(" in %v", round(o.Ended()-o.Start()))
	}
	if o.Invoke.Node != "" {
		text += " at " + o.Invoke.Node
	}
	if o.End.RaftIndex != 0 {
		text += fmt.Sprintf(", index %d", o.End.RaftIndex)
	}
	v := string(o.Value())
	text += " " + v[:min(len(v), most)]
	if o.End.Error != "" {
		text += ": " + o.End.Error[:min(len(o.End.Error), most)]
	}
	return text
}

// named events of details.
var eventOf = regexp.MustCompile(`\bevent (\d+)`)

// wrongs draws a line at every event that a violation names.
func (c canvas) wrongs(b *strings.Builder, results []checker.Result, height int) {
	for _, r := range results {
		if r.Verdict == checker.Valid {
			continue
		}
		for _, detail := range r.Details {
			m := eventOf.FindStringSubmatch(detail)
			if m == nil {
				continue
			}
			at, err := strconv.Atoi(m[1])
			if err != nil || at >= len(c.d.events) {
				continue
			}
			fmt.Fprintf(b, `<path class="wrong" d="M%.1f 14v%d"><title>%s: %s</title></path>`+"\n", c.x(c.d.events[at].Time), height-14, esc(r.Checker), esc(detail))
		}
	}
}

// table tells what every checker found.
func (r *Report) table(b *strings.Builder) {
	b.WriteString("<h2>Checks</h2>\n<table><tr><th>check</th><th>workload</th><th>verdict</th><th>seen</th><th>found</th></tr>\n")
	for _, c := range r.Results {
		fmt.Fprintf(b, `<tr><td>%s</td><td>%s</td><td class="%s">%s</td><td>%s</td><td>`, esc(c.Checker), esc(c.Workload), esc(string(c.Verdict)), esc(string(c.Verdict)), esc(counted(c.Counts)))
		for _, detail := range c.Details {
			fmt.Fprintf(b, "%s<br>", esc(detail))
		}
		b.WriteString("</td></tr>\n")
	}
	b.WriteString("</table>\n")
}
