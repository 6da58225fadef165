#!/bin/sh
# PID 1 of the test VM: mounts the kernel's file systems, unpacks the payload
# disk into /payload, runs /payload/.run there and reports on the second serial
# port, which carries nothing but the lines that xtask/src/vm/control.rs reads:
#
#   palisade-vm ready UPTIME         mounted, payload unpacked; the command starts
#   palisade-vm exit CODE UPTIME     the command ended
#   palisade-vm out BYTES            /payload/out is on the out disk (only if asked for)
#   palisade-vm error WORDS          the guest's own part failed
#
# The first serial port is the console: the kernel's messages and the command's
# output, nothing of ours.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/payload
export HOME=/root TERM=dumb LANG=C.UTF-8
busybox=/run/vm/busybox
control=/dev/ttyS1

report() {
    # Opened anew each time: closing waits until the line is out.
    echo "palisade-vm $*" >$control
}
uptime() {
    read -r seconds _ </proc/uptime
    echo "$seconds"
}
power_off() {
    # No "Power down" after the command's last words; a panic still shows.
    echo 0 >/proc/sys/kernel/printk
    # Setting a terminal waits for its output (coreutils stty drains first).
    stty -F /dev/ttyS0 onlcr
    $busybox poweroff -f
}
fail() {
    report error "$*"
    power_off
}
disk_with_serial() {
    for disk in /sys/block/*; do
        [ "$(cat "$disk/serial" 2>/dev/null)" = "$1" ] && echo "/dev/${disk##*/}"
    done
}

stty -F $control -echo -onlcr
stty -F /dev/ttyS0 -onlcr

mkdir -p /dev/pts /dev/shm /payload
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts || fail mount devpts
mount -t tmpfs -o mode=1777 shm /dev/shm || fail mount shm
mount -t tmpfs -o mode=1777 tmp /tmp || fail mount tmp
mount -t tmpfs -o mode=755,size=80% payload /payload || fail mount payload
mount -t cgroup2 cgroup2 /sys/fs/cgroup || fail mount cgroup2
# What a kernel may lack: the command under test says so if it needs it.
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
[ -d /sys/fs/selinux ] && mount -t selinuxfs selinuxfs /sys/fs/selinux 2>/dev/null
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null
done
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
ip link set lo up
$busybox hostname palisade-vm

payload=$(disk_with_serial payload)
[ -n "$payload" ] || fail no payload disk
tar -C /payload -xf "$payload" || fail cannot unpack the payload
mkdir -p /payload/out

cd /payload || fail no /payload
report ready "$(uptime)"
sh /payload/.run </dev/null
code=$?
report exit $code "$(uptime)"

out=$(disk_with_serial out)
if [ -n "$out" ]; then
    capacity=$(($(cat "/sys/block/${out#/dev/}/size") * 512))
    tar -C /payload/out -cf /var/tmp/palisade-out.tar . || fail cannot pack /payload/out
    bytes=$(stat -c %s /var/tmp/palisade-out.tar)
    [ "$bytes" -le "$capacity" ] || fail "/payload/out packs to $bytes bytes, the out disk has $capacity"
    dd if=/var/tmp/palisade-out.tar of="$out" bs=1M conv=fsync 2>/dev/null || fail cannot write the out disk
    report out "$bytes"
fi
power_off
