# Everything here needs Go, make and git, and the Go module proxy for the first run; nothing else is installed.

GO        ?= go
PKGS      ?= ./...
FUZZTIME  ?= 10s
BENCH     ?= .
DEMOFLAGS ?=
BENCHFLAGS ?=
SOAK      ?= 50
MINUTES   ?= 10
SEED      ?=
NODES     ?= 1,2,3,4,5
BUG       ?= .*
ZOOFLAGS  ?=

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/raftstream/raftstream/cli.version=$(VERSION) -X github.com/raftstream/raftstream/cli.commit=$(COMMIT)

# Tools are pinned in a module of their own, so that the main module's graph stays that of the product.
TOOL := $(GO) tool -modfile=tools/go.mod

.PHONY: build demo test race soak chaos jepsen zoo lint bench microbench fuzz generate generate-check clean check

build: ## bin/raftstream, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/raftstream ./cmd/node

demo: build ## three nodes, word count, the leader killed, the verdict
	./bin/raftstream demo $(DEMOFLAGS)

test: ## all tests
	$(GO) test -shuffle=on -timeout 20m $(PKGS)

race: ## all tests with the race detector
	$(GO) test -race -shuffle=on -timeout 30m $(PKGS)

soak: ## SOAK clusters under random faults, one after the other, about 35 s each; files of failed ones stay in tmp/soak
	@mkdir -p tmp/soak
	$(GO) test ./test/cluster -run TestRunningTotalsAreExactWhateverNodeFails -count $(SOAK) -timeout 0 -keep $(CURDIR)/tmp/soak

# What breaks clusters, and what must hold of them: docs/proof.md. Runs that are not green stay in tmp/store.
SEEDFLAG = $(if $(SEED),--seed $(SEED))

chaos: build ## two minutes: seeds in virtual time, clusters of real processes under faults, bugs planted that must be caught
	$(GO) test ./test/simulation -run TestSeeds -seeds 300 -timeout 5m
	./bin/raftstream chaos soak --node build --runs 2 --time 15s --every 3s --nodes 3 $(SEEDFLAG) --dir tmp/store
	$(GO) test -tags bugzoo ./test/jepsen-style/zoo -run TestEveryBugIsCaught -timeout 10m -layers 1 -rotate 3

jepsen: build ## MINUTES=10 of random faults against two clusters at a time of 1 to 5 nodes (NODES=), from SEED=; all kinds with root, loudly fewer without
	./bin/raftstream chaos soak --node build --for $(MINUTES)m --nodes $(NODES) --time 40s --every 2500ms --parallel 2 $(SEEDFLAG) --dir tmp/store

zoo: ## every planted bug must be caught by its test; BUG=name hunts one, ZOOFLAGS='-rotate 3 -seed 1' some of them
	$(GO) test -tags bugzoo ./test/jepsen-style/zoo -run TestEveryBugIsCaught -timeout 0 -v -bug '$(BUG)' $(ZOOFLAGS)

lint: generate-check ## format, vet, staticcheck, generated code
	@out=$$($(TOOL) gofumpt -l .); if [ -n "$$out" ]; then echo "not formatted, run gofumpt -w:"; echo "$$out"; exit 1; fi
	$(GO) vet $(PKGS)
	$(TOOL) staticcheck $(PKGS)

bench: build ## what we promise, measured, as a table in Markdown; some minutes, BENCHFLAGS='-only start,commit' for less
	$(GO) run ./bench -node bin/raftstream $(BENCHFLAGS)

microbench: ## benchmarks of the packages, BENCH selects
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $(PKGS)

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for pkg in $$($(GO) list $(PKGS)); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

generate: ## Go code of every .proto file
	$(GO) -C tools run ./protogen -root ..

generate-check:
	$(GO) -C tools run ./protogen -root .. -check

clean: ## what the targets above made
	rm -rf bin

check: lint test ## what must be green before a commit
