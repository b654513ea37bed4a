package fsm

import "github.com/raftstream/raftstream/internal/ledgerpb"

// ClusterNamed stamps the cluster's id, once (rule 2).
type ClusterNamed struct{ Cluster string }

// Kind gives the command's number.
func (*ClusterNamed) Kind() Kind { return KindClusterNamed }

func clusterNamedRow() row {
	return newRow("ClusterNamed",
		func(c *ClusterNamed) *ledgerpb.ClusterNamed { return &ledgerpb.ClusterNamed{Cluster: c.Cluster} },
		func(m *ledgerpb.ClusterNamed) *ClusterNamed { return &ClusterNamed{Cluster: m.GetCluster()} },
		applyClusterNamed)
}

func applyClusterNamed(t *tx, c *ClusterNamed) Result {
	if bad := checkName("cluster id", c.Cluster); bad != "" {
		return refuse("%s", bad)
	}
	if t.cluster != "" && t.cluster != c.Cluster {
		return refuse("cluster id %q, expected %q: it is given once", c.Cluster, t.cluster)
	}
	if t.cluster == "" {
		t.event(t.leader.NowMS, nil, EventClusterNamed, "%s", c.Cluster)
	}
	t.cluster = c.Cluster
	return t.done()
}
