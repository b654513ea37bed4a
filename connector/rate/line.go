package rate

// words are what lines are made of. The order is part of what Line gives.
var words = [...]string{
	"river", "stone", "cloud", "lamp", "forest", "bridge", "winter", "harbor",
	"garden", "copper", "meadow", "signal", "candle", "island", "thunder", "paper",
	"window", "silver", "orchard", "market", "feather", "valley", "engine", "mirror",
	"saddle", "comet", "basket", "anchor", "violin", "desert", "lantern", "pepper",
	"glacier", "pocket", "ribbon", "summit", "canyon", "walnut", "kettle", "horizon",
	"marble", "needle", "pigeon", "quarry", "rocket", "sparrow", "timber", "umbrella",
	"velvet", "wagon", "yellow", "zephyr", "almond", "beacon", "cradle", "dragon",
	"ember", "falcon", "ginger", "hammer", "ivory", "jasmine", "kernel", "ladder",
}

const (
	wordsPerLine = 8
	// maxLine bounds a line in bytes: eight words of at most eight letters and the spaces between them.
	maxLine = wordsPerLine*9 - 1
	// meanLine is a line's usual length in bytes.
	meanLine = 55
)

// Line is the text of line n, from 1: eight words, common ones and rare ones.
func Line(n uint64) string {
	b := make([]byte, 0, maxLine)
	h := mix(n)
	for i := range wordsPerLine {
		if i > 0 {
			b = append(b, ' ')
		}
		draw := byte(h >> (8 * i))
		b = append(b, words[min(draw&63, draw>>2)]...) // the smaller of two draws: words at the front are common
	}
	return string(b)
}

// mix spreads a number over all bits (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
