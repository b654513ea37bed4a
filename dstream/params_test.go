package dstream_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/internal/dataset"
)

type settings struct {
	Addr    string            `json:"addr"`
	K       int               `json:"k,omitempty"`
	Small   int8              `json:"small,omitempty"`
	Rate    float64           `json:"rate,omitempty"`
	On      bool              `json:"on,omitempty"`
	Every   time.Duration     `json:"every,omitempty"`
	Names   []string          `json:"names,omitempty"`
	IP      netip.Addr        `json:"ip,omitempty"`
	Nested  struct{ A int }   `json:"nested,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Untaged uint              `json:",omitempty"`
}

func TestParametersAreDecodedByTheirType(t *testing.T) {
	var got settings
	r := dstream.NewRegistry()
	dstream.RegisterIn(r, "p", func(c *dstream.Context, p settings) error {
		got = p
		stream[int](c).Print()
		return nil
	})
	b, err := r.Params("p", map[string]string{
		"addr": "h:1", "k": "-3", "rate": "1.5", "on": "true", "every": "1m30s",
		"names": `["a","b"]`, "ip": "127.0.0.1", "nested": `{"A":1}`, "labels": `{"x":"y"}`, "Untaged": "7",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Build(dataset.Spec{Name: "p", Params: b, BatchMS: 1000, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	want := settings{
		Addr: "h:1", K: -3, Rate: 1.5, On: true, Every: 90 * time.Second, Names: []string{"a", "b"},
		IP: netip.MustParseAddr("127.0.0.1"), Nested: struct{ A int }{1}, Labels: map[string]string{"x": "y"}, Untaged: 7,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !json.Valid(b) || b[0] != '{' {
		t.Errorf("not an object: %s", b)
	}
}

type common struct {
	Source string `json:"source"`
}

// What encoding/json makes of a program's parameters is taken for them.
func TestParametersAreTheFieldsThatJSONKnows(t *testing.T) {
	type nested struct {
		common
		Limit  *int           `json:"limit"`
		Names  []string       `json:"names"`
		Labels map[string]int `json:"labels"`
		Zero   time.Time      `json:"zero,omitzero"`
		Hidden int            `json:"-"`
		cache  int
	}
	var got nested
	r := dstream.NewRegistry()
	dstream.RegisterIn(r, "p", func(c *dstream.Context, p nested) error {
		got = p
		stream[int](c).Print()
		return nil
	})
	want := nested{common: common{"s"}}
	want.cache = got.cache
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Build(dataset.Spec{Name: "p", Params: b, BatchMS: 1000, Partitions: 1}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s was read as %+v: %v", b, got, err)
	}
	for params, says := range map[string]string{
		`{"names":[],"labels":{}}`:                               `parameter "source" is missing, expected a string`,
		`{"source":"s","names":[],"labels":{},"Hidden":1}`:       `unknown parameter "Hidden", it takes: source, limit, names, labels, zero`,
		`{"source":"s","names":[],"labels":{},"cache":1}`:        `unknown parameter "cache"`,
		`{"source":null,"names":null,"labels":null,"limit":"x"}`: `parameter "source" is null, expected a string`,
	} {
		_, err := r.Build(dataset.Spec{Name: "p", Params: []byte(params), BatchMS: 1000, Partitions: 1})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", params, err)
		}
	}
}

func TestWrongParametersAreNamed(t *testing.T) {
	r := dstream.NewRegistry()
	dstream.RegisterIn(r, "p", func(c *dstream.Context, p settings) error { stream[int](c).Print(); return nil })
	dstream.RegisterIn(r, "bare", func(c *dstream.Context, p none) error { stream[int](c).Print(); return nil })
	for _, c := range []struct {
		json string
		want []string
	}{
		{`{}`, []string{`program "p"`, `parameter "addr" is missing, expected a string`}},
		{``, []string{`parameter "addr" is missing`}},
		{`{"addr":"x","bogus":1}`, []string{`unknown parameter "bogus", it takes: addr, k,`}},
		{`{"addr":"x","Addr":"y"}`, []string{`unknown parameter "Addr"`}},
		{`{"addr":"x","k":"three"}`, []string{`parameter "k" is "three", expected an integer (int)`}},
		{`{"addr":"x","k":1.5}`, []string{`parameter "k" is 1.5`}},
		{`{"addr":"x","small":300}`, []string{`parameter "small" is 300, expected an integer (int8)`}},
		{`{"addr":7}`, []string{`parameter "addr" is 7, expected a string`}},
		{`{"addr":null}`, []string{`parameter "addr" is null`}},
		{`{"addr":"x","addr":"y"}`, []string{`"addr" is given twice`}},
		{`{"addr":"x","every":5}`, []string{`parameter "every" is 5, expected a duration such as 1m30s`}},
		{`{"addr":"x","every":"soon"}`, []string{`parameter "every" is "soon", expected a duration`}},
		{`{"addr":"x","nested":{"B":1}}`, []string{`parameter "nested"`, "B"}},
		{`{"addr":"x","on":"yes"}`, []string{`parameter "on" is "yes", expected a bool: true or false`}},
		{`[1]`, []string{`parameters are [1], expected a JSON object`}},
		{`{"addr":"x"} {}`, []string{"something follows"}},
		{`{"addr":`, []string{"no JSON object"}},
		{`{"k":true,"bogus":1}`, []string{`"k"`, `"bogus"`, `"addr" is missing`}},
	} {
		_, err := r.Build(dataset.Spec{Name: "p", Params: []byte(c.json), BatchMS: 1000, Partitions: 1})
		says(t, err, c.want...)
	}
	_, err := r.Build(dataset.Spec{Name: "bare", Params: []byte(`{"a":1}`), BatchMS: 1000, Partitions: 1})
	says(t, err, `unknown parameter "a", it takes none`)
	for name, values := range map[string]map[string]string{
		`parameter "k" is "many", expected an integer`:       {"k": "many"},
		`parameter "every" is "90", expected a duration`:     {"every": "90"},
		`unknown parameter "x"`:                              {"x": "1"},
		`parameter "ip" is "nowhere", expected a netip.Addr`: {"ip": "nowhere"},
		`parameter "on" is "maybe"`:                          {"on": "maybe"},
		`parameter "Untaged" is -1, expected an integer fro`: {"Untaged": "-1"},
	} {
		_, err := r.Params("p", values)
		says(t, err, `program "p"`, name)
	}
	_, err = r.Params("q", nil)
	says(t, err, `unknown program "q"`)
}
