# The rest of a virtual machine's start: network, then NFS server or client, then errands from outside.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm /run/rpc_pipefs
mount -t tmpfs shm /dev/shm
setting() { sed -n "s/.*bed\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }
role=$(setting role)
hostname "$role"
modprobe -a virtio_net virtio_rng sunrpc
mkdir -p /code
mount -o ro /dev/vdb /code
ip link set lo up
ip link set eth0 up
ip addr add "10.66.0.$(setting number)/24" dev eth0
mount -t rpc_pipefs pipes /run/rpc_pipefs
if [ "$role" = server ]; then
    modprobe nfsd
    mkdir -p /export
    mount /dev/vdc /export
    mkdir -p /export/spool /export/state
    mount --bind /export/state /var/lib/nfs
    mkdir -p /var/lib/nfs/nfsdcld /var/lib/nfs/sm
    mount -t nfsd nfsd /proc/fs/nfsd
    echo "/export/spool *(rw,sync,no_subtree_check,no_root_squash,fsid=0)" >/etc/exports
    for file in nfsv4leasetime nfsv4gracetime; do setting lease >/proc/fs/nfsd/$file; done
    touch /var/lib/nfs/etab /var/lib/nfs/rmtab
    rpcbind -w
    nfsdcld
    exportfs -ra
    rpc.mountd
    rpc.nfsd 8
    grep -q . /proc/fs/nfsd/threads
else
    modprobe nfsv4
    until mount -t nfs -o vers=4.2,hard,retry=0 10.66.0.1:/ /mnt; do sleep 1; done
fi
exec python3 -u /code/tests/beds/guest/errands.py /dev/ttyS1
