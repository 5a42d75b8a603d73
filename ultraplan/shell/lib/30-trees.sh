# Trees: many paths changed by one operation.
#
# Each path that is changed has a pre-image of its own, as 20-files.sh tells it, under the prefix $UP_PRE.N, where N
# counts up; $UP_PRE.N.path holds the path. They are a stack: whoever starts again after a kill secures, on top, what is
# there now, and the reverse takes them off from the top down, so it needs to know nothing but what it finds there.
#   $UP_PRE.N.access  mode and owner, where only those change     $UP_PRE.N.names  what is in a folder that came anew
#   $UP_PRE.N.going   what came anew is being removed             $UP_PRE.tmp      the name of the stage beside the root
# New things are made whole in the stage, and then renamed into place.

# up_tree_look NAME…: what is there below the working folder. NAMEs begin with ".//", which no path holds again, so no
# name, whatever is in it, can be taken for another record. Sections: stat, sum (of files), link (of symbolic links).
up_tree_look() {
  printf '\n//stat\n'
  stat -c '%f %u %g %s %U//%G//%n' "$@" 2>/dev/null
  printf '\n//sum\n'
  ( for up_name; do
      shift
      if [ -f "$up_name" ] && [ ! -L "$up_name" ]; then set -- "$@" "$up_name"; fi
    done
    [ $# = 0 ] || sha256sum "$@" ) || return
  printf '\n//link\n'
  for up_name; do
    [ ! -L "$up_name" ] || { printf '%s\0' "$up_name" && readlink -n "$up_name" && printf '\0'; } || return
  done
}

# up_tree_all NAME: as the first section of up_tree_look, of all that is at and below NAME.
up_tree_all() {
  up_there "$1" || return 0
  printf '\n//stat\n'
  find "$1" -exec stat -c '%f %u %g %s %U//%G//%n' {} +
}

# up_tree_apply ROOT FOLDER…: carries out what `up_tree_entries`, which the program defines, lists: it calls its argument
# with `put PATH NAME` (NAME in the stage), `drop PATH` or `meta PATH MODE OWNER`. `up_tree_stage` fills the stage. The
# FOLDERs are those that things are put into: they must be folders, not links to some.
up_tree_apply() {
  up_tree_begin "$@"
  ( up_tree_stage || up_fail "cannot unpack beside $1"
    up_n=$up_first
    up_tree_entries up_tree_keep || exit 1
    up_sync "${up_base%/*}"
    up_n=$up_first
    up_tree_entries up_tree_do || exit 1 )
  up_rc=$?
  rm -rf -- "$up_tmp" && return $up_rc
}

up_tree_begin() {
  up_root=$1
  [ ! -L "$1" ] || up_fail "$1 is a symbolic link; name what it leads to"
  up_need_parent "$1"
  shift
  for up_folder; do
    [ ! -L "$up_folder" ] || up_fail "$up_folder is a symbolic link; nothing is written through it"
    [ -d "$up_folder" ] || up_fail "$up_folder is not a folder any more"
  done
  up_base=$UP_PRE
  up_tree_beside "$up_root"
  up_temp "$up_place"
  ( umask 077; mkdir -- "$up_tmp" ) || exit 1
  up_first=0
  while [ -e "$up_base.$((up_first + 1)).path" ]; do up_first=$((up_first + 1)); done
}

# up_tree_beside ROOT: sets up_place, whose folder is on the file system of ROOT and can be written.
up_tree_beside() {
  up_place=$1
  [ -d "$1" ] && [ ! -L "$1" ] || return 0
  if [ ! -w "${1%/*}/" ] || [ "$(stat -c %d -- "${1%/*}/")" != "$(stat -c %d -- "$1/")" ]; then up_place=$1/x; fi
}

# up_tree_untar FILE: unpacks a tar that the controller made, into the stage.
up_tree_untar() { tar -xpf "$1" -C "$up_tmp"; }

up_tree_keep() {
  up_n=$((up_n + 1))
  UP_PRE=$up_base.$up_n
  printf %s "$2" >"$UP_PRE.path" || up_fail "cannot write to the state folder ${up_base%/*}"
  case $1 in
    meta)
      [ ! -L "$2" ] || up_fail "$2 is a symbolic link"
      stat -c '%a %u:%g' -- "$2" >"$UP_PRE.part" && mv -- "$UP_PRE.part" "$UP_PRE.access" || exit 1 ;;
    *)
      # Folders and links are moved away when their turn comes.
      [ -L "$2" ] || [ -d "$2" ] || up_keep "$2" ;;
  esac
}

up_tree_do() {
  up_n=$((up_n + 1))
  UP_PRE=$up_base.$up_n
  if [ "$1" = meta ]; then
    [ ! -L "$2" ] || up_fail "$2 is a symbolic link"
    { [ -z "$4" ] || chown -- "$4" "$2"; } && { [ -z "$3" ] || chmod -- "$3" "$2"; } || exit 1
    return
  fi
  if [ -L "$2" ] || [ -d "$2" ]; then up_remove "$2" 1
  elif [ "$1" = drop ]; then rm -f -- "$2" || exit 1
  fi
  [ "$1" = put ] || return 0
  if [ -d "$up_tmp/$3" ] && [ ! -L "$up_tmp/$3" ]; then
    up_tree_names "$up_tmp/$3" >"$UP_PRE.part" && mv -- "$UP_PRE.part" "$UP_PRE.names" || exit 1
    # Over what a rename cannot replace: what is secured is gone from here.
    [ ! -e "$2" ] || rm -f -- "$2" || exit 1
  fi
  up_rename "$up_tmp/$3" "$2" || exit 1
}

# up_tree_names FOLDER: a digest of the names in it.
up_tree_names() ( cd -- "$1" && find . | LC_ALL=C sort | up_sha256; )

# up_tree_undo ROOT: puts back everything that was secured, the last first; nothing where nothing was.
up_tree_undo() {
  up_base=$UP_PRE
  [ -e "$up_base.tmp" ] || return 0
  up_n=0
  while [ -e "$up_base.$((up_n + 1)).path" ]; do up_n=$((up_n + 1)); done
  while [ $up_n -gt 0 ]; do
    UP_PRE=$up_base.$up_n
    up_tree_back
    rm -f -- "$UP_PRE.path" || exit 1
    up_n=$((up_n - 1))
  done
  UP_PRE=$up_base
  if [ -d "$1" ] && [ ! -L "$1" ]; then up_temp "$1/x"; fi
  up_untemp "$1"
}

up_tree_back() {
  up_path=$(cat <"$UP_PRE.path" && printf x) || exit 1
  up_path=${up_path%x}
  rm -rf -- "$UP_PRE.part"
  [ -n "$up_path" ] || return 0
  if [ -e "$UP_PRE.access" ]; then
    read -r up_mode up_owner <"$UP_PRE.access"
    [ -e "$up_path" ] && [ ! -L "$up_path" ] || up_fail "$up_path is not there any more"
    chown -- "$up_owner" "$up_path" && chmod -- "0$up_mode" "$up_path" && rm -f -- "$UP_PRE.access" || exit 1
  elif up_kept; then
    up_tree_clear
    rm -rf -- "$UP_PRE.gone"
    if [ -e "$UP_PRE.none" ]; then rm -f -- "$UP_PRE.none" || exit 1; else up_return "$up_path"; fi
  fi
  up_untemp "$up_path"
  rm -f -- "$UP_PRE.names" "$UP_PRE.going" || exit 1
}

# Removes what came anew at up_path. A folder that holds more than what came stays, as does everything below it.
up_tree_clear() {
  if [ -L "$up_path" ] || [ ! -d "$up_path" ]; then
    # A file is replaced by a rename; where there was none, or something else, it goes.
    [ -f "$UP_PRE.link" ] && [ ! -L "$UP_PRE.link" ] || rm -f -- "$up_path" || exit 1
    return 0
  fi
  if [ -e "$UP_PRE.names" ] && [ ! -e "$UP_PRE.going" ]; then
    [ "$(cat <"$UP_PRE.names")" = "$(up_tree_names "$up_path")" ] ||
      up_fail "$up_path is not as it came: names were added or removed; it stays"
    : >"$UP_PRE.going" || exit 1
  fi
  # Without a digest, what is at up_path is what was there: nothing had come yet.
  if [ -e "$UP_PRE.names" ] || [ -e "$UP_PRE.gone" ]; then rm -rf -- "$up_path" || exit 1; fi
}

# up_tree_contents NAME: the sections that up_tree_all lacks, of all files and links at and below NAME.
up_tree_contents() {
  up_there "$1" || return 0
  printf '\n//sum\n'
  find "$1" -type f -exec sha256sum {} + || return
  printf '\n//link\n'
  find "$1" -type l -exec sh -c 'for up_l; do printf "%s\0" "$up_l" && readlink -n "$up_l" && printf "\0"; done' sh {} +
}
