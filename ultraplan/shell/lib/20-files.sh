# Files: looking at them, changing them, and putting them back.
#
# What an operation secured is told by which of these names exist; each comes into being in one step, so that whoever is
# killed in between can be followed by the same program again, or by its reverse:
#   $UP_PRE.link   what was there, as a hard link          $UP_PRE.none   nothing was there
#   $UP_PRE.copy   what was there, as a complete copy      $UP_PRE.dirs   how many folders were missing: "N."
#   $UP_PRE.moved  the folder that was there, itself       $UP_PRE.meta   only mode and owner are being changed
#   $UP_PRE.gone   the removal was complete                $UP_PRE.tmp    the name of the temporary file beside the path
# Programs that use these functions run in a shell of their own: `up_fail` ends it. Paths are absolute.

up_fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

up_there() { [ -e "$1" ] || [ -L "$1" ]; }

# up_sync PATH…: makes them durable; where sync takes no paths it syncs everything.
up_sync() { sync -- "$@" 2>/dev/null || sync; }

# up_sha256: of stdin, in hex.
up_sha256() {
  if command -v sha256sum >/dev/null 2>&1; then up_sum=$(sha256sum)
  elif command -v openssl >/dev/null 2>&1; then up_sum=$(openssl dgst -sha256 -r)
  else up_sum=$(shasum -a 256)
  fi
  [ -n "$up_sum" ] && printf '%s\n' "${up_sum%% *}"
}

# up_stat PATH: raw mode (hex, or as ls shows it), uid, gid, size, owner and group, one a line. Follows no link.
up_stat() {
  stat -c 'mode=%f
uid=%u
gid=%g
size=%s
owner=%U
group=%G' -- "$1" 2>/dev/null || up_stat_by_ls "$1"
}

up_stat_by_ls() (
  set -f
  numbers=$(LC_ALL=C ls -ldn -- "$1") && names=$(LC_ALL=C ls -ld -- "$1") || exit 1
  set -- $numbers
  mode=$1 uid=$3 gid=$4 size=$5
  set -- $names
  printf '%s\n' "mode=$mode" "uid=$uid" "gid=$gid" "size=$size" "owner=$3" "group=$4"
)

# up_look PATH LIMIT [sum]: what is at PATH, as name=value lines, an empty line, then a link's target, or a file's content
# if it has at most LIMIT bytes (-1: content is not wanted). With `sum`, a larger file's sha256 is told instead.
up_look() {
  if ! up_there "$1"; then up_look_missing "$1"; return; fi
  up_found=$(up_stat "$1") || return
  up_size=${up_found#*size=} up_size=${up_size%%[!0-9]*}
  if [ -L "$1" ]; then
    printf '%s\n\n' "$up_found"
    readlink -n -- "$1" 2>/dev/null || up_readlink_by_ls "$1"
  elif [ -f "$1" ] && [ "$2" -ge 0 ]; then
    if [ "$up_size" -le "$2" ]; then
      printf '%s\ncontent=1\n\n' "$up_found" && cat <"$1"
    elif [ "${3:-}" = sum ]; then
      up_sum=$(up_sha256 <"$1") && printf '%s\nsha256=%s\n\n' "$up_found" "$up_sum"
    else
      printf '%s\n\n' "$up_found"
    fi
  else
    printf '%s\n\n' "$up_found"
  fi
}

up_readlink_by_ls() (
  shown=$(LC_ALL=C ls -ld -- "$1"; printf x)
  shown=${shown%?x}
  printf %s "${shown#*"$1 -> "}"
)

# Nothing is at PATH: whether it could have been seen, and what it would belong to.
up_look_missing() {
  up_above=$1
  while up_above=${up_above%/*}; do
    if [ -e "$up_above/" ]; then
      [ -x "$up_above/" ] || up_fail "cannot look into $up_above/: permission denied"
      break
    fi
    [ -n "$up_above" ] || break
  done
  printf 'mode=absent\n'
  [ -d "${1%/*}/" ] || printf 'orphan=1\n'
  up_ids
  printf '%s\n' "uid=$up_uid" "owner=$up_user"
  if [ -g "${1%/*}/" ]; then
    up_stat "${1%/*}/." | while IFS= read -r up_line; do
      case $up_line in gid=* | group=*) printf '%s\n' "$up_line" ;; esac
    done
  else
    printf '%s\n' "gid=$up_gid" "group=$up_group"
  fi
  printf '\n'
}

# up_matches PATH: prints matches=1 if PATH has what `up_content`, which the program defines, prints.
up_matches() {
  if [ -f "$1" ] && [ ! -L "$1" ] && [ "$(up_content | up_sha256)" = "$(up_sha256 <"$1")" ]; then
    printf 'matches=1\n'
  fi
}

# up_same_lines PATH LINE…: prints "same N K" where the Nth line of PATH is the Kth LINE, for lines that may hold secrets.
up_same_lines() {
  up_path=$1 up_n=0
  shift
  [ -f "$up_path" ] || return 0
  up_cr=$(printf '\r')
  while IFS= read -r up_line || [ -n "$up_line" ]; do
    up_n=$((up_n + 1)) up_k=0 up_line=${up_line%"$up_cr"}
    for up_wanted; do
      up_k=$((up_k + 1))
      [ "$up_line" != "$up_wanted" ] || { printf 'same=%s %s\n' "$up_n" "$up_k"; break; }
    done
  done <"$up_path"
}

# up_known KIND NAME: prints want_KIND=ID:NAME for an account (uid, passwd) or a group (gid, group), by name or number.
up_known() {
  case $1 in uid) up_table=passwd ;; *) up_table=group ;; esac
  if command -v getent >/dev/null 2>&1; then up_entry=$(getent "$up_table" "$2"); else up_entry=; fi
  if [ -z "$up_entry" ] && [ -r "/etc/$up_table" ]; then
    while IFS= read -r up_line; do
      up_rest=${up_line#*:*:}
      case $up_line in "$2":*) up_entry=$up_line; break ;; esac
      [ "${up_rest%%:*}" != "$2" ] || { up_entry=$up_line; break; }
    done <"/etc/$up_table"
  fi
  [ -n "$up_entry" ] || return 0
  up_rest=${up_entry#*:*:}
  printf '%s\n' "want_$1=${up_rest%%:*}:${up_entry%%:*}"
}

# up_resolve PATH: sets up_at, the file that PATH leads to through symbolic links (PATH itself where it is none).
up_resolve() {
  up_at=$1
  [ -L "$1" ] || return 0
  up_at=$(readlink -f -- "$1" && printf x) || up_fail "$1 is a symbolic link that leads nowhere"
  up_at=${up_at%?x}
}

up_copy() { cp -a -- "$1" "$2" 2>/dev/null || { rm -rf -- "$2" && cp -pPR -- "$1" "$2"; }; }

# An account that is not root cannot give files away, so its copies would not be what was there.
up_copyable() {
  [ "$(id -u)" = 0 ] || [ -z "$(find "$1" ! -user "$(id -u)" 2>&1 | head -n 1)" ] ||
    up_fail "cannot secure $1: it holds files of other accounts, and only root can put those back"
}

up_kept() {
  [ -e "$UP_PRE.none" ] || up_there "$UP_PRE.link" || up_there "$UP_PRE.copy" || [ -e "$UP_PRE.moved" ]
}

# up_keep PATH: secures what is at PATH, once: by hard link (the very file comes back), else by copy. Not for folders.
up_keep() {
  ! up_kept || return 0
  [ ! -e "$UP_PRE.gone" ] || rm -f -- "$UP_PRE.gone"
  if ! up_there "$1"; then
    : >"$UP_PRE.none" || up_fail "cannot write to the state folder ${UP_PRE%/*}"
  elif ! ln -- "$1" "$UP_PRE.link" 2>/dev/null; then
    up_keep_copy "$1"
  elif [ -L "$1" ] && [ ! -L "$UP_PRE.link" ]; then  # an ln that follows links
    rm -f -- "$UP_PRE.link"
    up_keep_copy "$1"
  fi
}

up_keep_copy() {
  up_copyable "$1"
  rm -rf -- "$UP_PRE.part" && up_copy "$1" "$UP_PRE.part" || up_fail "cannot secure $1 in ${UP_PRE%/*}"
  if [ -d "$1" ] && [ ! -L "$1" ]; then sync; elif [ -f "$1" ] && [ ! -L "$1" ]; then up_sync "$UP_PRE.part"; fi
  mv -- "$UP_PRE.part" "$UP_PRE.copy" || exit 1
}

# up_temp PATH: sets up_tmp, a name beside PATH that nobody can guess, and removes what an earlier attempt left there.
up_temp() {
  up_word=
  [ ! -e "$UP_PRE.tmp" ] || IFS= read -r up_word <"$UP_PRE.tmp" || up_word=
  if [ -z "$up_word" ]; then
    { IFS= read -r up_word </proc/sys/kernel/random/uuid; } 2>/dev/null || up_word=$(mktemp -u XXXXXXXXXXXXXXXX) || exit 1
    printf '%s\n' "$up_word" >"$UP_PRE.tmp" || up_fail "cannot write to the state folder ${UP_PRE%/*}"
  fi
  up_tmp=${1%/*}/.up-$up_word
  ! up_there "$up_tmp" || rm -rf -- "$up_tmp" || exit 1
}

up_untemp() {
  [ -e "$UP_PRE.tmp" ] || return 0
  up_temp "$1"
  rm -f -- "$UP_PRE.tmp"
}

# up_rename FROM TO: TO is replaced in one step. (rename(2) does nothing between two links of one file; mv without -T moves
# into a folder that TO links to, and some give up at a TO that links to itself.)
up_rename() {
  if [ -L "$2" ]; then
    mv -fT -- "$1" "$2" 2>/dev/null || { rm -f -- "$2" && mv -f -- "$1" "$2"; }
  elif [ ! -L "$1" ] && [ ! -L "$2" ] && [ "$1" -ef "$2" ]; then
    rm -f -- "$1"
  else
    mv -f -- "$1" "$2"
  fi
}

up_need_parent() {
  [ -d "${1%/*}/" ] || up_fail "the folder ${1%/*}/ does not exist; add a \`directory\` step before this one"
}

# up_put PATH MODE OWNER SHA256: PATH gets what `up_content` prints. OWNER: as chown takes it, or empty. SHA256: what it
# must have before, or empty.
up_put() {
  up_need_parent "$1"
  [ ! -L "$1" ] || up_fail "$1 is a symbolic link"
  [ ! -d "$1" ] || up_fail "$1 is a folder"
  if [ -n "$4" ] && ! up_kept; then
    [ "$(up_sha256 <"$1")" = "$4" ] || up_fail "$1 was changed by somebody else in the meantime"
  fi
  up_keep "$1"
  up_temp "$1"
  umask 077
  set -C
  up_content >"$up_tmp" || { rm -f -- "$up_tmp"; up_fail "cannot write beside $1"; }
  set +C
  if up_own "$up_tmp" "$3" || chown -- "$3" "$up_tmp" && chmod -- "$2" "$up_tmp"; then
    up_sync "$up_tmp" "${UP_PRE%/*}"
    ! up_rename "$up_tmp" "$1" || return 0
  fi
  rm -f -- "$up_tmp"
  exit 1
}

# up_own FILE OWNER: whether FILE, which this account has just made, belongs to OWNER (as numbers, or empty) from the start.
up_own() {
  [ -n "$2" ] || return 0
  up_ids
  [ "$2" = "$up_uid:$up_gid" ] && [ -O "$1" ] && [ -G "$1" ]
}

# up_set PATH MODE OWNER: mode and owner of what is there; each may be empty. The reverse knows what they were.
up_set() {
  up_there "$1" || up_fail "$1 does not exist"
  [ ! -L "$1" ] || up_fail "$1 is a symbolic link"
  if [ ! -e "$UP_PRE.meta" ]; then
    : >"$UP_PRE.meta" && up_sync "${UP_PRE%/*}" || up_fail "cannot write to the state folder ${UP_PRE%/*}"
  fi
  [ -z "$3" ] || chown -- "$3" "$1" || exit 1
  [ -z "$2" ] || chmod -- "$2" "$1" || exit 1
}

# up_unset PATH MODE OWNER: the reverse of up_set.
up_unset() {
  [ -e "$UP_PRE.meta" ] || return 0
  [ ! -L "$1" ] && [ -e "$1" ] || up_fail "$1 is not there any more"
  chown -- "$3" "$1" && chmod -- "$2" "$1" && rm -f -- "$UP_PRE.meta"
}

# up_untouched PATH COPY: whether the file at PATH is still what COPY was made of. What cannot be replaced (chattr +i, a
# bind mount) was not, and needs no way back; where it was written to, its time is another.
up_untouched() (
  [ -f "$1" ] && [ ! -L "$1" ] && [ -f "$2" ] && [ ! -L "$2" ] && [ ! "$1" -nt "$2" ] && [ ! "$1" -ot "$2" ] || exit 1
  now=$(up_stat "$1") && kept=$(up_stat "$2") && [ "$now" = "$kept" ] && cmp -s -- "$1" "$2"
)

# up_back PATH: puts back what up_keep secured, and nothing where it secured nothing.
up_back() {
  up_untemp "$1"
  if [ -d "$1" ] && [ ! -L "$1" ]; then
    ! up_kept || up_fail "$1 is a folder now; not removed"
    return 0
  fi
  if [ -e "$UP_PRE.gone" ] && up_there "$1"; then
    ! up_kept || up_fail "something new is at $1; not replaced"
  fi
  if [ -e "$UP_PRE.none" ]; then
    rm -f -- "$1" && rm -f -- "$UP_PRE.none" || exit 1
  elif up_there "$UP_PRE.link"; then
    up_need_parent "$1"
    if [ -L "$UP_PRE.link" ]; then rm -f -- "$1" || exit 1; fi
    up_rename "$UP_PRE.link" "$1" || exit 1
  elif up_untouched "$1" "$UP_PRE.copy"; then
    rm -f -- "$UP_PRE.copy" || exit 1
  elif up_there "$UP_PRE.copy"; then
    up_need_parent "$1"
    up_temp "$1"
    up_copy "$UP_PRE.copy" "$up_tmp" || up_fail "cannot put $1 back from $UP_PRE.copy"
    [ -L "$up_tmp" ] || [ ! -f "$up_tmp" ] || up_sync "$up_tmp"
    rm -f -- "$UP_PRE.gone" && up_rename "$up_tmp" "$1" && rm -f -- "$UP_PRE.copy" "$UP_PRE.tmp" ||
      { rm -rf -- "$up_tmp"; exit 1; }
  fi
  rm -rf -- "$UP_PRE.gone" "$UP_PRE.part"
}
