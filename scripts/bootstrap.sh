#!/bin/sh
# What cargo itself needs before `cargo xtask deps` can run: a C compiler, and a Rust toolchain of at least 1.95.
set -eu

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

need=""
command -v cc >/dev/null || need="$need gcc libc6-dev"
command -v make >/dev/null || need="$need make"
if [ -n "$need" ]; then
	echo "installing:$need"
	as_root apt-get update -qq
	# shellcheck disable=SC2086  # a list of words
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $need
fi
if ! command -v cargo >/dev/null; then
	echo "no cargo: installing rustup from this distribution, or Debian's rustc-web"
	as_root apt-get update -qq
	if as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends rustup 2>/dev/null; then
		rustup toolchain install 1.95.0 --profile minimal --component clippy,rustfmt
	else
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends cargo-web rustc-web
	fi
fi
cargo --version
