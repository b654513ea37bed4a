package cli

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/raftstream/raftstream/client"
	"github.com/raftstream/raftstream/internal/rpc"
)

const defaultAddr = "127.0.0.1:7077"

// globals are the flags that every command has.
type globals struct {
	addr    string
	output  string
	timeout time.Duration
	tls     tlsFiles
}

// tlsFiles name the PEM files of a TLS connection: all or none.
type tlsFiles struct{ cert, key, authority string }

func (t *tlsFiles) flags(flags *pflag.FlagSet, getenv func(string) (string, bool)) {
	for _, f := range []struct {
		to          *string
		name, usage string
	}{
		{&t.cert, "tls-cert", "PEM file with a certificate; with --tls-key and --tls-ca everything on the rpc port is TLS"},
		{&t.key, "tls-key", "PEM file with its key"},
		{&t.authority, "tls-ca", "PEM file with the authority that signed every node's and client's certificate"},
	} {
		value, _ := getenv(envName(f.name))
		flags.StringVar(f.to, f.name, value, f.usage)
	}
}

func (t *tlsFiles) check() error {
	if (t.cert == "") != (t.key == "") || (t.cert == "") != (t.authority == "") {
		return usagef("flags --tls-cert, --tls-key and --tls-ca: expected all or none of them")
	}
	return nil
}

// client gives the client's side of TLS; nil without.
func (t *tlsFiles) client() ([]client.Option, error) {
	if t.cert == "" {
		return nil, nil
	}
	s, err := rpc.LoadSecurity(t.cert, t.key, t.authority)
	if err != nil {
		return nil, usagef("TLS: %w", err)
	}
	return []client.Option{client.WithTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*s.Certificate}, RootCAs: s.Authority,
	})}, nil
}

// rootCommand builds the whole command tree anew, so that no state is left from one run to the next.
func (e *env) rootCommand() *cobra.Command {
	var g globals
	root := &cobra.Command{
		Use:   "raftstream",
		Short: "Streaming applications on a cluster of equal nodes",
		Long: "raftstream runs streaming applications in small batches on a cluster of equal nodes.\n" +
			"What the driver decides is a replicated log: when a node dies, the others go on.",
		Example:       "  raftstream demo\n  raftstream submit wordcount --param source=ingest --param out=/shared/wc",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	addr := defaultAddr
	if v, ok := e.getenv("RAFTSTREAM_ADDR"); ok && v != "" {
		addr = v
	}
	flags := root.PersistentFlags()
	flags.StringVar(&g.addr, "addr", addr, "rpc addresses of some nodes, HOST:PORT[,HOST:PORT...]; any node will do (env RAFTSTREAM_ADDR)")
	flags.StringVarP(&g.output, "output", "o", "table", "table or json")
	flags.DurationVar(&g.timeout, "timeout", 10*time.Second, "how long to look for a leader and to wait for its answer")
	g.tls.flags(flags, e.getenv)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if g.output != "table" && g.output != "json" {
			return usagef("flag --output: %q, expected table or json", g.output)
		}
		if g.timeout <= 0 {
			return usagef("flag --timeout: %v, expected more than 0", g.timeout)
		}
		return g.tls.check()
	}
	root.AddCommand(
		e.startCommand(), e.demoCommand(&g),
		e.submitCommand(&g), e.stopCommand(&g), e.resumeCommand(&g),
		e.appsCommand(&g), e.appCommand(&g), e.batchesCommand(&g), e.receiversCommand(&g), e.eventsCommand(&g), e.membersCommand(&g),
		e.ledgerCommand(&g), e.ingestCommand(&g), e.versionCommand(&g),
	)
	for _, command := range e.more {
		root.AddCommand(command())
	}
	root.SetOut(e.out)
	root.InitDefaultCompletionCmd() // cobra would add it later, where its arguments were not looked at
	if shells, _, err := root.Find([]string{"completion"}); err == nil {
		shells.Example = "  raftstream completion bash > /etc/bash_completion.d/raftstream"
		shells.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	usageArguments(root)
	return root
}

// usageArguments makes wrong arguments of any command wrong usage.
func usageArguments(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		check = cobra.ArbitraryArgs
	}
	cmd.Args = func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usagef("%w; usage: %s", err, c.UseLine())
		}
		return nil
	}
	for _, sub := range cmd.Commands() {
		usageArguments(sub)
	}
}

// call runs f with a client of the cluster and the command's time limit.
func (e *env) call(ctx context.Context, g *globals, f func(context.Context, *client.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	return e.dial(ctx, g, f)
}

// dial runs f with a client of the cluster.
func (e *env) dial(ctx context.Context, g *globals, f func(context.Context, *client.Client) error) (err error) {
	seeds := strings.Split(g.addr, ",")
	for i := range seeds {
		seeds[i] = strings.TrimSpace(seeds[i])
	}
	options, err := g.tls.client()
	if err != nil {
		return err
	}
	c, err := client.Dial(seeds, options...)
	if err != nil {
		return usagef("flag --addr: %w", err)
	}
	defer func() {
		if closeErr := c.Close(); err == nil {
			err = closeErr
		}
	}()
	return f(ctx, c)
}
