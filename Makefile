# Cagenut. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED := 0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X github.com/cagenut/cagenut/internal/version.stamp=$(VERSION)
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cagenut
# What links the Temporal server takes many minutes to build for the race detector, and then finds
# the server's races beside ours: its own tests run without it.
SERVER_PKGS := /internal/devstack$$|/internal/devstack/temporaldev|/cmd/cagenut-dev|/test/

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

.PHONY: build
build: ## build cagenut and cagenut-dev into bin/
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

bin/cagenut bin/cagenut-dev: build

# The agent is fetched by every machine that boots, and held in its RAM.
AGENT_MOST := 10000000
.PHONY: agent
agent: ## what machines boot for the agent in RAM: dist/agent/vmlinuz and initrd.img, on Debian (CA=file.pem, KERNEL=package)
	mkdir -p dist/agent
	go build -trimpath -ldflags '$(LDFLAGS)' -o dist/agent/cagenut-agent ./cmd/cagenut-agent
	@size=$$(stat -c %s dist/agent/cagenut-agent); test $$size -le $(AGENT_MOST) || { echo "the agent has $$size bytes, at most $(AGENT_MOST) may be"; exit 1; }
	scripts/agent.sh dist/agent dist/agent/cagenut-agent $(CA)

.PHONY: agent-qemu
agent-qemu: agent ## boot it in a virtual machine, against the real boot service (qemu-system-x86)
	go test -tags qemu -timeout 30m -count 1 -v -run TestARealKernel ./internal/agent

.PHONY: demo
demo: build ## install a rack of 12 simulated servers before your eyes; DEMO=hold leaves it running
	./bin/cagenut-dev demo $(if $(filter hold,$(DEMO)),--hold)

.PHONY: test
test: ## everything that stands on its own in any clone: vet, layering, unit tests with a real PostgreSQL
	go vet ./...
	go test ./...

.PHONY: race
race: ## the race detector, but for packages that link the Temporal server
	CGO_ENABLED=1 go test -race $$(go list ./... | grep -vE '$(SERVER_PKGS)')

.PHONY: lint
lint: ## golangci-lint and workflowcheck, built once into the cache
	@lint=$$(scripts/tool.sh golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint v2.15.0); "$$lint" run ./...
	@check=$$(scripts/tool.sh workflowcheck go.temporal.io/sdk/contrib/tools/workflowcheck v0.6.0); "$$check" ./workflows/...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'gofmt:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go mod tidy -diff

.PHONY: e2e
e2e: build ## runs against real NetBox, sushy-emulator, ipmi_sim; kills and faults (needs ../shared)
	go test -tags e2e -timeout 60m -count 1 -v -p 2 ./bmc/redfish/reader ./test/e2e/...

.PHONY: e2e-kills-all
e2e-kills-all: build ## kills at every mutating call of every flavour (CI takes base's, and what the others have beyond)
	go test -tags e2e -timeout 60m -count 1 -v -run TestEveryCall ./test/e2e/kills -args -all

.PHONY: histories
histories: ## record the executor's histories anew, before its code changes (workflows/versions.go)
	go test ./internal/devstack/temporaldev -count 1 -run TestHistories -record ../../../workflows/testdata/histories

.PHONY: fuzz
fuzz: ## a short run of every fuzz target
	scripts/fuzz.sh 20s

.PHONY: bench-bmc
bench-bmc: ## what reading a BMC costs, beside bmclib; fails when a bound is missed (TREE=capture.tar.gz)
	go run ./bmc/redfish/reader/bench $(if $(TREE),-tree '$(TREE)')

.PHONY: bench-executor
bench-executor: ## what the executor costs beside bare activities on the same Temporal; fails below 60 %
	go run ./internal/devstack/benchexecutor

.PHONY: bench-install
bench-install: build ## machines of the box from planned to active, and what each costs; fails when the cost is not flat (N="100 1000 5000")
	go test -tags e2e -timeout 6h -count 1 -v -run TestInstall ./test/bench -args -n '$(or $(N),100 1000)'

.PHONY: clean
clean: ## remove what was built; caches stay
	rm -rf bin dist
