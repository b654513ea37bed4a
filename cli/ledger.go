package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/raftstream/raftstream/client"
)

type ledgerJSON struct {
	Node         string `json:"node"`
	AppliedIndex uint64 `json:"applied_index"`
	StateHash    string `json:"state_hash"`
}

func (e *env) ledgerCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ledger",
		Short: "Show how far a node's copy of the ledger is, and its hash",
		Long: "Shows the last log index that the node at --addr has applied and a hash of its state then. At equal index the\n" +
			"hashes of all nodes are equal.",
		Example: "  raftstream ledger --addr 10.0.0.2:7077",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				reply, err := c.GetLedger(ctx)
				if err != nil {
					return fmt.Errorf("read ledger: %w", err)
				}
				j := ledgerJSON{reply.GetNode(), reply.GetAppliedIndex(), reply.GetStateHash()}
				if g.output == "json" {
					return printJSON(e.out, j)
				}
				t := newTable(e.out, "NODE", "APPLIED INDEX", "STATE HASH")
				t.row(j.Node, j.AppliedIndex, j.StateHash)
				return t.flush()
			})
		},
	}
	cmd.AddCommand(e.ledgerLogCommand(g), e.ledgerCheckCommand(g))
	return cmd
}
