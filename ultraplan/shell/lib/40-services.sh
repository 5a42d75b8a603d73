# Services kept by a pid file, where there is no systemd. Beside PIDFILE stands PIDFILE.ultraplan (0600), written before
# the service's program starts: "PID BORN BOOT", and below it the words that `up_sv_start` got, which start it again.
# BORN is the process's start time: a number that was given to another process since is never taken for the service.
# A record that another account wrote is not believed, as its words are run.

# up_sv_proc PID: sets up_state, up_pgrp and up_born of a process; fails where there is none or only a zombie.
up_sv_proc() {
  up_stat=
  while read -r up_line; do up_stat=$up_stat$up_line; done 2>/dev/null <"/proc/$1/stat"
  [ -n "$up_stat" ] || return 1
  set -f; set -- ${up_stat##*)}; set +f
  up_state=${1:-} up_pgrp=${3:-} up_born=${20:-}
  case $up_state in Z | X | x | '') return 1 ;; esac
}

# up_sv_look PIDFILE: sets up_sv (the service's process) and up_born. 0: it runs. 1: it does not. 3: PIDFILE names a
# living process (up_other) that has no record, so it may be anybody's.
up_sv_look() {
  up_sv= up_other= up_known=
  if [ -f "$1.ultraplan" ] && [ ! -L "$1.ultraplan" ] && [ -O "$1.ultraplan" ]; then
    read -r up_known up_want up_wantboot <"$1.ultraplan"
    case $up_known in *[!0-9]*) up_known= ;; esac
    up_boot
    if [ -n "$up_known" ] && [ "$up_boot" = "$up_wantboot" ] && up_sv_proc "$up_known" && [ "$up_born" = "$up_want" ]; then
      up_sv=$up_known
      return 0
    fi
  fi
  [ -f "$1" ] || return 1
  read -r up_other <"$1"
  case $up_other in '' | 0 | *[!0-9]*) return 1 ;; esac
  [ "$up_other" != "$up_known" ] && up_sv_proc "$up_other" || return 1
  return 3
}

# up_sv_probe PIDFILE: one line: "active PID:BORN", "inactive" or "unknown PID".
up_sv_probe() {
  up_sv_look "$1"
  case $? in
    0) echo "active $up_sv:$up_born" ;;
    3) echo "unknown $up_other" ;;
    *) echo inactive ;;
  esac
}

up_sv_nap() {
  if sleep 0.1 2>/dev/null; then up_waited=$((up_waited + 1)); else sleep 1; up_waited=$((up_waited + 10)); fi
}

# What the service's process does before it becomes the service: $1 the record's words, then those words themselves.
up_sv_launch='
  up_words=$1 up_file=$2 up_dir=$4 up_user=$5
  exec 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  umask 077
  exec 3>>"$3" || exit
  cd -- "$up_dir" || exit
  up_text=$6
  up_boot=$7
  up_stat=
  while read -r up_line; do up_stat=$up_stat$up_line; done <"/proc/$$/stat"
  set -f; set -- ${up_stat##*)}; set +f
  rm -f -- "$up_file.ultraplan.new" "$up_file.new"
  set -C
  printf "%s\n%s\n" "$$ ${20} $up_boot" "$up_words" >"$up_file.ultraplan.new" &&
    mv -f -- "$up_file.ultraplan.new" "$up_file.ultraplan" &&
    echo "$$" >"$up_file.new" && mv -f -- "$up_file.new" "$up_file" || exit
  echo ready
  exec >&3 2>&1 3>&-
  umask 022
  unset up_words up_file up_dir up_boot up_stat up_line
  [ -n "$up_user" ] || exec sh -c "$up_text"
  eval "HOME=~$up_user"
  USER=$up_user LOGNAME=$up_user
  export HOME USER LOGNAME
  if setpriv --reuid "$up_user" --regid "$(id -g -- "$up_user")" --init-groups true 2>/dev/null; then
    exec setpriv --reuid "$up_user" --regid "$(id -g -- "$up_user")" --init-groups sh -c "$up_text"
  fi
  exec su -s /bin/sh -c "$up_text" "$up_user"'

# up_sv_start WORDS: starts a service; WORDS are, as one word, the quoted words PIDFILE LOG FOLDER USER TEXT. Prints
# "instance PID:BORN" once it has lived for a short while. Nothing happens where it runs already.
up_sv_start() {
  up_words=$1
  eval "set -- $1"
  up_sv_look "$1"
  case $? in
    0) echo "instance $up_sv:$up_born"; return 0 ;;
    3) up_sv_foreign "$1"; return 1 ;;
  esac
  command -v setsid >/dev/null || { echo 'this host has no setsid, which starting a service needs' >&2; return 1; }
  up_boot
  # The substitution ends when the process lets go of the pipe: just before it becomes the service.
  up_said=$(setsid sh -c "$up_sv_launch" sh "$up_words" "$@" "$up_boot" </dev/null &)
  [ "$up_said" = ready ] || { echo 'it could not be started' >&2; return 1; }
  up_waited=0
  while [ $up_waited -lt 3 ]; do
    up_sv_nap
    up_sv_look "$1" && continue
    echo "it ended as soon as it was started; the last lines of $2:" >&2
    tail -n 5 -- "$2" >&2
    rm -f -- "$1" "$1.ultraplan"
    return 1
  done
  echo "instance $up_sv:$up_born"
}

up_sv_foreign() {
  echo "$1 names the living process $up_other, which was not started from here: it may be anybody's" >&2
}

# Neither dash nor busybox takes `kill -TERM -- -1234`; what follows the signal is always a number here.

# up_sv_busy: whether anything of the service still runs: its process, or its process group where it leads one.
up_sv_busy() {
  kill -0 "$up_target" 2>/dev/null || return 1
  up_sv_proc "$up_sv" && [ "$up_born" = "$up_since" ] && return 0
  [ "$up_target" != "$up_sv" ] || return 1
  for up_entry in /proc/[0-9]*; do
    up_sv_proc "${up_entry#/proc/}" && [ "$up_pgrp" = "$up_sv" ] && return 0
  done
  return 1
}

# up_sv_stop PIDFILE TENTHS: TERM to the service's process group, KILL after TENTHS of a second, and its files gone.
up_sv_stop() {
  up_sv_look "$1"
  case $? in
    1) rm -f -- "$1" "$1.ultraplan"; return ;;
    3) up_sv_foreign "$1"; return 1 ;;
  esac
  up_since=$up_born up_target=$up_sv
  [ "$up_pgrp" != "$up_sv" ] || up_target=-$up_sv
  kill -TERM "$up_target" || return 1
  up_waited=0
  while up_sv_busy && [ $up_waited -lt "$2" ]; do up_sv_nap; done
  if up_sv_busy; then
    echo "it did not end within the time it had, and was killed" >&2
    kill -KILL "$up_target"
    up_waited=0
    while up_sv_busy && [ $up_waited -lt 50 ]; do up_sv_nap; done
    ! up_sv_busy || { echo "process $up_sv does not even end when killed" >&2; return 1; }
  fi
  rm -f -- "$1" "$1.ultraplan"
}

# up_sv_reload PIDFILE: HUP to the service's process.
up_sv_reload() {
  up_sv_look "$1" || { echo 'it does not run' >&2; return 1; }
  kill -HUP "$up_sv" && echo "instance $up_sv:$up_born"
}

# up_sv_secure PIDFILE [LOG]: what runs now, into the pre-image: the record, or nothing where it is stopped; and that there
# is no LOG yet, where a start would make one. Once: a second try would find what the first one did.
up_sv_secure() {
  [ ! -e "$UP_PRE" ] || return 0
  [ -z "${2:-}" ] || [ -e "$2" ] || [ -L "$2" ] || : >"$UP_PRE.nolog" || return
  ( umask 077; if up_sv_look "$1"; then cat <"$1.ultraplan"; fi >"$UP_PRE.new" ) && mv -f -- "$UP_PRE.new" "$UP_PRE"
}

# up_sv_back PIDFILE TENTHS AGAIN [LOG]: what the pre-image says: stopped, or running (with AGAIN: stopped before). A LOG
# that was not there before goes, too, once nothing writes to it.
up_sv_back() {
  if [ ! -s "$UP_PRE" ]; then up_sv_stop "$1" "$2" && up_sv_unlog "${4:-}"; return; fi
  [ -z "$3" ] || { up_sv_stop "$1" "$2" && up_sv_unlog "${4:-}"; } || return
  up_words=$({ read -r up_line; cat; } <"$UP_PRE") && up_sv_start "$up_words"
}

up_sv_unlog() {
  [ -e "$UP_PRE.nolog" ] || return 0
  rm -f -- "$1" && rm -f -- "$UP_PRE.nolog"
}

# up_unit_probe UNIT: what systemd says of a unit, a property a line; "none" where no systemd runs.
up_unit_probe() {
  if [ ! -d /run/systemd/system ] || ! command -v systemctl >/dev/null; then echo none; return; fi
  systemctl show --no-pager \
    -p LoadState,ActiveState,SubState,UnitFileState,Type,Result,NRestarts,InvocationID,MainPID,CanReload -- "$1"
}

# up_unit_do VERB UNIT: start, stop, restart, reload; reads changed unit files first, and says why it failed.
up_unit_do() {
  [ "$(systemctl show -p NeedDaemonReload --value -- "$2")" != yes ] || systemctl daemon-reload || return
  systemctl --no-ask-password "$1" -- "$2" && return
  up_rc=$?
  systemctl status --no-pager --full -n 5 -- "$2" >&2
  return $up_rc
}

# up_unit_settled UNIT: prints its instance and number of restarts after a short while.
up_unit_settled() {
  sleep 0.5 2>/dev/null || sleep 1
  echo "instance $(systemctl show -p InvocationID --value -- "$1"):$(systemctl show -p NRestarts --value -- "$1")"
}
