# $1: the machine's name, $2: what it runs inside, $3: units; the others: systemd-nspawn's arguments.
# Holds a machine for as long as its standard input lasts, then ends it and removes its control groups. It lies outside of
# all that it makes, so it cleans up after a test that was killed too.
set -u
name=$1 inside=$2
shift 2

# A control group of its own in every hierarchy that systemd uses, so that machines can run side by side.
groups=
while IFS=: read -r _ controllers path; do
    case ,$controllers, in
    ,name=systemd,) root=/sys/fs/cgroup/systemd ;;
    ,,) root=/sys/fs/cgroup/unified && [ -d "$root" ] || root=/sys/fs/cgroup ;;
    *,memory,* | *,cpu,* | *,cpuacct,* | *,pids,*) root=/sys/fs/cgroup/$controllers ;;
    *) continue ;;
    esac
    group=$root${path%/}/$name
    mkdir "$group" && groups="$groups $group"
done </proc/self/cgroup

(
    for group in $groups; do echo 0 >"$group/cgroup.procs"; done
    # What the first process inside has mounted and started goes when it goes, and it goes with unshare.
    exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc sh -c "$inside" sh "$name" "$@" </dev/null
) &
machine=$!

while read -r _; do :; done
kill -KILL "$machine"
wait "$machine"
for _ in $(seq 200); do
    left=
    for group in $groups; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
        [ -d "$group" ] && left=yes
    done
    [ -z "$left" ] && exit 0
    sleep 0.05
done
echo "control groups are left: $groups" >&2
exit 1
