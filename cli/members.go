package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	raftstreamv1 "github.com/raftstream/raftstream/api/raftstream/v1"
	"github.com/raftstream/raftstream/client"
)

func (e *env) membersCommand(g *globals) *cobra.Command {
	var stale bool
	cmd := &cobra.Command{
		Use:   "members",
		Short: "List the nodes of the cluster, remove one, hand over leadership",
		Long: "Lists the nodes of the cluster. Nodes join by themselves when they are started; remove takes a driver that will not\n" +
			"come back out of the quorum, transfer hands leadership to another driver.",
		Example: "  raftstream members\n  raftstream members remove n3\n  raftstream members transfer n2",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				reply, err := c.ListMembers(ctx, &raftstreamv1.ListMembersRequest{Stale: stale})
				if err != nil {
					return fmt.Errorf("list members: %w", err)
				}
				j := membersOf(reply)
				if g.output == "json" {
					return printJSON(e.out, j)
				}
				return e.printMembers(&j)
			})
		},
	}
	cmd.Flags().BoolVar(&stale, "stale", false, staleUsage)
	cmd.AddCommand(e.removeMemberCommand(g), e.transferCommand(g))
	return cmd
}

func (e *env) printMembers(j *membersJSON) error {
	t := newTable(e.out, "NAME", "STATUS", "RAFT", "ROLES", "RPC", "HTTP", "VERSION", "ID")
	for _, m := range j.Members {
		raft := m.Raft
		if m.Learner {
			raft = "catching up"
		}
		t.row(m.Name, m.Status, raft, strings.Join(m.Roles, ","), m.RPCAddr, m.HTTPAddr, m.Version, m.ID)
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.out, "term %d, leader %s\n", j.Term, j.Leader)
	return err
}

// memberChangedJSON answers members remove and members transfer.
type memberChangedJSON struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Changed bool   `json:"changed"`
	Message string `json:"message"`
}

func (e *env) removeMemberCommand(g *globals) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove NAME|ID",
		Short: "Take a driver that will not come back out of the quorum",
		Long: "Takes a driver out of the quorum, so that it does not count for the majority any more. It is for a node that is gone for\n" +
			"good, after its process has ended; a node that comes back with its data directory joins again. It is refused for the\n" +
			"leader, for a driver that is alive, and when the drivers that are left would be no majority; --force removes the\n" +
			"latter two all the same.",
		Example: "  raftstream members remove n3\n  raftstream members remove 6e1f... --force",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				m, err := c.Member(ctx, args[0])
				if err != nil {
					return fmt.Errorf("remove member: %w", err)
				}
				reply, err := c.RemoveMember(ctx, &raftstreamv1.RemoveMemberRequest{Id: m.GetId(), Force: force})
				if err != nil {
					return fmt.Errorf("remove member %s: %w", m.GetName(), err)
				}
				message := "is no part of the quorum any more"
				if !reply.GetRemoved() {
					message = "was no part of the quorum; a node that is an executor only leaves by being stopped"
				}
				return e.printMemberChange(g, memberChangedJSON{m.GetName(), m.GetId(), reply.GetRemoved(), message})
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also a driver that is alive, and also if no majority is left")
	return cmd
}

func (e *env) transferCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "transfer [NAME|ID]",
		Short: "Hand leadership to another driver",
		Long: "Hands leadership to the driver named, or to the most suitable other one, and prints who leads then. A node that is\n" +
			"stopped in order does so by itself.",
		Example: "  raftstream members transfer\n  raftstream members transfer n2",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.call(cmd.Context(), g, func(ctx context.Context, c *client.Client) error {
				return e.transfer(ctx, g, c, args)
			})
		},
	}
}

func (e *env) transfer(ctx context.Context, g *globals, c *client.Client, args []string) error {
	request, leads := &raftstreamv1.TransferLeadershipRequest{}, false
	if len(args) == 1 {
		m, err := c.Member(ctx, args[0])
		if err != nil {
			return fmt.Errorf("transfer leadership: %w", err)
		}
		request.Id, leads = m.GetId(), m.GetRaft() == raftstreamv1.RaftRole_RAFT_ROLE_LEADER
	}
	if _, err := c.TransferLeadership(ctx, request); err != nil {
		return fmt.Errorf("transfer leadership: %w", err)
	}
	// A node that has just handed over may not know the new leader yet: only the new one answers.
	now, err := c.ListMembers(ctx, &raftstreamv1.ListMembersRequest{})
	if err != nil {
		return fmt.Errorf("transfer leadership: it is handed over; to whom: %w", err)
	}
	leader := memberChangedJSON{Name: now.GetLeader(), Changed: !leads, Message: "leads"}
	for _, m := range now.GetMembers() {
		if m.GetRaft() == raftstreamv1.RaftRole_RAFT_ROLE_LEADER {
			leader.ID = m.GetId()
		}
	}
	return e.printMemberChange(g, leader)
}

func (e *env) printMemberChange(g *globals, c memberChangedJSON) error {
	if g.output == "json" {
		return printJSON(e.out, c)
	}
	_, err := fmt.Fprintf(e.out, "%s %s\n", c.Name, c.Message)
	return err
}
