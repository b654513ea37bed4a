package conformance_test

import (
	"encoding/json"
	"fmt"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/rdd"
)

// Elements travel as canonical JSON texts, so that one interpreter can run every table. Keys and values of pairs are
// such texts, too.

type (
	pairs   = dstream.KV[string, string]
	stream  = *dstream.DStream[string]
	keyed   = *dstream.DStream[pairs]
	dataset = rdd.RDD[string]
)

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("%v is no JSON: %v", v, err))
	}
	return string(b)
}

func value(s string) any {
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		panic(fmt.Sprintf("%q is no JSON: %v", s, err))
	}
	return v
}

func number(s string) int64 {
	var n int64
	if err := json.Unmarshal([]byte(s), &n); err != nil {
		panic(fmt.Sprintf("%q is no number: %v", s, err))
	}
	return n
}

// list makes the text of a list of texts.
func list(vs ...string) string {
	raw := make([]json.RawMessage, len(vs))
	for i, v := range vs {
		raw[i] = json.RawMessage(v)
	}
	return text(raw)
}

// parts is the inverse of list.
func parts(s string) (vs []string) {
	var raw []json.RawMessage
	if err := json.Unmarshal([]byte(s), &raw); err != nil {
		panic(fmt.Sprintf("%q is no list: %v", s, err))
	}
	for _, r := range raw {
		vs = append(vs, string(r))
	}
	return vs
}

func split(s string) pairs {
	kv := parts(s)
	if len(kv) != 2 {
		panic(fmt.Sprintf("%q is no pair", s))
	}
	return dstream.Pair(kv[0], kv[1])
}

func join(p pairs) string { return list(p.Key, p.Value) }

func option(o dstream.Opt[string]) string {
	if o.OK {
		return `{"some":` + o.Value + `}`
	}
	return `{"none":true}`
}

func byKey(s stream) keyed      { return dstream.Map(s, split) }
func elementsOf(s keyed) stream { return dstream.Map(s, join) }
