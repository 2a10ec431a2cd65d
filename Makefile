# `make` lists the targets. The recipes are plain sh; what needs root says so where it is not given.
ARCH ?= x86_64
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help hook test screenshots build engine test-tools check fuzz lint bench soak test-arm64 docs clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

hook: engine ## build HookOS into out/hook; ARCH=x86_64 or aarch64
	bin/hookbuild all --arch $(ARCH)

# What tests keep: pictures of the server's page, recorded DHCP conversations.
KEEP := -artifacts -outputdir out/test

test: check test-tools engine fuzz out/test ## everything that CI runs
	go test -timeout 2h $(KEEP) $$(go list ./... | grep -v /test$$)
	go test -timeout 5h -v -count=1 $(KEEP) ./test

screenshots: test-tools out/test ## the server's page in Chromium, and pictures of it into out/test
	go test ./internal/artifacts/serve -run InChromium -count=1 $(KEEP)

out/test:
	mkdir -p out/test

build: ## bin/hookbuild, a static program
	CGO_ENABLED=0 go build -trimpath -o bin/hookbuild ./cmd/hookbuild

engine: build ## see that a Docker Engine answers; as root on Debian, install and start one
	@.ci/engine bin/hookbuild

test-tools: ## install what the tests call; needs root where something is missing
	@.ci/test-tools

check: ## gofmt and go vet
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w:" $$unformatted >&2; exit 1; fi
	go vet ./...

# Reducing what was found would take most of the time. A number of inputs and not a time: Go up to 1.26 may fail where a
# time ends (go.dev/issue/75804).
FUZZ := -run '^$$' -fuzztime 100000x -fuzzminimizetime 20x -parallel 2
fuzz: ## each reader of foreign files with 100,000 made-up inputs
	go test ./internal/filetree $(FUZZ) -fuzz '^FuzzApplyTar$$'
	go test ./internal/initramfs $(FUZZ) -fuzz '^FuzzReader$$'
	go test ./internal/initramfs $(FUZZ) -fuzz '^FuzzOpen$$'
	go test ./internal/hardware/kbuild $(FUZZ) -fuzz '^FuzzParse$$'
	go test ./internal/hardware/modinfo $(FUZZ) -fuzz '^FuzzAdd$$'
	go test ./internal/linuxkit $(FUZZ) -fuzz '^FuzzParse$$'
	go test ./internal/linuxkit $(FUZZ) -fuzz '^FuzzLabel$$'
	go test ./internal/artifacts/serve $(FUZZ) -fuzz '^FuzzRoute$$'
	go test ./internal/artifacts/serve $(FUZZ) -fuzz '^FuzzRange$$'
	go test ./internal/dhcp/probe $(FUZZ) -fuzz '^FuzzReadOffer$$'
	go test ./internal/hardware $(FUZZ) -fuzz '^FuzzReadCSV$$'
	go test ./internal/hardware/device $(FUZZ) -fuzz '^FuzzReadLspci$$'
	go test ./internal/hardware/device $(FUZZ) -fuzz '^FuzzReadModalias$$'

lint: check ## check, and golangci-lint with .golangci.yml
	go run $(GOLANGCI) run ./...

bench: test-tools engine ## benchmarks, and the numbers of docs/benchmarks.md; takes long
	go test -run '^$$' -bench . $$(go list ./... | grep -v /test$$)
	go test ./test -tags bench -run Bench -v -timeout 2h

soak: test-tools engine out/test ## tests that take hours, whole kernel builds among them
	go test ./internal/artifacts/serve -tags soak -v -count=1 -timeout 1h $(KEEP)
	go test ./internal/artifacts/serve -run '^$$' -fuzztime 3000000x -fuzzminimizetime 20x -parallel 2 -fuzz '^FuzzRoute$$'
	go test ./internal/artifacts/serve -run '^$$' -fuzztime 3000000x -fuzzminimizetime 20x -parallel 2 -fuzz '^FuzzRange$$'
	go test ./test -tags soak -run Soak -v -timeout 5h -parallel 12 $(KEEP)

test-arm64: test-tools engine ## HookOS for aarch64 in QEMU: Docker, agent, embedded images; takes long
	go test ./test -tags soak -run '^TestSoak$$/arm64_provisions' -v -timeout 1h

docs: ## write docs/cli.md, and the examples of docs/dhcp.md, anew from the program itself
	go test ./cmd/hookbuild -run 'TestCLIReference|TestDHCPExamples' -update

clean: ## remove bin and out; the engine's images and the cache stay
	rm -rf bin out
