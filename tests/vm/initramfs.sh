#!/bin/sh
# First program of the test VM, from the initramfs: loads the modules, mounts
# the root disk and hands over to /palisade/init.sh in a tmpfs on its /run.
# Written by xtask into /palisade/init of the initramfs; busybox only.
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs devtmpfs /dev

die() {
    echo "palisade-vm: initramfs: $1"
    $busybox cat /proc/partitions
    $busybox poweroff -f
}

# The file names carry the load order; a module that is missing shows as a
# missing disk below, or as a failing test.
for module in /modules/*; do
    [ -e "$module" ] || continue
    $busybox insmod "$module" || echo "palisade-vm: insmod $module failed"
done

# Disks appear in no fixed order, so look for the serial number.
root=
tries=0
while [ -z "$root" ] && [ $tries -lt 500 ]; do
    for disk in /sys/block/*; do
        [ "$($busybox cat "$disk/serial" 2>/dev/null)" = root ] && root=/dev/${disk##*/}
    done
    [ -b "$root" ] || { root=; $busybox usleep 10000; tries=$((tries + 1)); }
done
[ -n "$root" ] || die "no disk with serial 'root'"
$busybox mount -t ext4 -o rw "$root" /newroot || die "cannot mount $root"

$busybox mount -t tmpfs -o mode=755 run /newroot/run
$busybox cp -a /palisade /newroot/run/vm
$busybox cp -a /bin/busybox /newroot/run/vm/busybox
for dir in proc sys dev; do
    $busybox mount --move /$dir /newroot/$dir
done
exec $busybox switch_root /newroot /run/vm/init.sh
