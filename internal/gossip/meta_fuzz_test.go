package gossip

import "testing"

// Whatever a node says of itself is read or refused, and what is read can be said again.
func FuzzMeta(f *testing.F) {
	m := Meta{
		Name: "n1", Roles: Driver | Executor, RPCAddr: "127.0.0.1:7077", HTTPPort: 4040, Slots: 4, Generation: 3, Version: "v1", Expect: 3,
		HasState: true, Cluster: "01234567",
	}
	f.Add(m.encode())
	f.Add([]byte{metaVersion, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMeta(data)
		if err != nil {
			return
		}
		_ = m.HTTPAddr()
		_ = m.Roles.Strings()
		if m.check() != nil {
			return
		}
		coded := m.encode()
		if len(coded) >= MaxMeta {
			t.Fatalf("%d bytes, expected fewer than %d", len(coded), MaxMeta)
		}
		again, err := decodeMeta(coded)
		m.Version, m.Cluster = m.Version[:min(len(m.Version), maxVersion)], m.Cluster[:min(len(m.Cluster), maxCluster)]
		if err != nil || again != m {
			t.Errorf("%+v is read again as %+v, error %v", m, again, err)
		}
	})
}
