package cli

import (
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// nodeConfig is everything that one node is told from outside.
type nodeConfig struct {
	data, name, bind, advertise     string
	rpcPort, gossipPort, httpPort   int
	roles                           []string
	expect, slots                   int
	join                            []string
	blockMemory, diskReserve        int64 // MiB
	persistMemory, persistDisk      int64 // MiB
	raftReserve                     int64 // MiB
	snapshotEntries                 uint64
	trailingEntries                 uint64
	snapshotInterval                time.Duration
	heartbeat, election, lease      time.Duration
	electionWatch                   bool
	backpressure                    bool
	tls                             tlsFiles
	gossipKey                       string // hexadecimal
	logLevel, logFormat, configFile string
}

// Roles of a node.
const (
	roleDriver   = "driver"
	roleExecutor = "executor"
)

func (e *env) startCommand() *cobra.Command {
	var c nodeConfig
	cmd := &cobra.Command{
		Use:   "start --data DIR",
		Short: "Run one node in the foreground",
		Long: "Runs one node in the foreground. SIGTERM or an interrupt leaves in order: leadership is handed over, work is ended,\n" +
			"the others are told; a second one ends the process at once. Every flag may also be given in the environment\n" +
			"(--rpc-port as RAFTSTREAM_RPC_PORT) or in a YAML file (rpc-port: 7077); flags override the environment, which\n" +
			"overrides the file.",
		Example: "  raftstream start --data /var/lib/raftstream --bind 10.0.0.1 --bootstrap-expect 3 --join 10.0.0.2:7946",
		Args:    cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.data, "data", "", "data directory, of this node alone (required)")
	flags.StringVar(&c.name, "name", "", "name of the node, unique in the cluster (default: the host's name)")
	flags.StringVar(&c.bind, "bind", "127.0.0.1", "IP address to listen on")
	flags.StringVar(&c.advertise, "advertise", "", "IP address that other nodes reach this one by (default: that of --bind)")
	flags.IntVar(&c.rpcPort, "rpc-port", 7077, "TCP port of gRPC and Raft")
	flags.IntVar(&c.gossipPort, "gossip-port", 7946, "TCP and UDP port of gossip")
	flags.IntVar(&c.httpPort, "http-port", 4040, "TCP port of HTTP: /health and /ready")
	flags.StringSliceVar(&c.roles, "roles", []string{roleDriver, roleExecutor}, "what the node does: driver, executor or both")
	flags.IntVar(&c.expect, "bootstrap-expect", 0, "drivers to wait for before a new cluster is made; 0: join an existing one")
	flags.StringSliceVar(&c.join, "join", nil, "gossip address HOST:PORT of some other node; may be repeated")
	flags.IntVar(&c.slots, "slots", runtime.NumCPU(), "tasks to run at a time")
	flags.Int64Var(&c.blockMemory, "block-memory", 512, "MiB of blocks kept in memory; the rest is read from disk")
	flags.Int64Var(&c.persistMemory, "persist-memory", 256, "MiB of partitions of persisted streams kept in memory")
	flags.Int64Var(&c.persistDisk, "persist-disk", 1024, "MiB of partitions of persisted streams kept on disk where their level says so")
	flags.Int64Var(&c.diskReserve, "disk-reserve", 256, "MiB of disk that blocks leave free")
	flags.Int64Var(&c.raftReserve, "raft-disk-reserve", 64, "MiB of disk below which a driver proposes nothing; less than --disk-reserve, so that sources wait first")
	flags.Uint64Var(&c.snapshotEntries, "raft-snapshot-entries", 8192, "entries after which a driver writes a snapshot of the ledger")
	flags.Uint64Var(&c.trailingEntries, "raft-trailing-entries", 10240, "entries that a driver keeps behind its snapshot, for others that were away: who needs older ones gets the snapshot")
	flags.DurationVar(&c.snapshotInterval, "raft-snapshot-interval", time.Minute, "how often a driver looks whether a snapshot is due, half as often again at most")
	flags.DurationVar(&c.heartbeat, "raft-heartbeat-timeout", 500*time.Millisecond, "silence of the leader after which a driver stands for election")
	flags.DurationVar(&c.election, "raft-election-timeout", 500*time.Millisecond, "time for one election")
	flags.DurationVar(&c.lease, "raft-lease-timeout", 500*time.Millisecond, "time without a majority after which the leader steps down")
	flags.BoolVar(&c.electionWatch, "election-watch", true, "find out at once that another node's process has died, and elect a leader or end its session without waiting; needs that refused connections come from the nodes themselves, not from a proxy or firewall")
	flags.BoolVar(&c.backpressure, "backpressure", true, "limit inputs to what their applications can process; counts where this driver leads, so give it to all of them alike")
	c.tls.flags(flags, func(string) (string, bool) { return "", false }) // settled below, like every other
	flags.StringVar(&c.gossipKey, "gossip-key", "", "key that encrypts gossip, the same on every node: 64 hexadecimal digits; better in the environment or the file than here")
	flags.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&c.logFormat, "log-format", "text", "text or json; the log goes to stderr")
	var settable []string
	flags.VisitAll(func(f *pflag.Flag) { settable = append(settable, f.Name) })
	flags.StringVar(&c.configFile, "config", "", "YAML file with values for the flags above")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := e.settle(cmd.Flags(), settable); err != nil {
			return err
		}
		if err := c.check(); err != nil {
			return err
		}
		return e.start(cmd.Context(), &c)
	}
	return cmd
}

// nodeName makes the default name of a node: the host's, without its domain where that would be too long.
func nodeName(host string) string {
	if len(host) <= maxNodeName {
		return host
	}
	first, _, _ := strings.Cut(host, ".")
	return first
}

// maxNodeName is what gossip carries of a name, in bytes.
const maxNodeName = 32

// gossipKeyBytes is the length of the key of gossip: AES-256.
const gossipKeyBytes = 32

// maxExpect is the most voters that a cluster is made with.
const maxExpect = 9

// check completes the configuration and names the first value that cannot be.
func (c *nodeConfig) check() error {
	if c.data == "" {
		return usagef("flag --data: expected a directory")
	}
	if c.name == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of the host: %w; give --name", err)
		}
		c.name = nodeName(host)
	}
	if len(c.name) > maxNodeName {
		return usagef("flag --name: %q, expected at most %d bytes", c.name, maxNodeName)
	}
	if c.advertise == "" {
		c.advertise = c.bind
	}
	for flag, ip := range map[string]string{"bind": c.bind, "advertise": c.advertise} {
		if net.ParseIP(ip) == nil {
			return usagef("flag --%s: %q, expected an IP address", flag, ip)
		}
	}
	if net.ParseIP(c.advertise).IsUnspecified() {
		return usagef("flag --advertise: others cannot reach %s, expected an address of this machine", c.advertise)
	}
	for flag, port := range map[string]int{"rpc-port": c.rpcPort, "gossip-port": c.gossipPort, "http-port": c.httpPort} {
		if port < 1 || port > 65535 {
			return usagef("flag --%s: %d, expected 1 to 65535", flag, port)
		}
	}
	if c.rpcPort == c.gossipPort || c.rpcPort == c.httpPort || c.gossipPort == c.httpPort {
		return usagef("flags --rpc-port, --gossip-port and --http-port: %d, %d and %d, expected three ports", c.rpcPort, c.gossipPort, c.httpPort)
	}
	for _, a := range c.join {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return usagef("flag --join: %q, expected HOST:GOSSIPPORT", a)
		}
	}
	return c.checkWork()
}

func (c *nodeConfig) checkWork() error {
	if len(c.roles) == 0 {
		return usagef("flag --roles: expected driver, executor or both")
	}
	for _, r := range c.roles {
		if r != roleDriver && r != roleExecutor {
			return usagef("flag --roles: %q, expected driver, executor or both", r)
		}
	}
	if c.slots < 1 || c.blockMemory < 1 || c.diskReserve < 0 || c.raftReserve < 0 {
		return usagef("flags --slots, --block-memory, --disk-reserve and --raft-disk-reserve: %d, %d, %d and %d, expected at least 1, 1, 0 and 0",
			c.slots, c.blockMemory, c.diskReserve, c.raftReserve)
	}
	if c.persistMemory < 1 || c.persistDisk < 1 {
		return usagef("flags --persist-memory and --persist-disk: %d and %d, expected at least 1", c.persistMemory, c.persistDisk)
	}
	if c.snapshotEntries < 1 || c.trailingEntries < 1 || c.snapshotInterval < 5*time.Millisecond {
		return usagef("flags --raft-snapshot-entries, --raft-trailing-entries and --raft-snapshot-interval: %d, %d and %v, expected at least 1, 1 and 5ms",
			c.snapshotEntries, c.trailingEntries, c.snapshotInterval)
	}
	if c.expect < 0 || c.expect > maxExpect || c.expect > 0 && !c.has(roleDriver) {
		return usagef("flag --bootstrap-expect: %d, expected 0 to %d, and 0 for a node that is no driver", c.expect, maxExpect)
	}
	if c.expect == 0 && len(c.join) == 0 {
		return usagef("flags --bootstrap-expect and --join: neither is given, so the node would wait for ever; expected at least one of them")
	}
	if err := c.tls.check(); err != nil {
		return err
	}
	if key, err := hex.DecodeString(c.gossipKey); err != nil || len(key) != 0 && len(key) != gossipKeyBytes {
		// A key is not repeated in a message: those are logged.
		return usagef("flag --gossip-key: expected %d hexadecimal digits, got %d characters", 2*gossipKeyBytes, len(c.gossipKey))
	}
	if c.lease > c.heartbeat || c.lease <= 0 {
		return usagef("flag --raft-lease-timeout: %v, expected more than 0 and at most --raft-heartbeat-timeout (%v)", c.lease, c.heartbeat)
	}
	if c.election < c.heartbeat {
		return usagef("flag --raft-election-timeout: %v, expected at least --raft-heartbeat-timeout (%v)", c.election, c.heartbeat)
	}
	if _, err := c.logger(io.Discard); err != nil {
		return err
	}
	return nil
}

func (c *nodeConfig) has(role string) bool { return slices.Contains(c.roles, role) }

// secret is the key of gossip, nil for none.
func (c *nodeConfig) secret() []byte {
	key, err := hex.DecodeString(c.gossipKey)
	if err != nil || len(key) == 0 {
		return nil // check has refused the first
	}
	return key
}

// addrOf gives host:port.
func addrOf(host string, port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }

// logger makes the node's logger.
func (c *nodeConfig) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, usagef("flag --log-level: %q, expected debug, info, warn or error", c.logLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	switch strings.ToLower(c.logFormat) {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usagef("flag --log-format: %q, expected text or json", c.logFormat)
}
