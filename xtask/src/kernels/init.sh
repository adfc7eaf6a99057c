#!/bin/sh
# The first process of a guest: runs what /memtrace/plan lists, says on the console what
# came of it, and switches the machine off. Lines that start with @@ are for `cargo xtask
# kernels`.
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /tmp /run
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
chmod 1777 /tmp /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
for controller in memory pids cpuset; do
    echo +$controller >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
done
ip link set lo up
# One that is missing is built in, or was not needed.
for module in $(cat /memtrace/modules); do
    insmod /memtrace/modules.d/$module.ko 2>/dev/null
done
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
echo "@@kernel $(uname -r) $(nproc)"
while read -r limit name words; do
    echo "@@begin $name"
    timeout -s KILL "$limit" sh -c "$words" </dev/null 2>&1
    echo "@@end $name $?"
done </memtrace/plan
if [ -e "$MEMTRACE_EVIDENCE" ]; then
    sed 's/^/@@evidence /' "$MEMTRACE_EVIDENCE"
fi
echo "@@done"
sync
poweroff -f
