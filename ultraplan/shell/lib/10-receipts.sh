# Receipts: an effect is claimed once, fenced by the run's epoch, and leaves its exit code where the next controller
# finds it. Everything a claim needs is a builtin: an effect costs no fork beside its own.
# Layout of the state directory ($UP, 0700): epoch.HOST, and runs/RUN/ with OP.N (receipt), OP.N.out, OP.N.err, OP.pre*.

# up_me: sets up_pid and up_born, this process's number and start time (clock ticks since boot; 0 where unknown).
up_me() {
  up_pid=$$ up_born=0
  if [ -r /proc/self/stat ]; then
    read -r up_pid up_rest </proc/self/stat
    set -f; set -- ${up_rest##*) }; set +f
    up_born=${20:-0}
  fi
}

# up_boot: sets up_boot, which differs after every boot of this host (of this container, where it is one).
up_boot() {
  up_boot=unknown
  [ ! -r /proc/sys/kernel/random/boot_id ] || read -r up_boot </proc/sys/kernel/random/boot_id
  if [ -r /proc/1/stat ]; then
    read -r up_one up_rest </proc/1/stat
    set -f; set -- ${up_rest##*) }; set +f
    up_boot=$up_boot.${20:-0}
  fi
}

# up_facts: what is known of the host without changing anything, a line each: name=value.
up_facts() {
  up_boot
  up_os=unknown up_osv=
  if [ -r /etc/os-release ]; then
    while IFS='=' read -r up_k up_v; do
      up_v=${up_v#\"}; up_v=${up_v%\"}
      case $up_k in ID) up_os=$up_v ;; VERSION_ID) up_osv=$up_v ;; esac
    done </etc/os-release
  fi
  up_ids
  case $up_uid in 0) up_dir=/var/lib/ultraplan ;; *) up_dir=${XDG_STATE_HOME:-${HOME:-/tmp}/.local/state}/ultraplan ;; esac
  set -f; set -- $(uname -snrm); set +f
  printf '%s\n' "hostname=${2:-}" "kernel=${1:-} ${3:-}" "arch=${4:-}" "os=$up_os" \
    "os_version=$up_osv" "user=$up_user" "uid=$up_uid" "home=${HOME:-}" "shell=${SHELL:-}" "boot=$up_boot" "state=$up_dir"
}

# up_fence FILE EPOCH: sets up_e, the highest epoch that was here, which FILE holds. Exit 98 where that is above EPOCH.
up_fence() {
  up_e=0
  [ ! -s "$1" ] || read -r up_e <"$1"
  [ "$up_e" -gt "$2" ] || return 0
  echo "a run with epoch $up_e took this host over; epoch $2 may change nothing more" >&2
  return 98
}

# up_open DIR RUN EPOCH HOST: makes the run's folders and raises the host's epoch. Exit 98: a higher epoch was here; 95:
# this host waits for another run to confirm a step, and will undo that (50-deadman.sh).
up_open() {
  ( umask 022; mkdir -p -- "${1%/*}" ) && umask 077 && mkdir -p -- "$1/runs/$2/tmp" || return 1
  up_fence "$1/epoch.$4" "$3" || return
  ! up_armed "$1" "$2" || return 95
  if [ "$up_e" -lt "$3" ]; then
    printf '%s\n' "$3" >"$1/epoch.$4.$3" && mv -f -- "$1/epoch.$4.$3" "$1/epoch.$4" || return 1
  fi
}

# up_claim RECEIPT EPOCH [never]: 0 once; 97 if claimed before, 98 if fenced, 96 if the claim cannot be written.
# never: the claim itself says that nothing was, or will be, run under it.
up_claim() {
  up_fence "$UP/epoch.$UP_HOST" "$2" || return
  up_me; up_boot
  umask 077
  set -C
  { { printf '%s\n' "${3:-claim $2 $up_pid $up_born $up_boot}" || { rm -f -- "$1"; false; }; } >"$1"; } 2>/dev/null
  up_rc=$?
  set +C
  [ $up_rc != 0 ] || return 0
  [ ! -e "$1" ] || return 97
  echo "cannot write the receipt $1 (is the disk full or read-only?)" >&2
  return 96
}

# up_still SEEN PROGRAM: whether PROGRAM, a look, prints what it printed before (but for newlines at the end).
up_still() {
  [ "$(eval " $2")" = "$1" ] && return
  echo "changed by an earlier step" >&2
  return 1
}

# up_effect RECEIPT EPOCH PROGRAM: runs PROGRAM once in this shell's child; its exit code goes into the receipt.
up_effect() {
  umask 077
  up_claim "$1" "$2" || return
  ( umask 022; eval "$3" ) </dev/null >"$1.out" 2>"$1.err"
  up_rc=$?
  echo "exit $up_rc" >>"$1"
  up_output "$1"
  [ $up_rc = 0 ] || [ -s "$1.err" ] || up_silent "$1"
  return $up_rc
}

# up_foreign RECEIPT EPOCH PROGRAM: the same for a person's own program, in a session of its own. The program travels in
# the environment, not in the arguments, so that the process list does not show it. UP_OP stays in the environment: by
# it up_end finds what left the session. What is printed goes through readers that keep the first 768 KiB and the last
# 255, and drop the rest: no program can fill the disk, and what it leaves running may go on printing to them.
up_foreign() {
  umask 077
  up_claim "$1" "$2" || return
  up_setsid=setsid
  command -v setsid >/dev/null 2>&1 || up_setsid=
  UP_TEXT=$3 UP_OP=$1: $up_setsid sh -c '
    up_text=$UP_TEXT up_receipt=${UP_OP%:} up_n=
    unset UP_TEXT
    read -r up_pid up_rest </proc/self/stat && set -f && set -- ${up_rest##*) } && set +f
    [ -z "$up_pid" ] || echo "session $up_pid ${20:-0}" >>"$up_receipt"
    up_keep() {
      { ( ulimit -f 1536; exec cat >"$1" ) || { echo "[... some left out ...]"; tail -c 261120; } >>"$1"; : >"$2"; } 2>/dev/null
    }
    up_pipe=${UP_TMP:-${up_receipt%/*}}/${up_receipt##*/}
    if mkfifo -- "$up_pipe.o" "$up_pipe.e" 2>/dev/null; then
      up_keep "$up_receipt.out" "$up_pipe.oo" <"$up_pipe.o" &
      up_keep "$up_receipt.err" "$up_pipe.ee" <"$up_pipe.e" &
      up_n=0
      exec >"$up_pipe.o" 2>"$up_pipe.e"
    else  # no room for a name; what is printed then will have none either
      exec >"$up_receipt.out" 2>"$up_receipt.err"
    fi
    ( umask 022; eval "$up_text" )
    up_rc=$?
    echo "exit $up_rc" >>"$up_receipt"
    exec >/dev/null 2>&1
    # The readers end when nobody has the pipes open any more; what was left running may, and is not waited for.
    while [ "${up_n:-300}" -lt 300 ]; do
      [ ! -e "$up_pipe.oo" ] || [ ! -e "$up_pipe.ee" ] || break
      up_n=$((up_n + 1))
      [ $up_n -lt 200 ] || sleep 0.01 || { sleep 1; break; }
    done
    exit $up_rc' </dev/null
  up_rc=$?
  up_output "$1"
  [ $up_rc = 0 ] || [ -s "$1.err" ] || up_silent "$1"
  return $up_rc
}

# up_silent RECEIPT: for an effect that failed without a word: says so if there was no room for its words.
up_silent() {
  ( printf '\n' >"$1.err" && : >"$1.err" ) 2>/dev/null || echo "cannot write to ${1%/*} (is the disk full?)" >&2
}

# up_output RECEIPT: what the effect printed, at most 1 MiB of each.
up_output() {
  [ ! -s "$1.out" ] || head -c 1048576 <"$1.out"
  [ ! -s "$1.err" ] || head -c 1048576 <"$1.err" >&2
}

# up_written RECEIPT: waits for what a receipt says that is just being made: it is created first, and written then. (Whoever
# created it may have been killed in between: then it stays empty.)
up_written() {
  up_n=0
  while [ ! -s "$1" ] && [ $up_n -lt 10 ]; do sleep 0.1 2>/dev/null || sleep 1; up_n=$((up_n + 1)); done
}

# up_receipt RECEIPT: "absent", or the receipt's lines, then "alive SECONDS" if what it claims still runs, and for so long.
up_receipt() {
  if [ ! -e "$1" ]; then echo absent; return 0; fi
  up_written "$1"
  up_boot
  up_live= up_same=
  while read -r up_w up_a up_b up_c up_d; do
    printf '%s\n' "$up_w $up_a $up_b $up_c $up_d"
    case $up_w in
      claim) up_same=$up_d up_born=$up_c; [ "$up_d" != "$up_boot" ] || ! up_alive "$up_b" "$up_c" || up_live=alive ;;
      session) [ "$up_same" != "$up_boot" ] || ! up_any_left "$up_a" "$up_b" || up_live=alive ;;
      exit | never) up_live=finished ;;
    esac
  done <"$1"
  [ "$up_live" != finished ] || { up_output "$1"; return 0; }
  [ -z "$up_live" ] || [ ! -r /proc/uptime ] || {
    read -r up_w up_rest </proc/uptime  # in seconds; start times are in hundredths, on every Linux (USER_HZ)
    up_live="alive $((${up_w%%.*} - up_born / 100))"
  }
  echo "${up_live:-dead}"
}

# up_any_left PID BORN: whether a session lives that this process leads, or led.
up_any_left() {
  if [ -e "/proc/$1" ]; then up_alive "$1" "$2"; else kill -0 "-$1" 2>/dev/null; fi
}

# up_alive PID BORN: whether the process with this number is the one that was born then.
up_alive() {
  [ -r "/proc/$1/stat" ] || return 1
  read -r up_p up_rest <"/proc/$1/stat" || return 1
  set -f; set -- "$2" ${up_rest##*) }; set +f
  [ "${2:-}" != Z ] && { [ "$1" = 0 ] || [ "${21:-}" = "$1" ]; }
}

# up_group PID: sets up_p, the process group of a process that lives.
up_group() {
  read -r up_p up_rest <"/proc/$1/stat"
  set -f; set -- ${up_rest##*) }; set +f
  up_p=${3:-$up_p}
}

# up_end RECEIPT: ends what the receipt claims: TERM, then KILL after two seconds. Of a person's program that is all of
# its session, whatever became of its leader, and all that carries its UP_OP, in whatever session; else the process with
# its group (the change itself is a child of what claimed it).
# (`kill -TERM -PID` is the one form of a group that both dash and busybox take; `--` breaks it in either.)
up_end() {
  [ -e "$1" ] || return 0
  up_who= up_session=
  while read -r up_w up_a up_b up_c up_d; do
    case $up_w in
      claim) ! up_alive "$up_b" "$up_c" || { up_group "$up_b"; up_who=-$up_p; } ;;
      session) up_who= up_session=$up_a; [ ! -e "/proc/$up_a" ] || up_alive "$up_a" "$up_b" || up_session=none ;;
      exit | never) return 0 ;;
    esac
  done <"$1"
  if [ -n "$up_session" ]; then
    up_all() { up_mine "$up_session" "$UP_MARK"; }
  else
    up_all() { up_found=; [ -z "$up_who" ] || ! kill -0 "$up_who" 2>/dev/null || up_found=$up_who; }
  fi
  up_finish "$1:"
}

# up_finish MARK: TERM, then KILL, for what up_all finds, and again for what was started meanwhile.
up_finish() {
  UP_MARK=$1
  up_all
  [ -n "$up_found" ] || return 0
  kill -TERM $up_found 2>/dev/null
  up_n=0
  while [ $up_n -lt 20 ] && up_any $up_found; do sleep 0.1 2>/dev/null || sleep 1; up_n=$((up_n + 1)); done
  up_n=0
  while up_all; [ -n "$up_found" ] && [ $up_n -lt 50 ]; do kill -KILL $up_found 2>/dev/null; up_n=$((up_n + 1)); done
  return 0
}

# up_end_marked MARK: the same for what carries MARK as its UP_OP and has no receipt: what only looks.
up_end_marked() {
  up_all() { up_mine none "$UP_MARK"; }
  up_finish "$1"
}

# up_any PID ...: whether one of them (a group: -PID) is still there.
up_any() {
  for up_x in "$@"; do ! kill -0 "$up_x" 2>/dev/null || return 0; done
  return 1
}

# up_mine SESSION MARK: sets up_found: the processes of the session, and those with UP_OP=MARK in their environment.
up_mine() {
  up_found=
  for up_dir in /proc/[0-9]*; do
    { read -r up_p up_rest <"$up_dir/stat"; } 2>/dev/null || continue
    set -f; set -- "$1" "$2" ${up_rest##*) }; set +f
    [ "${3:-}" != Z ] || continue
    if [ "${6:-}" != "$1" ]; then
      up_is=
      { while read -r up_line || [ -n "$up_line" ]; do  # no shell reads the NULs between variables
          case $up_line in *"UP_OP=$2"*) up_is=1; break ;; esac
        done <"$up_dir/environ"; } 2>/dev/null
      [ -n "$up_is" ] || continue
    fi
    [ "$up_p" = $$ ] || up_found="$up_found $up_p"
  done
}
