// Package gossip owns the knowledge of who is there: nodes, at which addresses, with which roles, slots and state.
// memberlist spreads it; this package is its only importer.
//
// It promises a list of members that is a copy, changes that can be waited for, and that joining is tried for ever. It
// does not promise truth: a live node can be reported dead and a dead one alive. So nothing is ever decided on it alone
// (no voter is removed, no session ended). What strangers can make the node hold is bounded (see bounded). It must not
// know raft, the ledger or gRPC.
package gossip
