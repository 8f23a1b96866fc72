# Sourced by tests that boot a small Debian with systemd-nspawn in a network namespace: tests/systemd, tests/managers.
#
# Root only. The system is unpacked once into target/small-system and booted over a throw-away layer, so that what is
# put into it is gone with it. No network manager runs in it unless a test starts one.

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

system=$CARGO_TARGET_DIR/small-system
console=$(mktemp)
nspawn= leader=0

skip() {
    echo "   skipped, because $1"
    exit 77
}

can_boot() {
    [ "$(id -u)" = 0 ] || skip "it needs root"
    has systemd-nspawn && has mmdebstrap || skip "systemd-nspawn or mmdebstrap is not there"
}

# inside COMMAND...: runs it in the booted system.
inside() { nsenter -t "$leader" -m -p -u -i -n -- "$@"; }

# put FILE: writes what comes in to a file in the booted system.
put() { inside sh -c 'mkdir -p "${1%/*}"; cat > "$1"' - "$1"; }

# until_true SECONDS COMMAND...: whether it becomes true in time.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.02
    done
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

unpack_system() {
    [ -e "$system/usr/lib/systemd/systemd" ] && return
    echo "   unpacking a small Debian into $system"
    local suite packages=systemd,systemd-sysv,dbus,etcd-server,network-manager,dnsmasq-base,iputils-ping
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    rm -rf "$system.new"
    mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$system.new" > /dev/null
    systemctl --quiet --root="$system.new" disable systemd-networkd NetworkManager NetworkManager-dispatcher \
        NetworkManager-wait-online etcd > /dev/null 2>&1
    mv "$system.new" "$system"
}

# boot_in NAMESPACE
boot_in() {
    systemd-nspawn --quiet --boot --register=no --keep-unit --directory="$system" --machine="vipd$$" \
        --network-namespace-path="/run/netns/$1" --capability=CAP_NET_ADMIN,CAP_NET_RAW --volatile=overlay \
        < /dev/null > "$console" 2>&1 &
    nspawn=$!
    until_true 20 pgrep -P "$nspawn" > /dev/null || fail "the system did not boot"
    leader=$(pgrep -P "$nspawn" | head -n 1)
    until_true 20 inside systemctl daemon-reload 2> /dev/null || fail "its systemd does not answer"
}

# Puts the daemon and its unit into it. Its VIP is 10.88.0.100 on eth0.
put_vipd() {
    put /usr/local/bin/vipd < "$VIPD_BIN"
    inside chmod 755 /usr/local/bin/vipd
    put /etc/systemd/system/vipd.service < systemd/vipd.service
    put /etc/vipd/config.yaml <<< 'machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.88.0.100}}]}}'
}

# start_etcd ADDRESS: one member, which clients reach at that address. In place of the package's unit, whose file of
# settings may not stand beside arguments: the small system cannot look up `localhost`, so it is told where to listen.
start_etcd() {
    put /etc/systemd/system/etcd.service << UNIT
[Service]
Type=notify
StateDirectory=vipd-etcd
ExecStart=/usr/bin/etcd --name one --data-dir /var/lib/vipd-etcd --listen-client-urls http://0.0.0.0:2379 \\
  --advertise-client-urls http://$1:2379 --listen-peer-urls http://127.0.0.1:2380 \\
  --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster one=http://127.0.0.1:2380
[Install]
WantedBy=multi-user.target
UNIT
    inside systemctl daemon-reload
    inside systemctl start etcd || fail "etcd did not start"
}

power_off() {
    if [ -n "$nspawn" ]; then
        inside systemctl poweroff > /dev/null 2>&1 || kill "$nspawn" 2> /dev/null || true
        wait "$nspawn" 2> /dev/null || true
    fi
    rm -f "$console"
}
