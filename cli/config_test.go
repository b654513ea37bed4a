package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// testEnv is an environment whose variables and input are given.
func testEnv(vars map[string]string, stdin string) (e *env, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return &env{
		in: strings.NewReader(stdin), out: stdout, err: stderr,
		getenv: func(k string) (string, bool) { v, ok := vars[k]; return v, ok },
	}, stdout, stderr
}

type settings struct {
	Data string
	Port int
	Join []string
}

// parse parses args, environment and file as start does.
func parse(t *testing.T, e *env, args []string, file string) (settings, error) {
	t.Helper()
	var s settings
	flags := pflag.NewFlagSet("start", pflag.ContinueOnError)
	flags.StringVar(&s.Data, "data", "default", "")
	flags.IntVar(&s.Port, "rpc-port", 7077, "")
	flags.StringSliceVar(&s.Join, "join", nil, "")
	var settable []string
	flags.VisitAll(func(f *pflag.Flag) { settable = append(settable, f.Name) })
	config := flags.String("config", "", "")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if file != "" {
		*config = filepath.Join(t.TempDir(), "node.yaml")
		if err := os.WriteFile(*config, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := e.settle(flags, settable)
	return s, err
}

func TestFlagsOverrideEnvironmentOverridesFile(t *testing.T) {
	file := "data: from-file\nrpc-port: 1\njoin: [a:1, b:2]\n"
	tests := []struct {
		name string
		args []string
		vars map[string]string
		file string
		want settings
	}{
		{"defaults", nil, nil, "", settings{"default", 7077, nil}},
		{"file", nil, nil, file, settings{"from-file", 1, []string{"a:1", "b:2"}}},
		{"file with one value for a list", nil, nil, "join: a:1", settings{"default", 7077, []string{"a:1"}}},
		{
			"environment over file", nil,
			map[string]string{"RAFTSTREAM_RPC_PORT": "2", "RAFTSTREAM_JOIN": "c:3,d:4"},
			file,
			settings{"from-file", 2, []string{"c:3", "d:4"}},
		},
		{
			"flags over environment",
			[]string{"--rpc-port", "3", "--join", "e:5"},
			map[string]string{"RAFTSTREAM_RPC_PORT": "2", "RAFTSTREAM_JOIN": "c:3"},
			file,
			settings{"from-file", 3, []string{"e:5"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _, _ := testEnv(tt.vars, "")
			got, err := parse(t, e, tt.args, tt.file)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v, expected %+v", got, err, tt.want)
			}
		})
	}
}

func TestWrongConfigurationIsNamed(t *testing.T) {
	tests := []struct {
		name string
		vars map[string]string
		file string
		want []string
	}{
		{"unknown key", nil, "data: x\nrcp-port: 1\n", []string{"line 2", `"rcp-port"`, "rpc-port"}},
		{"wrong type in the file", nil, "rpc-port: many\n", []string{"key rpc-port", `"many"`, "int"}},
		{"wrong type in the environment", map[string]string{"RAFTSTREAM_RPC_PORT": "many"}, "", []string{"RAFTSTREAM_RPC_PORT", `"many"`}},
		{"nested values", nil, "data: {a: 1}\n", []string{"key data", "expected a value"}},
		{"no YAML", nil, "data: [\n", []string{"node.yaml"}},
		{"no such file", map[string]string{"RAFTSTREAM_CONFIG": "/nowhere/node.yaml"}, "", []string{"/nowhere/node.yaml"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, _, _ := testEnv(tt.vars, "")
			_, err := parse(t, e, nil, tt.file)
			if statusOf(err) != statusUsage {
				t.Fatalf("got %v, expected wrong usage", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not name %s", err, w)
				}
			}
		})
	}
}

func TestALongHostNameGivesAShortNodeName(t *testing.T) {
	for host, want := range map[string]string{
		"a":                                    "a",
		"n1.example.org":                       "n1.example.org",
		"ip-172-31-22-101.region.internal.org": "ip-172-31-22-101",
	} {
		if got := nodeName(host); got != want {
			t.Errorf("%s: %s, expected %s", host, got, want)
		}
	}
}
