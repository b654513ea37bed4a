package main

import (
	"reflect"
	"testing"
	"time"

	"github.com/raftstream/raftstream/dstream"
	"github.com/raftstream/raftstream/dstream/streamtest"
)

func TestSessionsEndWhenTheirUserIsIdle(t *testing.T) {
	input := [][]string{
		{`{"user":"a","page":"/","ms":10}`, `{"user":"b","page":"/x","ms":20}`, `no click`},
		{`{"user":"a","page":"/y","ms":1010}`},
		{},
		{},
		{},
		{`{"user":"a","page":"/z","ms":5010}`},
	}
	got := streamtest.Run(t, input,
		func(s *dstream.DStream[string]) *dstream.DStream[dstream.KV[string, session]] {
			return sessions(s, 2*time.Second)
		},
		streamtest.Batches(9), streamtest.RestartAfter(3), streamtest.RestartAfter(7))
	want := [][]dstream.KV[string, session]{
		{},
		{},
		{},
		{dstream.Pair("b", session{Clicks: 1, First: 20, Last: 20, Landing: "/x"})},
		{dstream.Pair("a", session{Clicks: 2, First: 10, Last: 1010, Landing: "/"})},
		{},
		{},
		{},
		{dstream.Pair("a", session{Clicks: 1, First: 5010, Last: 5010, Landing: "/z"})},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
