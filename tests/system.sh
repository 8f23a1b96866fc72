# Sourced by tests that boot small Debians with systemd-nspawn in network namespaces: tests/systemd, tests/managers,
# tests/nodes.
#
# Root only. The system is unpacked once into target/small-system and booted over a layer of its own, which lasts from
# boot to boot and goes with the test. No network manager runs in it unless a test starts one. A system has the name of
# its network namespace, and what follows the last dash as its host name.

# Mounts of the test's own: whatever becomes of it, they go with its last process.
if [ "$(id -u)" = 0 ] && [ "${VIPD_OWN_MOUNTS:-}" != $$ ]; then
    VIPD_OWN_MOUNTS=$$ exec unshare --mount -- "$0" "$@"
fi

source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

system=$CARGO_TARGET_DIR/small-system
ground=$(mktemp -d)
# Where etcd's data lies, so that a commit costs what it costs: /tmp is often memory, /var/tmp is not.
disk=$(mktemp -d /var/tmp/vipd-XXXXXX)
# The system that `inside` and `put` mean, and of each the container manager's process and its first process's.
here=
declare -A nspawns=() leaders=()

skip() {
    echo "   skipped, because $1"
    exit 77
}

can_boot() {
    [ "$(id -u)" = 0 ] || skip "it needs root"
    has systemd-nspawn && has mmdebstrap || skip "systemd-nspawn or mmdebstrap is not there"
    mount -t tmpfs -o mode=755 tmpfs "$ground"
}

# inside COMMAND...: runs it in the booted system.
inside() { on "$here" "$@"; }

# on SYSTEM COMMAND...
on() {
    local leader=${leaders[$1]}
    shift
    nsenter -t "$leader" -m -p -u -i -n -- "$@"
}

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

# layer SYSTEM: its files. In memory, because an overlay cannot lie upon another one, and / may be one.
layer() {
    local own=$ground/$1
    [ ! -d "$own" ] || return 0
    mkdir -p "$own"/{upper,work,root} "$disk/$1"
    mount -t overlay -o "lowerdir=$system,upperdir=$own/upper,workdir=$own/work" overlay "$own/root"
    echo "${1##*-}" > "$own/root/etc/hostname"
    # The journal outlives a boot.
    mkdir -p "$own/root/var/log/journal"
}

# cgroups SYSTEM: in each tree that a systemd looks at, one of its own. Two systems in one would end each other's units.
cgroups() {
    local tree
    for tree in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
        [ ! -e "$tree/cgroup.procs" ] || echo "$tree/$1"
    done
}

enter_cgroups() {
    local own
    for own in $(cgroups "$1"); do
        mkdir -p "$own"
        echo "$BASHPID" > "$own/cgroup.procs"
    done
}

leave_cgroups() {
    local own
    for own in $(cgroups "$1"); do
        [ ! -d "$own" ] || find "$own" -depth -type d -exec rmdir {} + 2> /dev/null || true
    done
}

# switch_on SYSTEM: it begins to boot, for the first time or again.
switch_on() {
    layer "$1"
    (
        enter_cgroups "$1"
        exec systemd-nspawn --quiet --boot --register=no --keep-unit --directory="$ground/$1/root" --machine="$1" \
            --bind="$disk/$1:/var/lib/vipd-etcd" --network-namespace-path="/run/netns/$1" \
            --capability=CAP_NET_ADMIN,CAP_NET_RAW
    ) < /dev/null > "$ground/$1/console" 2>&1 &
    nspawns[$1]=$!
}

# systemd_answers SYSTEM. The container manager has other children before the system's first process.
systemd_answers() {
    leaders[$1]=$(pgrep -P "${nspawns[$1]}" | head -n 1)
    [ -n "${leaders[$1]}" ] && on "$1" systemctl daemon-reload 2> /dev/null
}

# is_up SYSTEM: waits until its systemd answers.
is_up() {
    until_true 30 systemd_answers "$1" || fail "$1 did not boot: $(tail -n 20 "$ground/$1/console")"
}

# boot_in NAMESPACE: the system of that name is up, and `inside` is there.
boot_in() {
    here=$1
    switch_on "$1"
    is_up "$1"
}

# is_off SYSTEM: waits until it has ended by itself; the container manager's exit code, 133 if it wants to boot again.
is_off() {
    local status=0
    wait "${nspawns[$1]}" || status=$?
    unset "nspawns[$1]" "leaders[$1]"
    leave_cgroups "$1"
    return "$status"
}

# Puts the daemon and its unit into it, as the README has it. Its VIP is 10.88.0.100 on eth0.
put_vipd() {
    local file
    put /usr/local/bin/vipd < "$VIPD_BIN"
    inside chmod 755 /usr/local/bin/vipd
    put /etc/sysusers.d/vipd.conf < systemd/vipd.sysusers
    inside systemd-sysusers vipd.conf 2> /dev/null || fail "systemd-sysusers does not make the user"
    for file in vipd.service vipd-keys.service vipd-keys.path; do
        put "/etc/systemd/system/$file" < "systemd/$file"
    done
    put /etc/vipd/config.yaml <<< 'machine: {network: {interfaces: [{interface: eth0, vip: {ip: 10.88.0.100}}]}}'
    inside systemctl daemon-reload
}

# put_etcd NAME URL PEER MEMBERS [FLAG...]: the unit of one member, which clients reach at that address. In place of the
# package's, whose file of settings may not stand beside arguments: the small system cannot look up `localhost`, so it
# is told where to listen.
put_etcd() {
    local name=$1 url=$2 peer=$3 members=$4
    shift 4
    put /etc/systemd/system/etcd.service << UNIT
[Service]
Type=notify
StateDirectory=vipd-etcd
ExecStart=/usr/bin/etcd --name $name --data-dir /var/lib/vipd-etcd --listen-client-urls ${url%%:*}://0.0.0.0:2379 \\
  --advertise-client-urls $url --listen-peer-urls $peer --initial-advertise-peer-urls $peer --initial-cluster $members \\
  $*
[Install]
WantedBy=multi-user.target
UNIT
    inside systemctl daemon-reload
}

# start_etcd ADDRESS: a cluster of one member.
start_etcd() {
    put_etcd one "http://$1:2379" http://127.0.0.1:2380 one=http://127.0.0.1:2380
    inside systemctl start etcd || fail "etcd did not start"
}

# Everything off, and its layers away.
power_off() {
    local name
    for name in "${!leaders[@]}"; do
        on "$name" systemctl poweroff > /dev/null 2>&1 || true
    done
    for name in "${!nspawns[@]}"; do
        [ -n "${leaders[$name]:-}" ] || kill "${nspawns[$name]}" 2> /dev/null || true
        is_off "$name" || true
    done
    ! mountpoint --quiet "$ground" || umount --lazy "$ground"
    rmdir "$ground"
    rm -rf "$disk"
}
