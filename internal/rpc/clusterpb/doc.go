// Package clusterpb owns the wire format of what nodes say to each other: generated from cluster.proto, converted from
// and to the structs of executor/job by package rpc alone. It promises nothing between cluster versions; it must not
// hold code written by hand.
package clusterpb
