// Command protogen makes Go code of every .proto file of the repository, without a protoc binary: it compiles them with
// protocompile and gives the descriptors to the plugins that this module pins.
//
// Files under api/ are named below api/ ("raftstream/v1/x.proto"), those under internal/ from the root of the
// repository ("internal/ledgerpb/x.proto"). Output lies beside its source. Run it by `make generate`; with -check it
// writes nothing and fails when a file would change.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins are the tools of this module's go.mod that are run, each with the whole request.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

func main() {
	root := flag.String("root", "..", "root of the repository")
	check := flag.Bool("check", false, "write nothing, fail when a generated file is not up to date")
	flag.Parse()
	if err := run(context.Background(), *root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, root string, check bool) error {
	dirs, err := find(root)
	if err != nil || len(dirs) == 0 {
		return err
	}
	request, err := compile(ctx, root, dirs)
	if err != nil {
		return err
	}
	var stale []string
	for _, plugin := range plugins {
		files, err := generate(ctx, plugin, request)
		if err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
		for _, f := range files {
			source := strings.TrimSuffix(strings.TrimSuffix(f.GetName(), ".pb.go"), "_grpc") + ".proto"
			path := filepath.Join(root, dirs[source], f.GetName())
			old, err := os.ReadFile(path)
			if err == nil && string(old) == f.GetContent() {
				continue
			}
			stale = append(stale, path)
			if check {
				continue
			}
			if err := os.WriteFile(path, []byte(f.GetContent()), 0o644); err != nil {
				return err
			}
			fmt.Println("wrote", path)
		}
	}
	if check && len(stale) > 0 {
		return fmt.Errorf("not up to date, run make generate: %s", strings.Join(stale, ", "))
	}
	return nil
}

// find gives every .proto file by the name it is imported under, with the directory below root that the name starts at.
func find(root string) (map[string]string, error) {
	dirs := make(map[string]string)
	for _, top := range []struct{ dir, base string }{{"api", "api"}, {"internal", "."}} {
		err := filepath.WalkDir(filepath.Join(root, top.dir), func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return fs.SkipAll
			}
			if err != nil || d.IsDir() || filepath.Ext(path) != ".proto" {
				return err
			}
			name, err := filepath.Rel(filepath.Join(root, top.base), path)
			dirs[filepath.ToSlash(name)] = top.base
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look for .proto files: %w", err)
		}
	}
	return dirs, nil
}

// compile checks the files and makes the plugins' request of them, in an order that depends on nothing but their names.
func compile(ctx context.Context, root string, dirs map[string]string) ([]byte, error) {
	names := make([]string, 0, len(dirs))
	for name := range dirs {
		names = append(names, name)
	}
	slices.Sort(names)
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			ImportPaths: []string{filepath.Join(root, "api"), root},
		}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(ctx, names...)
	if err != nil {
		return nil, err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String("paths=source_relative"),
		ProtoFile:      withImports(files),
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(request)
}

// withImports gives the descriptors of files and all that they import, each after its imports.
func withImports(files linker.Files) []*descriptorpb.FileDescriptorProto {
	var all []*descriptorpb.FileDescriptorProto
	seen := make(map[string]bool)
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		all = append(all, protoutil.ProtoFromFileDescriptor(f))
	}
	for _, f := range files {
		add(f)
	}
	return all
}

// generate runs one plugin and gives the files that it makes.
func generate(ctx context.Context, plugin string, request []byte) ([]*pluginpb.CodeGeneratorResponse_File, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Stdin = bytes.NewReader(request)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return nil, fmt.Errorf("read its answer: %w", err)
	}
	if response.GetError() != "" {
		return nil, fmt.Errorf("%s", response.GetError())
	}
	return response.GetFile(), nil
}
