#!/bin/busybox sh
# First program of a virtual machine: load the drivers of the disks, mount the root, go there.
bb=/bin/busybox
$bb mkdir -p /proc /sys /dev /root
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
for module in $($bb cat /modules/order); do $bb insmod "/modules/$module"; done
tries=0
until [ -b /dev/vdb ] || [ $tries = 200 ]; do $bb sleep 0.05; tries=$((tries + 1)); done
$bb mount /dev/vda /root
$bb mount --move /dev /root/dev
$bb umount /sys /proc
exec $bb switch_root /root /bin/sh /bed/start.sh
