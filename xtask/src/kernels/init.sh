#!/bin/bash
# The first process of a guest: runs what /memtrace/plan lists, says on the second serial port
# what came of it, and switches the machine off. Lines that start with @@ are for `cargo xtask
# kernels`. The first serial port is the kernel's, so that its messages cut no line in two.
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ln -s /proc/self/fd /dev/fd
# One that is missing is built in, or was not needed.
while read -r module; do
    insmod "/memtrace/modules.d/$module.ko" 2>/dev/null
done </memtrace/modules
exec >"$(</memtrace/port)" 2>&1
# What this boot is made with, and which tests it has to run.
cat /memtrace/header
# A sign of life every few seconds: nothing else tells a slow test from a dead machine. It
# starts no processes, so that tests which use up memory or processes do not stop it.
mkfifo /memtrace/never
(
    exec 3<>/memtrace/never
    echo -1000 >/proc/self/oom_score_adj
    while :; do
        echo @@alive
        read -r -t 5 -u 3 _
    done
) &
mkdir -p /dev/pts /dev/shm /tmp /run
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
chmod 1777 /tmp /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
for controller in memory pids cpuset; do
    echo +$controller >/sys/fs/cgroup/cgroup.subtree_control
done 2>/dev/null
ip link set lo up
# shellcheck source=/dev/null
. /memtrace/environment
# A disk: files whose pages are page cache and can be reclaimed, and room for swap.
mkdir -p /disk "$MEMTRACE_TARGET_TMP"
if mount -t ext4 /dev/vda /disk; then
    mkdir /disk/tmp /disk/target
    chmod 1777 /disk/tmp
    mount --bind /disk/target "$MEMTRACE_TARGET_TMP"
    export TMPDIR=/disk/tmp
else
    echo "@@broken no disk"
fi
# Passes lines on whole: the test runner writes them in pieces, and standard error is another
# stream; on the port each would cut the other's.
lines() {
    while IFS= read -r line || [ -n "$line" ]; do
        printf '%s\n' "$line"
    done
}
# Waits for these processes, but not for long: what a test left behind can keep their pipes open.
finish() {
    for _ in {1..100}; do
        kill -0 "$@" 2>/dev/null || return
        read -r -t 0.1 -u 3 _
    done
    kill "$@" 2>/dev/null
}
exec 3<>/memtrace/never
echo "@@kernel $(uname -r) $(nproc)"
while read -r limit name words <&6; do
    echo "@@begin $name"
    exec 4> >(lines)
    out=$!
    exec 5> >(exec 4>&-; lines)
    err=$!
    timeout -s KILL "$limit" sh -c "$words" </dev/null >&4 2>&5 3<&- 4>&- 5>&- 6<&-
    status=$?
    exec 4>&- 5>&-
    finish "$out" "$err"
    echo "@@end $name $status"
done 6</memtrace/plan
if [ -e "$MEMTRACE_EVIDENCE" ]; then
    sed 's/^/@@evidence /' "$MEMTRACE_EVIDENCE"
fi
echo "@@done"
sync
poweroff -f
