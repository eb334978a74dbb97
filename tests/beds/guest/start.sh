# The rest of a virtual machine's start: network, on the server what its packages would start, then errands from outside.
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
echo "192.0.2.1 server" >>/etc/hosts
modprobe -a virtio_net virtio_rng sunrpc
mkdir -p /code
mount -o ro /dev/vdb /code
ip link set lo up
ip link set eth0 up
ip addr add "192.0.2.$(setting number)/24" dev eth0
mount -t rpc_pipefs pipes /run/rpc_pipefs
if [ "$role" = server ]; then
    modprobe nfsd
    mkdir -p /srv/arbd
    mount /dev/vdc /srv/arbd
    mkdir -p /var/lib/nfs/nfsdcld /var/lib/nfs/sm
    mount -t nfsd nfsd /proc/fs/nfsd
    for file in nfsv4leasetime nfsv4gracetime; do setting lease >/proc/fs/nfsd/$file; done
    touch /var/lib/nfs/etab /var/lib/nfs/rmtab
    rpcbind -w
    nfsdcld
    rpc.mountd
    rpc.nfsd 8
    grep -q . /proc/fs/nfsd/threads
else
    modprobe nfsv4
fi
exec python3 -u /code/tests/beds/guest/errands.py /dev/ttyS1
