# $1: the machine's name, $2: units; the others: systemd-nspawn's arguments.
# Runs in namespaces of its own for mounts and process numbers: what is mounted here nobody else sees.
set -eu
name=$1 units=$2
shift 2

mount -t tmpfs -o size=2g,mode=755 tmpfs /run
mkdir /run/upper /run/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root
cd /run/root

# The base system boots, not what this machine's administrator has added to it.
rm -rf etc/systemd/system/*.target.wants etc/rc?.d/S*
: >etc/fstab
echo "$name" >etc/hostname
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id

# As docs/UNITS.md says for Debian. User and tree are made by the boot.
install -m 644 "$units"/*.service "$units"/*.target "$units"/*.timer "$units"/*.path usr/lib/systemd/system/
install -m 644 "$units"/sysusers.d/azaion.conf usr/lib/sysusers.d/
install -m 644 "$units"/tmpfiles.d/azaion.conf usr/lib/tmpfiles.d/
# Links, so that another generation can take their place.
for program in azaion azaion-queue azaion-train azaion-backup azaion-health; do ln -sf "/usr/libexec/azaion/$program" "usr/bin/$program"; done

# Version 1 controllers come read-only; in a namespace of control groups only the machine's own are seen.
# shellcheck disable=SC2016
init='for controller in memory cpu cpuacct pids; do mount -o remount,rw,bind "/sys/fs/cgroup/$controller" 2>/dev/null; done
exec /lib/systemd/systemd'
# It ends with 133 when the machine wants to be booted anew: that is left to what started it. Without bpf systemd could not
# enforce IPAddressDeny=.
boot() {
    systemd-nspawn --quiet --register=no --keep-unit --machine="$name" --directory=/run/root --private-network --resolv-conf=off \
        --timezone=off --link-journal=no --console=pipe --system-call-filter=bpf "$@" /bin/sh -c "$init"
}
status=133
while [ "$status" -eq 133 ]; do
    status=0
    boot "$@" || status=$?
done
exit "$status"
