# The targets' names are a contract: see CONTRIBUTING.md. Tools and the machine
# image of later tests are cached outside the tree, keyed by version.
SHELL := /bin/bash
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/antipode
GOLANGCI_VERSION := v2.15.0
GOFUMPT_VERSION := v0.12.0
GOLANGCI := $(CACHE)/tools/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint
GOFUMPT := $(CACHE)/tools/gofumpt-$(GOFUMPT_VERSION)/gofumpt
FUZZTIME ?= 60s
MACHINE := ANTIPODE_BIN=$(CURDIR)/bin/antipode XDG_CACHE_HOME=$(patsubst %/antipode,%,$(CACHE))
export CGO_ENABLED := 0

.PHONY: build
build: ## bin/antipode, one static binary
	go build -trimpath -buildvcs=auto -ldflags "-s -w" -o bin/antipode ./daemon/cmd/antipode

.PHONY: demo
demo: deps build ## the main job, on two real file systems, with two daemons; FS=zfs shows it on ZFS
	$(if $(filter zfs,$(FS)),XDG_CACHE_HOME=$(patsubst %/antipode,%,$(CACHE)) integration/machine/demo.sh bin/antipode,go run ./integration/demo -antipode bin/antipode)

.PHONY: deps
deps: ## installs what the demo and the tests need and this machine lacks
	@integration/deps.sh

.PHONY: test
test: deps check test-unit test-btrfs test-machine ## everything that CI runs

.PHONY: test-unit
test-unit: ## all packages but the ones that need a file system
	go test $$(go list ./... | grep -v -e /integration/ -e 'btrfs/\(activate\|receive\|source\|syncfs\|target\)$$')

.PHONY: test-btrfs
test-btrfs: deps build ## drivers, daemons and faults on real Btrfs (root)
	ANTIPODE_BIN=$(CURDIR)/bin/antipode go test -count=1 -timeout 25m ./fsdrivers/btrfs/... ./integration/...
	go test -count=1 -timeout 15m -tags failpoints ./integration/crash

# What loses most if it breaks is run each day, of the rest a part, each on one version and
# one kind of dataset; make test-zfs runs all in all.
ZFS_TURN ?= $(shell date -u +%-j)
MACHINE_PACKAGES := ./integration/machine/smoke ./integration/crash ./integration/zfs ./integration/zfs/crossing

.PHONY: test-machine
test-machine: deps build ## driver and daemons on OpenZFS (2.3 and 2.4) and disks that fail: in the test machine (root, once)
	ZFS_TURN=$(ZFS_TURN) $(MACHINE) integration/machine/test.sh $(MACHINE_PACKAGES)

.PHONY: test-zfs
test-zfs: deps build ## its ZFS part alone, with all of the drivers' contract on each kind of dataset and version
	MACHINE_TAGS=zfs $(MACHINE) integration/machine/test.sh

.PHONY: test-kills
test-kills: deps build ## 100 kills and cuts at random moments of one ZFS copy (8 in make test)
	ANTIPODE_KILLS=100 MACHINE_RUN=TestCopySurvivesKillsAndCuts MACHINE_MINUTES=60 ZFS_SERIES=2.3 MACHINE_TAGS=zfs $(MACHINE) integration/machine/test.sh ./integration/zfs/crossing

.PHONY: check
check: $(GOLANGCI) $(GOFUMPT) ## format, vet, lint, floors
	@out=$$($(GOFUMPT) -l .); [ -z "$$out" ] || { echo "not formatted by gofumpt:"; echo "$$out"; exit 1; }
	go vet ./...
	$(GOLANGCI) run ./...
	go test ./integration/floors

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each
	integration/fuzz.sh $(FUZZTIME)

.PHONY: deps-bench
deps-bench:
	integration/bench/deps.sh

.PHONY: bench
bench: deps deps-bench build ## the figures of the README, one line each
	go run ./integration/bench -antipode bin/antipode
	go run ./integration/bench/small
	go run ./integration/bench/policy

.PHONY: endure
endure: deps ## a hundred random kills and cuts during one Btrfs copy (half an hour)
	ANTIPODE_KILLS=100 go test -count=1 -v -timeout 60m -run TestOneBtrfsCopySurvivesRandomKillsAndCuts ./integration/crossing

# ONLY=wan_1gbit runs one figure; also: Loss, Gbit, Resend, Rivals, Pack.
ONLY ?= .
WAN_PARTS = $(if $(filter wan_200ms% wan_cubic%,$(ONLY)),Loss/$(ONLY),$(if $(filter wan_1gbit,$(ONLY)),Gbit,$(if $(filter resend_link_loss,$(ONLY)),Resend,$(if $(filter wan_vs_ssh_cubic,$(ONLY)),Rivals,$(if $(filter wan_pack%,$(ONLY)),Pack,$(ONLY))))))

.PHONY: bench-wan
bench-wan: build ## the figures of long links, beside ssh, mbuffer and TLS on the same link (root); ONLY=NAME for one
	@integration/deps.sh wan
	ANTIPODE_BIN=$(CURDIR)/bin/antipode go test -run '^$$' -bench '$(WAN_PARTS)' -benchtime 1x -timeout 30m -v ./integration/benchwan

.PHONY: clean
clean: ## removes what the build made in the tree
	rm -rf bin

$(GOLANGCI):
	GOBIN=$(dir $@) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

$(GOFUMPT):
	GOBIN=$(dir $@) go install mvdan.cc/gofumpt@$(GOFUMPT_VERSION)
