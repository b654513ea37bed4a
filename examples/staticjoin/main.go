// Command staticjoin joins a stream of orders with a table that does not change, the prices: it prints what the orders
// of each batch come to, by article.
package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/raftstream/raftstream/cli"
	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

// params has the table: it comes with the submission, so that it is the same in every process, now and after a failure.
// A file that the build function reads could be another one elsewhere, or later.
type params struct {
	Prices []price `json:"prices"`
}

type price struct {
	Article string `json:"article"`
	Cents   int64  `json:"cents"`
}

type sum = dstream.KV[string, int64]

// turnover makes sums of money of lines with one article each. What has no price counts as 0, so that it is seen.
func turnover(orders *dstream.DStream[string], p params) *dstream.DStream[sum] {
	table := make([]sum, len(p.Prices))
	for i, row := range p.Prices {
		table[i] = dstream.Pair(row.Article, row.Cents)
	}
	sold := dstream.CountByValue(dstream.Map(orders, strings.TrimSpace))
	return dstream.Transform(sold, func(r rdd.RDD[sum], _ time.Time) rdd.RDD[sum] {
		priced := rdd.LeftOuterJoin(r, rdd.FromSlice(r, table))
		return rdd.MapValues(priced, func(j dstream.Joined[int64, dstream.Opt[int64]]) int64 { return j.Left * j.Right.Value })
	})
}

func program(c *dstream.Context, p params) error {
	seen := map[string]bool{}
	for _, row := range p.Prices {
		if seen[row.Article] {
			return fmt.Errorf("article %q has two prices", row.Article)
		}
		seen[row.Article] = true
	}
	turnover(ingest.TextStream(c), p).Print(100)
	return nil
}

func main() {
	dstream.Register("staticjoin", program)
	cli.Main()
}
