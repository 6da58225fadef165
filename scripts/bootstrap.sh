#!/bin/sh
# What cargo itself needs before `cargo xtask deps` can run: a C compiler, and the Rust toolchain of rust-toolchain.toml
# with clippy and rustfmt. Says what it installs; installs nothing that is there.
set -eu
cd "$(dirname "$0")/.."

toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
# rustup's installer, by the checksums that its publisher gives beside it.
rustup=1.28.2
rustup_sha256_x86_64=20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c
rustup_sha256_aarch64=e3853c5a252fca15252d07cb23a1bdd9377a8c6f3efa01531109281ae47f841c

fail() {
	echo "bootstrap: $*" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		fail "not root and no sudo here; run as root: $*"
	fi
}

install_packages() { # NAME...
	command -v apt-get >/dev/null || fail "no apt-get here (Debian 12 and Ubuntu 24.04 are supported); install by hand: $*"
	echo "installing packages: $*"
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

need=""
command -v cc >/dev/null || need="$need gcc libc6-dev"
command -v make >/dev/null || need="$need make"
if ! command -v rustup >/dev/null; then
	command -v curl >/dev/null || need="$need curl"
	[ -e /etc/ssl/certs/ca-certificates.crt ] || need="$need ca-certificates"
fi
# shellcheck disable=SC2086  # a list of words
[ -z "$need" ] || install_packages $need

# A cargo that is there and is the right one needs no rustup; Debian 12's own is too old for the workspace.
if [ "$(cargo --version 2>/dev/null | cut -d' ' -f2)" != "$toolchain" ] && ! command -v rustup >/dev/null; then
	machine=$(uname -m)
	eval "sum=\${rustup_sha256_$machine:-}"
	[ -n "$sum" ] || fail "no rustup for $machine is known; install Rust $toolchain by hand"
	echo "installing rustup $rustup in ${CARGO_HOME:-$HOME/.cargo}"
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	curl -fsSL --retry 3 -o "$dir/rustup-init" \
		"https://static.rust-lang.org/rustup/archive/$rustup/$machine-unknown-linux-gnu/rustup-init"
	echo "$sum  $dir/rustup-init" | sha256sum --check --quiet
	chmod +x "$dir/rustup-init"
	"$dir/rustup-init" -y --quiet --no-modify-path --profile minimal --default-toolchain none
	PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi
if command -v rustup >/dev/null && ! rustup component list --toolchain "$toolchain" 2>/dev/null | grep -q '^clippy.*(installed)'; then
	echo "installing Rust $toolchain with clippy and rustfmt"
	rustup --quiet toolchain install "$toolchain" --profile minimal --component clippy,rustfmt
fi
cargo --version
