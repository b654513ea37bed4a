// Package electionwatch owns the evidence that the process of another node has ended. It is engine internals, without
// compatibility promise.
//
// Every node answers on its rpc port with a hello: a nonce of this start of the process, its generation and the node's
// id; then the connection is idle. A driver holds one such connection to every node. The kernel ends it when the
// process dies, which is known within milliseconds, but a broken connection alone is no death. So the node is dialled
// again, for as long as it takes:
//
//   - the same nonce answers: it lives, only the connection was lost;
//   - another nonce answers for the same node: it was started again, the process before is over;
//   - the dial is refused, and that of the node's gossip port as well: nobody listens there any more, the process is over;
//   - anything else (no answer, accepted and reset, one port refused, another node at the address): unknown, and nothing
//     follows from it.
//
// It promises that a death is told once per process, and never for a process that is stopped, slow, cut off, or has
// merely lost connections or one of its ports. That holds where a refused dial comes from the node's own host: not
// through a proxy, nor behind a firewall that answers for it. It must not know what follows from a death: raft's
// elections and the ledger's sessions are above it.
package electionwatch
