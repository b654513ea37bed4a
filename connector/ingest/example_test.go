package ingest_test

import (
	"encoding/json"
	"fmt"

	"github.com/raftstream/raftstream/connector/ingest"
	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
)

// order is a record that clients push as JSON.
type order struct {
	Item  string `json:"item"`
	Count int64  `json:"count"`
}

func decodeOrder(record []byte) (o order, err error) {
	err = json.Unmarshal(record, &o)
	return o, err
}

// A typed stream is given the function that reads its records; a push with a record that it refuses is refused, with
// the reason, to the client that sent it.
func ExampleStream() {
	sold := func(c *dstream.Context, _ struct{}) error {
		orders := ingest.Stream(c, decodeOrder)
		counts := dstream.Map(orders, func(o order) dstream.KV[string, int64] { return dstream.Pair(o.Item, o.Count) })
		dstream.ReduceByKey(counts, dstream.Sum).Print()
		return nil
	}
	programs := dstream.NewRegistry() // an application calls dstream.Register in init
	dstream.RegisterIn(programs, "sold", sold)
	app, err := programs.Build(dataset.Spec{Name: "sold", BatchMS: 1000, Partitions: 2, Params: []byte(`{}`)})
	if err != nil {
		fmt.Println(err)
		return
	}
	in := app.Plan().Inputs[0]
	fmt.Println(in.Source, "pushed:", in.Pushed)
	_, err = decodeOrder([]byte(`{"item":"tea","count":"two"}`))
	fmt.Println(err)
	// Output:
	// ingest pushed: true
	// json: cannot unmarshal string into Go struct field order.count of type int64
}
