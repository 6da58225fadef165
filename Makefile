# The commands of a newcomer; each installs what it needs, naming it.

# Where scripts/bootstrap.sh puts cargo, on a machine without it.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(PATH):$(CARGO_HOME)/bin

.PHONY: all test test-kernels demo bench fuzz deps help

help:
	@echo "make test    every test, the virtual machine included"
	@echo "make test-kernels    every test of the virtual machine on every supported kernel, with both compilers"
	@echo "make demo    a real nginx under its policy, and what becomes of attempts from inside"
	@echo "make bench   instruction counts in the virtual machine, compile times, table sizes"
	@echo "make fuzz    random YAML against the parser and the compiler, for FUZZ_SECONDS (default 60)"
	@echo "make deps    the Debian packages that all this needs"

deps:
	@sh scripts/bootstrap.sh
	@cargo xtask deps --install

test: deps
	@cargo xtask test

test-kernels: deps
	@cargo xtask test-kernels

demo: deps
	@cargo xtask demo

bench: deps
	@cargo xtask bench

fuzz: deps
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} cargo test --locked --release -p palisade-system-tests --test fuzz -- --nocapture
