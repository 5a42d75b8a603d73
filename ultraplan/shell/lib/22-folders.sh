# Folders, links and removal. What was secured, and how that is told, stands at the top of 20-files.sh.

# up_mkdirs PATH MODE OWNER PARENTS: makes the folder, with PARENTS=1 also those above it, all with that mode and owner.
up_mkdirs() {
  up_read_dirs
  if [ -z "$up_dirs" ]; then
    up_dirs=0 up_above=$1
    while [ ! -d "$up_above/" ]; do
      ! up_there "$up_above" || up_fail "$up_above is in the way: it is not a folder"
      up_dirs=$((up_dirs + 1)) up_above=${up_above%/*}
    done
    [ "$up_dirs" -le 1 ] || [ "$4" = 1 ] || up_fail "${1%/*} does not exist, and \`parents\` is false"
    printf '%s.\n' "$up_dirs" >"$UP_PRE.dirs" || up_fail "cannot write to the state folder ${UP_PRE%/*}"
    up_sync "$UP_PRE.dirs" "${UP_PRE%/*}"
  fi
  umask 077
  up_mkdir "$1" "$2" "$3" "$up_dirs"
}

# Recursion from the topmost missing folder down; the positional parameters are the function's own.
up_mkdir() {
  [ "$4" -gt 0 ] || return 0
  up_mkdir "${1%/*}" "$2" "$3" $(($4 - 1))
  { [ -d "$1" ] || mkdir -- "$1"; } && { [ -z "$3" ] || chown -- "$3" "$1"; } && chmod -- "$2" "$1" || exit 1
}

# Sets up_dirs to the number that up_mkdirs wrote; empty where it had not (or not wholly) written it.
up_read_dirs() {
  up_dirs=
  [ ! -e "$UP_PRE.dirs" ] || IFS= read -r up_dirs <"$UP_PRE.dirs" || up_dirs=
  case $up_dirs in *[0-9].) up_dirs=${up_dirs%.} ;; *) up_dirs= ;; esac
}

# up_rmdirs PATH: removes the folders that up_mkdirs made; stops at one that holds something.
up_rmdirs() {
  up_read_dirs
  up_level=$1
  while [ "${up_dirs:-0}" -gt 0 ]; do
    if up_there "$up_level"; then
      rmdir -- "$up_level" || up_fail "$up_level is not empty (or not a folder any more): something else was put there; it stays"
    fi
    up_dirs=$((up_dirs - 1)) up_level=${up_level%/*}
  done
  [ ! -e "$UP_PRE.dirs" ] || rm -f -- "$UP_PRE.dirs"
}

# up_link PATH TARGET HOW FORCE: HOW is -s (symbolic) or empty (hard). FORCE=1: a file there is replaced, too.
up_link() {
  up_need_parent "$1"
  [ -L "$1" ] || [ ! -d "$1" ] || up_fail "$1 is a folder"
  [ "$4" = 1 ] || up_kept || [ -L "$1" ] || [ ! -e "$1" ] || up_fail "$1 exists and is no symbolic link (\`force\` replaces it)"
  up_keep "$1"
  up_temp "$1"
  ln $3 -- "$2" "$up_tmp" && up_sync "${UP_PRE%/*}" && up_rename "$up_tmp" "$1" || exit 1
}

# up_unescape TEXT: sets up_text to a path of /proc/self/mountinfo (space, tab, newline and backslash are octal there).
up_unescape() {
  up_text=$1
  case $1 in *\\*) up_text=$(printf '%b.' "$1") up_text=${up_text%.} ;; esac
}

# up_mount PATH: sets up_mount_id and up_mount_type of the mount that holds PATH, and up_mount_below to a mount point at
# or below PATH, if there is one. The folder of PATH must exist. Ends the program where mounts cannot be told apart.
up_mount() {
  up_real=$(cd -P -- "${1%/*}/" && printf '%s.' "$PWD") || exit 1
  up_real=${up_real%.} up_real=${up_real%/}/${1##*/}
  up_best=-1 up_mount_id= up_mount_type= up_mount_below=
  [ -r /proc/self/mountinfo ] || up_fail "cannot read /proc/self/mountinfo, so mount points cannot be told from folders"
  while read -r up_id up_x up_x up_x up_point up_rest; do
    up_unescape "$up_point"
    case $up_text/ in "$up_real"/*) up_mount_below=$up_text ;; esac
    case $up_real/ in
      "${up_text%/}"/*)
        if [ ${#up_text} -ge $up_best ]; then
          up_best=${#up_text} up_mount_id=$up_id up_rest=${up_rest#*" - "} up_mount_type=${up_rest%% *}
        fi
        ;;
    esac
  done </proc/self/mountinfo
}

# up_movable PATH: whether rename(2) can take the folder PATH to the state folder. On an overlay it may not (folders that
# come from below), and mv would copy without saying so.
up_movable() {
  up_mount "$1"
  [ -z "$up_mount_below" ] || up_fail "$up_mount_below is a mount point; unmount it first"
  case $up_real in /*/*) ;; *) up_fail "$1 is the top-level folder $up_real; it is never removed" ;; esac
  up_from=$up_mount_id
  [ "$up_mount_type" != overlay ] || return 1
  up_mount "$UP_PRE"
  [ "$up_from" = "$up_mount_id" ]
}

# up_look_removal PATH: what would keep the folder PATH from being removed: top=1, mount=1.
up_look_removal() {
  { [ -d "$1" ] && [ ! -L "$1" ]; } || return 0
  up_mount "$1"
  case $up_real in /*/*) ;; *) printf 'top=1\n' ;; esac
  [ -z "$up_mount_below" ] || printf 'mount=1\n'
}

# up_remove PATH RECURSIVE: removes what is there; a folder only with RECURSIVE=1. Its pre-image is the thing itself
# where the state folder is on the same mount, else a complete copy.
up_remove() {
  if ! up_there "$1"; then
    if up_kept && [ ! -e "$UP_PRE.moved" ]; then : >"$UP_PRE.gone"; fi
    return 0
  fi
  if [ -L "$1" ] || [ ! -d "$1" ]; then
    up_keep "$1"
    up_sync "${UP_PRE%/*}"
    rm -f -- "$1" && : >"$UP_PRE.gone" || exit 1
    return
  fi
  [ "$2" = 1 ] || up_fail "$1 is a folder (\`recursive: true\` removes it and all that is in it)"
  case ${UP_PRE}/ in "$1"/*) up_fail "$1 holds ultraplan's state folder" ;; esac
  if ! up_kept; then
    if up_movable "$1"; then
      mv -- "$1" "$UP_PRE.moved" || exit 1
      up_sync "${UP_PRE%/*}"
      return
    fi
    [ ! -e "$UP_PRE.gone" ] || rm -f -- "$UP_PRE.gone"
    up_keep_copy "$1"
  fi
  up_there "$UP_PRE.copy" || up_fail "something new is at $1"
  rm -rf -- "$1" && : >"$UP_PRE.gone" || exit 1
}

# up_return PATH: the reverse of up_remove.
up_return() {
  if [ -d "$UP_PRE.moved" ]; then
    ! up_there "$1" || up_fail "something new is at $1; not replaced"
    up_need_parent "$1"
    mv -- "$UP_PRE.moved" "$1" || exit 1
  elif [ -d "$UP_PRE.copy" ] && [ ! -L "$UP_PRE.copy" ]; then
    [ ! -e "$UP_PRE.gone" ] || ! up_there "$1" || up_fail "something new is at $1; not replaced"
    up_need_parent "$1"
    up_temp "$1"
    up_copy "$UP_PRE.copy" "$up_tmp" || up_fail "cannot put $1 back from $UP_PRE.copy"
    sync
    # From here on the copy is complete beside PATH; what may still be at PATH are the remains of a removal.
    rm -f -- "$UP_PRE.gone" && rm -rf -- "$1" && mv -- "$up_tmp" "$1" && mv -- "$UP_PRE.copy" "$UP_PRE.part" || exit 1
  else
    up_back "$1"
  fi
  rm -rf -- "$UP_PRE.part"
  up_untemp "$1"
}
