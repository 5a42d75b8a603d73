# PID 1 of a host, still on the machine's root and its /proc. Runs in new mount, PID, UTS, IPC and network namespaces
# (for systemd also a cgroup namespace). Environment: H the host's folder, NAME, KIND, LOWER the image, BOOT_ID.
set -e
exec </dev/null >>"$H/log" 2>&1

# NSpid: our PID as the machine sees it, as the supervisor sees it, and 1.
while read -r key outer inner rest; do
  if [ "$key" = NSpid: ]; then echo "$outer $inner" >"$H/pid.new"; mv "$H/pid.new" "$H/pid"; fi
done </proc/self/status
hostname "$NAME"

R=$H/root
mount -t overlay "lab-$NAME" -o "lowerdir=$LOWER,upperdir=$H/upper,workdir=$H/work" "$R"

# A /dev of its own: a test must not reach the machine's disks.
mount -t tmpfs -o mode=755,nosuid tmpfs "$R/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "$R/dev/${node%:*}" c 1 "${node#*:}"; done
mknod -m 666 "$R/dev/tty" c 5 0
mkdir "$R/dev/pts" "$R/dev/shm"
ln -s pts/ptmx "$R/dev/ptmx"; ln -s /proc/self/fd "$R/dev/fd"
ln -s fd/0 "$R/dev/stdin"; ln -s fd/1 "$R/dev/stdout"; ln -s fd/2 "$R/dev/stderr"
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"

mount -t tmpfs -o mode=755,nosuid tmpfs "$R/run"
mkdir -m 755 "$R/run/sshd"                    # sshd refuses to start without it
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t proc proc "$R/proc"
for d in kernel vm fs; do mount -o bind,ro "$R/proc/sys/$d" "$R/proc/sys/$d"; done   # these are the machine's
# The kernel is shared, so its boot id says nothing; every boot of a host gets one of its own.
echo "$BOOT_ID" >"$R/run/.boot_id"
mount -o bind,ro "$R/run/.boot_id" "$R/proc/sys/kernel/random/boot_id"

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
case $KIND in
systemd)
  mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
  touch "$R/dev/console"
  main='exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=console --show-status=0' ;;
*)
  # A PID 1 that reaps, and that outlives a restart of sshd.
  main='/usr/sbin/sshd -D -e & sleep 2147483647 & while :; do wait; done' ;;
esac

# No devices, no modules, no clock: the kernel is the machine's. CAP_SYS_ADMIN stays, so a host may mount.
# chroot alone can be left by root, pivot_root cannot.
no=-mknod,-sys_module,-sys_time,-sys_rawio,-sys_boot
cd "$R"
exec setpriv --bounding-set "$no" --inh-caps "$no" \
  sh -c 'pivot_root . . && umount -l . && exec env -i "$@"' sh \
  PATH="$PATH" HOME=/root LANG=C.UTF-8 container=lab sh -c "$main"
