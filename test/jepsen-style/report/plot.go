package report

import (
	"encoding/json"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/raftstream/raftstream/test/jepsen-style/history"
)

// Sizes of a panel, in pixels.
const (
	plotWidth   = 1000
	plotHeight  = 150
	plotLeft    = 70
	plotTop     = 28
	plotFoot    = 24
	plotBins    = 120 // over the time of a run
	plotsAtMost = 24  // panels of one picture
)

// line is a curve of a panel.
type line struct {
	name, colour string
	values       []float64 // one for each bin; NaN where there is nothing
}

// panel is one diagram of a picture.
type panel struct {
	title string
	unit  func(float64) string
	log   bool
	lines []line
}

// esc makes a text safe inside of SVG and HTML.
func esc(s string) string { return html.EscapeString(s) }

// bin is how long one bin is, in nanoseconds.
func (d *data) bin() int64 { return max(int64(time.Second), (d.end+plotBins)/plotBins) }

// latencies draws quantiles over time of every kind of operation.
func latencies(d *data) []byte {
	var panels []panel
	bin := d.bin()
	for _, s := range series(d.ops) {
		took := make([][]int64, d.end/bin+1)
		for _, o := range s.ops {
			if o.Type() == history.OK {
				took[o.End.Time/bin] = append(took[o.End.Time/bin], o.End.Time-o.Start())
			}
		}
		p := panel{
			title: fmt.Sprintf("%s %s: latency of %d that were ok", s.workload, s.f, s.n[history.OK]), log: true,
			unit:  func(v float64) string { return round(int64(v)).String() },
			lines: []line{{"p50", "#2b6cb0", nil}, {"p95", "#dd8500", nil}, {"p99", "#c53030", nil}},
		}
		for _, values := range took {
			q := quantiles(values, 0.5, 0.95, 0.99)
			for i := range q {
				v := math.NaN()
				if len(values) > 0 {
					v = float64(q[i])
				}
				p.lines[i].values = append(p.lines[i].values, v)
			}
		}
		panels = append(panels, p)
	}
	return picture(d, panels)
}

// rates draws how much was done per second, of every kind of operation: records where they are added.
func rates(d *data) []byte {
	var panels []panel
	bin := d.bin()
	for _, s := range series(d.ops) {
		n := int(d.end/bin) + 1
		ok, failed, unknown := make([]float64, n), make([]float64, n), make([]float64, n)
		perSecond := 1 / time.Duration(bin).Seconds()
		for _, o := range s.ops {
			switch o.Type() {
			case history.OK:
				ok[o.End.Time/bin] += weight(o) * perSecond
			case history.Fail:
				failed[o.End.Time/bin] += weight(o) * perSecond
			default:
				unknown[d.upTo(o.Ended())/bin] += weight(o) * perSecond
			}
		}
		what := "operations"
		if s.f == history.Add {
			what = "records"
		}
		panels = append(panels, panel{
			title: fmt.Sprintf("%s %s: %s per second", s.workload, s.f, what),
			unit:  func(v float64) string { return fmt.Sprintf("%.4g", v) },
			lines: []line{{"ok", "#2f855a", ok}, {"failed", "#dd8500", failed}, {"not known", "#c53030", unknown}},
		})
	}
	return picture(d, panels)
}

// weight is what an operation is about: its records, or itself.
func weight(o *history.Op) float64 {
	var v history.Range
	if o.Invoke.F != history.Add || json.Unmarshal(o.Value(), &v) != nil || v.Last < v.First {
		return 1
	}
	return float64(v.Last-v.First) + 1
}

// picture draws panels one below the other, with bands where faults were.
func picture(d *data, panels []panel) []byte {
	left := 0
	if len(panels) > plotsAtMost {
		left = len(panels) - plotsAtMost
		panels = panels[:plotsAtMost]
	}
	var b strings.Builder
	height := max(1, len(panels))*(plotTop+plotHeight+plotFoot) + 20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", plotLeft+plotWidth+20, height)
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	for i := range panels {
		fmt.Fprintf(&b, `<g transform="translate(%d %d)">`+"\n", plotLeft, i*(plotTop+plotHeight+plotFoot)+plotTop)
		panels[i].draw(&b, d)
		b.WriteString("</g>\n")
	}
	if len(panels) == 0 {
		b.WriteString(`<text x="10" y="20">there were no operations</text>` + "\n")
	}
	if left > 0 {
		fmt.Fprintf(&b, `<text x="10" y="%d">%d more kinds of operations are left out</text>`+"\n", height-6, left)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// x gives the place of a time in a panel.
func (d *data) x(t int64) float64 {
	if d.end == 0 {
		return 0
	}
	return float64(t) / float64(d.end) * plotWidth
}

func (p *panel) draw(b *strings.Builder, d *data) {
	low, high := p.extent()
	y := func(v float64) float64 {
		if p.log {
			v, l, h := math.Log(max(v, low)), math.Log(low), math.Log(high)
			return plotHeight - (v-l)/(h-l)*plotHeight
		}
		return plotHeight - (v-low)/(high-low)*plotHeight
	}
	for i := range d.faults {
		f := &d.faults[i]
		from, to := d.x(f.Start()), d.x(d.upTo(f.Ended()))
		fmt.Fprintf(b, `<rect x="%.1f" y="0" width="%.1f" height="%d" fill="#c53030" fill-opacity="0.12"><title>%s</title></rect>`+"\n",
			from, max(to-from, 1), plotHeight, esc(faultName(f)))
	}
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="none" stroke="#999"/><text x="0" y="-8" font-weight="bold">%s</text>`+"\n", plotWidth, plotHeight, esc(p.title))
	for i := range 5 {
		v := low + (high-low)*float64(i)/4
		if p.log {
			v = low * math.Pow(high/low, float64(i)/4)
		}
		fmt.Fprintf(b, `<path d="M0 %.1fh%d" stroke="#ddd"/><text x="-6" y="%.1f" text-anchor="end">%s</text>`+"\n", y(v), plotWidth, y(v)+4, esc(p.unit(v)))
	}
	for i := range 11 {
		t := d.end / 10 * int64(i)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", d.x(t), plotHeight+14, seconds(t))
	}
	for i, l := range p.lines {
		fmt.Fprintf(b, `<text x="%d" y="-8" fill="%s" text-anchor="end">%s</text>`+"\n", plotWidth-70*(len(p.lines)-1-i), l.colour, esc(l.name))
		if path := curve(l.values, func(i int) float64 { return d.x(min(int64(i)*d.bin()+d.bin()/2, d.end)) }, y); path != "" {
			fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.3"/>`+"\n", path, l.colour)
		}
	}
}

// extent gives the lowest and the highest value that is drawn, never the same.
func (p *panel) extent() (low, high float64) {
	low, high = math.Inf(1), 0
	for _, l := range p.lines {
		for _, v := range l.values {
			if v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	switch {
	case !p.log:
		return 0, max(high, 1e-9) * 1.05
	case high == 0:
		return 1, 10
	}
	return low / 1.2, high * 1.2
}

// curve joins the values that there are; a value alone is a dot.
func curve(values []float64, x func(int) float64, y func(float64) float64) string {
	var b strings.Builder
	on := false
	for i, v := range values {
		if math.IsNaN(v) {
			on = false
			continue
		}
		if !on {
			fmt.Fprintf(&b, "M%.1f %.1fh1", x(i)-0.5, y(v))
			on = true
			continue
		}
		fmt.Fprintf(&b, "L%.1f %.1f", x(i), y(v))
	}
	return b.String()
}

func seconds(t int64) string {
	return strconv.FormatFloat(time.Duration(t).Round(time.Millisecond).Seconds(), 'f', -1, 64) + "s"
}

// faultName tells of a fault in a few words.
func faultName(f *history.Fault) string {
	var v struct {
		Targets []string `json:"targets"`
	}
	name := f.Begin.F
	if json.Unmarshal(f.Begin.Value, &v) == nil && len(v.Targets) > 0 {
		name += " " + strings.Join(v.Targets, " ")
	} else if f.Begin.Node != "" {
		name += " " + f.Begin.Node
	}
	return name
}
