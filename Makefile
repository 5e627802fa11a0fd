# Everything that is done to this tree is done by a target here; `make` alone lists them.
# A target without a `##` sentence fails the structure test, so the list is complete.

SHELL         := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-builtin-rules

VERSION = $(shell git describe --always --dirty 2>/dev/null || echo unknown)

# Packages with a target of their own: they need root, many minutes, or a world of their own.
APART = /integration/(sim(/|$$)|(lab|machine|bench)$$)
UNIT  = $$(go list -e ./... | grep -vE '$(APART)')
# One build of everything serves the tests without the race detector, the linter and the programs that
# lab and machine run. vet is a check of `make lint`, for all packages.
export CGO_ENABLED = 0

.PHONY: help
help: ## list the targets (this)
	@awk -F ':[^#]*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/haagent and bin/haadm, static, stamped with the commit
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/haagent ./cmd/haadm

.PHONY: demo
demo: build ## a cluster of three hosts on this machine, one of them dies; DEMO=embedded|libvirt chooses the hypervisor
	@if [ "$$(id -u)" = 0 ] && [ "$$DEMO" != embedded ]; then \
		.ci/install lab || { [ "$$DEMO" != libvirt ] && echo "going on with the embedded hypervisor"; }; fi
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o bin/demo ./integration/demo
	bin/demo

.PHONY: test
test: ## everything: installs what the tests need, then unit, long, sim, lint, model and (as root) lab and machine; at most 25 minutes
	@.ci/test

.PHONY: unit
unit: ## tests of every package, with the race detector and few random draws (`make long` has them all); no root, no libvirt
	CGO_ENABLED=1 .ci/gotest unit -race -short -vet=off -timeout 5m $(UNIT)

.PHONY: long
long: ## the tests that draw at random or compute for long, in full; without the race detector, which takes many times as long
	@.ci/long

.PHONY: sim
sim: ## whole clusters in virtual time: the scenarios and random runs
	.ci/gotest sim -vet=off -timeout 6m30s ./integration/sim/...

# Two packages at a time: beside vmm/libvirt, which takes half a minute, integration/lab tries its
# own harness, and no lease is at stake yet.
LAB_LIMIT ?= 15m

.PHONY: lab
lab: ## (root) hosts in namespaces with their own libvirtd and real guests
	@[ "$$(id -u)" = 0 ] || { echo "make lab needs root: it makes namespaces and starts libvirtd" >&2; exit 1; }
	@.ci/install lab
	HOLDFAST_LAB=1 TEST_FORMAT=standard-verbose .ci/gotest lab -count=1 -vet=off -p 2 -timeout $(LAB_LIMIT) ./integration/lab ./vmm/libvirt/...

MACHINE_LIMIT ?= 15m

.PHONY: machine
machine: ## three machines in QEMU with a real watchdog and a heartbeat volume: resets, and takeovers after them; five minutes with nothing else running
	@.ci/install machine
	HOLDFAST_MACHINE=1 TEST_FORMAT=standard-verbose .ci/gotest machine -count=1 -vet=off -timeout $(MACHINE_LIMIT) ./integration/machine

.PHONY: systemd
systemd: ## (root) the package under a real systemd, in three containers: upgrade, power-off, reboot; not part of test; three minutes
	@[ "$$(id -u)" = 0 ] || { echo "make systemd needs root: it boots containers" >&2; exit 1; }
	@.ci/install lab systemd
	@$(MAKE) --no-print-directory package
	HOLDFAST_SYSTEMD=1 TEST_FORMAT=standard-verbose .ci/gotest systemd -count=1 -timeout 15m ./integration/systemd

.PHONY: mutation
mutation: ## each rule of docs/safety.md left out once, and the test that must then fail; a quarter of an hour
	HOLDFAST_MUTATION=1 TEST_FORMAT=standard-verbose .ci/gotest mutation -count=1 -timeout 60m ./integration/mutation

.PHONY: lint
lint: ## gofmt, go vet, golangci-lint (.golangci.yml), go mod tidy; the linter's first build takes minutes
	@.ci/lint

.PHONY: race
race: ## the race detector over everything that needs no root, with all random draws, sim included
	CGO_ENABLED=1 .ci/gotest race -race -timeout 20m $(UNIT) ./integration/sim/...

.PHONY: bench
bench: ## measurements, on a quiet machine: recovery times in virtual time (MEASURE_RUNS runs each, 200), what a volume costs; as root also the guard under load, real guests, and the agents' footprint
	go test ./cluster/placement -count=1 -v -run TestMeasures -measure
	go test ./cluster/master -count=1 -v -timeout 20m -run TestMeasures -measure
	go test ./integration/sim -count=1 -v -timeout 60m -run 'TestRecoveryTimes|TestOrderlyShutdownTimes' -measure-runs $(or $(MEASURE_RUNS),200)
	@if [ "$$(id -u)" = 0 ]; then .ci/install lab && HOLDFAST_LAB=1 HOLDFAST_BENCH=1 go test ./integration/lab -count=1 -v -timeout 20m -run 'TestLabRecoveryTime|TestLabFootprint|TestLabStorage/power_loss'; \
	else echo "not measured: recovery of real guests and the agents' footprint need root"; fi
	HOLDFAST_BENCH=1 go test -p 1 ./fencing ./storagehb -count=1 -v -run TestMeasure

.PHONY: soak
soak: ## random faults on whole clusters in virtual time, of which make sim has 120: SEEDS runs (2000) from FIRST_SEED (1) on
	go test ./integration/sim -count=1 -v -timeout 0 -run 'TestRandomFaults$$' -seeds $(or $(SEEDS),2000) -first-seed $(or $(FIRST_SEED),1)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (20s) each
	@.ci/fuzz

.PHONY: model
model: ## the Spin models of the lease and of takeover (docs/model); MODEL=full for larger bounds, MODEL_JOBS (2) at a time
	@.ci/model

.PHONY: fmt
fmt: ## gofmt every Go file of the tree
	@find . -name '*.go' -not -path './.*' -print0 | xargs -0 gofmt -l -w

.PHONY: packages
packages: ## (root) install the Debian packages that test and demo need (.ci/packages)
	@.ci/install test lab

.PHONY: clean
clean: ## remove what was built and the outputs of the tests; Go's own caches stay
	rm -rf bin dist .cache

.PHONY: package
package: build ## dist/: a deb and an rpm of this commit; the packager's first build takes minutes
	@.ci/pack
