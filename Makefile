# Each target is a script; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help test lint bench soak fuzz mutate fmt

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{ printf "%-8s %s\n", $$1, $$2 }' Makefile

test: ## check everything: format, vet, staticcheck, go.mod, and the tests of all modules with the race detector
	@script/check

lint: ## the checks of `make test` without its tests
	@script/lint

bench: ## benchmarks of all modules (BENCH=regexp, BENCHFLAGS="-benchtime 2s -count 6")
	@script/bench

soak: ## the tests once more with long runs (SOAKTIME=2h for a package at most)
	@script/soak

fuzz: ## every fuzz target for FUZZTIME=30s (FUZZ=regexp)
	@script/fuzz $(FUZZ)

mutate: ## take out each check of the root module and internal/netguard in turn: a test must fail (TARGET=regexp)
	@go run ./internal/mutate $(if $(TARGET),-run '$(TARGET)')

fmt: ## format every Go file
	@script/fmt
