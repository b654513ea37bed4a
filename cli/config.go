package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settle gives every flag that the command line leaves out its value from the environment, else from the file; what is
// in neither keeps its default. The environment variable of --rpc-port is RAFTSTREAM_RPC_PORT, its key in the file
// rpc-port. A list is separated by commas in the environment and a list in the file.
func (e *env) settle(flags *pflag.FlagSet, settable []string) error {
	path := flags.Lookup("config").Value.String()
	if path == "" {
		path, _ = e.getenv(envName("config"))
	}
	file, err := readConfig(path, settable)
	if err != nil {
		return err
	}
	for _, name := range settable {
		f := flags.Lookup(name)
		if f.Changed {
			continue
		}
		if v, ok := e.getenv(envName(name)); ok {
			if err := set(f, strings.Split(v, ",")); err != nil {
				return usagef("environment %s: %w", envName(name), err)
			}
		} else if v, ok := file[name]; ok {
			if err := set(f, v); err != nil {
				return usagef("file %s, key %s: %w", path, name, err)
			}
		}
	}
	return nil
}

func envName(flag string) string {
	return "RAFTSTREAM_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func set(f *pflag.Flag, values []string) error {
	var err error
	if list, ok := f.Value.(pflag.SliceValue); ok {
		err = list.Replace(values)
	} else {
		err = f.Value.Set(strings.Join(values, ","))
	}
	if err != nil {
		return fmt.Errorf("%q: expected a value of type %s: %w", strings.Join(values, ","), f.Value.Type(), err)
	}
	f.Changed = true
	return nil
}

// readConfig reads a YAML file of flags' names and values; no path gives no values. Unknown keys are errors, because a
// setting that has no effect is worse than none.
func readConfig(path string, known []string) (map[string][]string, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("configuration: %w", err)
	}
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(text, &nodes); err != nil {
		return nil, usagef("configuration file %s: %w", path, err)
	}
	values := make(map[string][]string)
	for key, node := range nodes {
		if !slices.Contains(known, key) {
			return nil, usagef("configuration file %s, line %d: unknown key %q, expected one of %s", path, node.Line, key, strings.Join(known, ", "))
		}
		v, err := nodeValues(&node)
		if err != nil {
			return nil, usagef("configuration file %s, line %d, key %s: %w", path, node.Line, key, err)
		}
		values[key] = v
	}
	return values, nil
}

func nodeValues(n *yaml.Node) ([]string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return []string{n.Value}, nil
	case yaml.SequenceNode:
		var all []string
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: expected a list of plain values", c.Line)
			}
			all = append(all, c.Value)
		}
		return all, nil
	}
	return nil, fmt.Errorf("expected a value or a list of values")
}
