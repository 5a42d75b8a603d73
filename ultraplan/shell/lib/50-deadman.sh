# A dead-man (`confirm`): the undo that this host does by itself unless it is disarmed in time. Its receipt, $UP_RUN/OP.dN,
# decides by exclusive create who came first: the timer ("claim …", and the undo's exit code) or the controller ("never
# WORD": the timer will do nothing). While it is armed there are
#   $UP_RUN/OP.dN.armed  the timer's program and all that it needs, 0600
#   $UP/armed.OP.dN      "RUN BOOT PID BORN DUE": whose it is, the timer's process, when it is due (`up_uptime`)

# up_uptime: sets up_now: seconds that no change of the clock moves. Without /proc it counts how often it is asked.
up_uptime() {
  if [ -r /proc/uptime ]; then
    read -r up_now up_rest </proc/uptime
    up_now=${up_now%%.*}
  else
    up_now=$((${up_now:-0} + 1))
  fi
}

# up_arm RECEIPT EPOCH SCRIPT: starts the timer, whose program SCRIPT calls `up_watch`. 0 once it runs, detached.
up_arm() {
  up_fence "$UP/epoch.$UP_HOST" "$2" || return
  [ ! -e "$1" ] || return 97
  command -v setsid >/dev/null 2>&1 || { echo 'this host has no setsid, which confirm needs' >&2; return 1; }
  if ! ( umask 077; printf '%s\n' "$3" >"$1.armed" ) 2>/dev/null; then
    rm -f -- "$1.armed"
    echo "cannot write $1.armed (is the disk full or read-only?)" >&2
    return 1
  fi
  # The substitution ends when the timer, which is ready then, lets go of the pipe. With systemd it gets a scope of its own:
  # in sshd's or the login's it may be ended with them.
  up_said=
  [ ! -w /run/systemd/private ] || ! command -v systemd-run >/dev/null 2>&1 ||
    up_said=$(systemd-run --scope --quiet --collect setsid sh "$1.armed" </dev/null 2>/dev/null &)
  [ -n "$up_said" ] || up_said=$(setsid sh "$1.armed" </dev/null 2>/dev/null &)
  [ "$up_said" != armed ] || return 0
  rm -f -- "$1.armed" "$UP/armed.${1##*/}"
  echo 'its timer could not be started' >&2
  return 1
}

# up_watch RECEIPT EFFECT SECONDS KIND UNDO: the timer. EFFECT: the receipt of what UNDO undoes; KIND: own or foreign.
up_watch() {
  umask 077
  up_me; up_boot; up_uptime
  up_marker=$UP/armed.${1##*/}
  up_due=$((up_now + $3 + 1))  # up_now is rounded down, and the controller shall have all of its time
  printf '%s\n' "${UP_RUN##*/} $up_boot $up_pid $up_born $up_due" >"$up_marker" && echo armed || exit 1
  exec </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  while [ ! -e "$1" ] && [ -d "$UP_RUN" ]; do
    up_uptime
    [ "$up_now" -lt "$up_due" ] || ! up_fire "$@" || break
    sleep 1
  done
  rm -f -- "$1.armed" "$up_marker"
}

# up_fire, with up_watch's words: the time is over. 0: it is decided, by whomever; 1: to be tried again. The claim carries
# the epoch that the host is at: a controller that took over settles this receipt before it does anything else.
up_fire() {
  up_e=0
  [ ! -s "$UP/epoch.$UP_HOST" ] || read -r up_e <"$UP/epoch.$UP_HOST"
  up_claim "$2" "$up_e" never  # what did not begin until now never will
  case $? in 0 | 97) ;; *) return 1 ;; esac
  up_began=
  up_written "$2"
  read -r up_began up_rest <"$2"
  if [ "$up_began" = never ]; then
    up_claim "$1" "$up_e" 'never began'
  else
    up_dead=$1 up_forward=$2 up_kind=$4 up_undo=$5
    up_effect "$1" "$up_e" 'up_undo "$up_dead" "$up_forward" "$up_kind" "$up_undo"'
  fi
  [ -e "$1" ]
}

# up_undo RECEIPT EFFECT KIND UNDO: ends what EFFECT still runs, then undoes it. (RECEIPT's process leads its session.)
up_undo() {
  echo "session $up_pid $up_born" >>"$1"
  up_end "$2"
  case $3 in
    foreign) UP_TEXT=$4 UP_OP=$1: sh -c 'up_text=$UP_TEXT; unset UP_TEXT; eval "$up_text"' ;;
    *) eval "$4" ;;
  esac
}

# up_marked MARKER: whether the timer of MARKER is alive; sets up_of, up_at, up_timer and up_due to what MARKER says.
up_marked() {
  up_of= up_at= up_timer= up_since= up_due=0
  [ -s "$1" ] && read -r up_of up_at up_timer up_since up_due <"$1" || return 1
  up_boot
  [ "$up_at" = "$up_boot" ] && up_alive "$up_timer" "$up_since"
}

# up_disarm RECEIPT EPOCH: settles the dead-man if nobody has, and says how it is settled: "never confirmed" (in time),
# "never late" (the timer had died), "never rebooted", "never unarmed", "never began", or "claim …" (it undoes, or did).
up_disarm() {
  up_word=unarmed up_lives=
  if up_marked "$UP/armed.${1##*/}"; then
    up_word=confirmed up_lives=1
  elif [ -n "$up_of" ]; then
    up_uptime
    if [ "$up_at" != "$up_boot" ]; then up_word=rebooted
    elif [ "$up_now" -lt "$up_due" ]; then up_word=confirmed
    else up_word=late; fi
  fi
  up_claim "$1" "$2" "never $up_word"
  up_rc=$?
  case $up_rc in
    0)
      [ -z "$up_lives" ] || kill -TERM "-$up_timer" 2>/dev/null
      rm -f -- "$1.armed" "$UP/armed.${1##*/}" ;;
    97) ;;
    *) return $up_rc ;;
  esac
  up_written "$1"
  read -r up_word <"$1" || up_word=claim
  printf '%s\n' "$up_word"
}

# up_armed DIR RUN: whether a timer of another run than RUN goes here; says whose, and for how long.
up_armed() {
  for up_marker in "$1"/armed.*; do
    up_marked "$up_marker" && [ "$up_of" != "$2" ] || continue
    up_uptime
    echo "run $up_of waits for a step of its own to be confirmed here; in $((up_due - up_now)) s this host undoes it" >&2
    return 0
  done
  return 1
}

# up_forget DIR RUN: removes everything that RUN keeps below DIR. A timer that still goes ends without doing anything.
up_forget() {
  rm -rf -- "$1/runs/$2" || return
  for up_marker in "$1"/armed.*; do
    if up_marked "$up_marker" && [ "$up_of" = "$2" ]; then kill -TERM "-$up_timer" 2>/dev/null; fi
    [ "$up_of" != "$2" ] || rm -f -- "$up_marker"
  done
}
