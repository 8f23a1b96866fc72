# Sourced by tests/run and tests/demo: finds or installs what they need on Debian and Ubuntu.
#
# What cannot be had without root is installed with apt (through sudo, said beforehand). etcd is not installed but
# unpacked under target/tools: Debian's package would start an etcd of its own on this machine, and the tests only
# want the program.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
tools=$CARGO_TARGET_DIR/tools
export PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin:$tools/usr/bin

has() { command -v "$1" > /dev/null 2>&1; }

# as_root COMMAND...: runs it, through sudo if need be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        echo "setup: root is needed for: $*" >&2
        return 1
    fi
}

# The packages that are missing, one line.
missing_packages() {
    has ip && has bridge || printf 'iproute2 '
    has nft || printf 'nftables '
    has nsenter || printf 'util-linux '
    has cc || printf 'gcc libc6-dev '
    # libFuzzer is written in it.
    has c++ || printf 'g++ '
    has strace || printf 'strace '
    has protoc || printf 'protobuf-compiler '
    [ -e /usr/include/google/protobuf/descriptor.proto ] || printf 'libprotobuf-dev '
    # Only root can boot a machine with a cable to the lab, or a small system.
    [ "$(id -u)" != 0 ] || has qemu-system-x86_64 || printf 'qemu-system-x86 '
    [ "$(id -u)" != 0 ] || has depmod || printf 'kmod '
    [ "$(id -u)" != 0 ] || has systemd-nspawn || printf 'systemd-container '
    [ "$(id -u)" != 0 ] || has mmdebstrap || printf 'mmdebstrap '
    [ "$(id -u)" != 0 ] || has openssl || printf 'openssl '
    has pgrep || printf 'procps '
}

install_packages() {
    local missing
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    if ! has apt-get; then
        echo "setup: please install what Debian calls: $missing" >&2
        return 1
    fi
    echo "setup: installing with apt-get: $missing"
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
}

# etcd and etcdctl, unpacked and not installed.
unpack_etcd() {
    if has etcd && has etcdctl; then
        return 0
    fi
    if ! has apt-get; then
        echo "setup: please put etcd and etcdctl on the PATH" >&2
        return 1
    fi
    echo "setup: unpacking etcd into $tools (nothing is installed or started)"
    mkdir -p "$tools"
    (
        cd "$tools"
        download etcd-server etcd-client
        for package in etcd-server_*.deb etcd-client_*.deb; do
            dpkg-deb -x "$package" .
        done
    )
    has etcd && has etcdctl
}

# download PACKAGE...: into the current directory.
download() {
    # A fresh machine has no package lists yet.
    apt-get download -qq "$@" 2> /dev/null || {
        as_root apt-get update -qq
        apt-get download -qq "$@"
    }
}

# promtool alone: Debian's package starts a server of its own, too.
unpack_promtool() {
    if has promtool; then
        return 0
    fi
    if ! has apt-get; then
        echo "setup: no promtool (the package prometheus): what it would check is skipped" >&2
        return 1
    fi
    echo "setup: unpacking promtool into $tools (nothing is installed or started)"
    mkdir -p "$tools"
    (
        cd "$tools"
        download prometheus
        dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
        rm prometheus_*.deb
    )
    has promtool
}

need_rust() {
    if ! has cargo; then
        echo "setup: please install Rust first: https://rustup.rs" >&2
        return 1
    fi
    # A minimal toolchain has neither; a distribution's has no rustup, and brings its own.
    if has rustup; then
        cargo fmt --version > /dev/null 2>&1 || rustup component add rustfmt
        cargo clippy --version > /dev/null 2>&1 || rustup component add clippy
    fi
}

set_up() {
    need_rust
    install_packages
    unpack_etcd
    # What needs it is skipped, and says so.
    unpack_promtool || true
    # What cannot be had is said there; what needs it is skipped.
    [ "$(id -u)" != 0 ] || tests/fetch || true
}

# The daemon as it ships, and the lab.
build_lab() {
    cargo build --release --locked -p vipd && cargo build --locked -p vipd-lab
}

# The daemon that can do without one of its guards, for the scenario that shows that each of them is missed.
build_guards_off() {
    cargo build --locked -p vipd --features guards-off --target-dir "$CARGO_TARGET_DIR/guards-off"
}

lab=$CARGO_TARGET_DIR/debug/vipd-lab
export VIPD_BIN=${VIPD_BIN:-$CARGO_TARGET_DIR/release/vipd}
