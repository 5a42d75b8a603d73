# Archives: tar files, plain or compressed, made and unpacked with the host's own tar (GNU's or busybox's).

# up_tar_tool FORMAT: sets up_tool, which compresses and decompresses it.
up_tar_tool() {
  case $1 in gz) up_tool=gzip ;; bz2) up_tool=bzip2 ;; xz) up_tool=xz ;; zst) up_tool=zstd ;; *) up_tool=cat ;; esac
  command -v "$up_tool" >/dev/null 2>&1 || up_fail "this host has no $up_tool, which a .tar.$1 needs"
}

up_tar_gnu() { case $(tar --version 2>/dev/null) in *"GNU tar"*) return 0 ;; *) return 1 ;; esac; }

# up_tar_sound FILE FORMAT: ends the program where FILE is missing or damaged as far as its compression tells.
up_tar_sound() {
  [ -f "$1" ] || up_fail "$1 is not there, or no file"
  up_tar_tool "$2"
  [ "$up_tool" = cat ] || "$up_tool" -t <"$1" >/dev/null || up_fail "$1 is damaged, or no .tar.$2"
}

# up_tar FILE FORMAT WORD…: `tar WORD…` with the tar in FILE as its stdin.
up_tar() {
  up_file=$1
  up_tar_tool "$2"
  shift 2
  if [ "$up_tool" = cat ]; then tar "$@" <"$up_file"; else "$up_tool" -dc <"$up_file" 2>/dev/null | tar "$@"; fi
}

# up_tar_list FILE FORMAT: its members, a line each, as `tar -tv` shows them.
up_tar_list() { LC_ALL=C up_tar "$1" "$2" -tvf -; }

# up_tar_count FILE FORMAT: how many members it has; ends the program where it cannot be listed or is empty.
up_tar_count() {
  up_tar_sound "$1" "$2"
  up_count=$(up_tar "$1" "$2" -tf - | wc -l)
  up_count=$((up_count))
  [ $up_count -gt 0 ] && up_tar "$1" "$2" -tf - >/dev/null || up_fail "$1 cannot be listed, or is empty"
}

# up_tar_look FILE FORMAT DEST STRIP OWNER GROUP ALL: what is in FILE and how what is at DEST differs from it.
up_tar_look() {
  if [ -L "$3" ]; then echo dest=link; elif [ -d "$3" ]; then stat -c 'dest=folder
access=0%a %u:%g' "$3"; elif [ -e "$3" ]; then echo dest=other
  else echo dest=absent; [ -d "${3%/*}/" ] || echo orphan=1; fi
  if [ ! -f "$1" ]; then echo archive=absent; return; fi
  up_tar_sound "$1" "$2"
  if up_tar_gnu; then echo tar=gnu; else echo tar=plain; fi
  printf '\n//list\n'
  up_tar_list "$1" "$2" || up_fail "$1 is no tar archive, or a damaged one"
  [ -d "$3" ] && [ ! -L "$3" ] || return 0
  printf '\n//differs\n'
  up_tar_differs "$@" || return
  [ -z "$7" ] || { printf '\n//there\n' && cd "$3" && find .// -print; }
}

# What a member of the archive is compared by; its content is on stdin.
up_tar_compare='
  up_name=${TAR_FILENAME#./}
  while [ "$UP_STRIP" -gt 0 ]; do
    case $up_name in */*) up_name=${up_name#*/} ;; *) up_name= ;; esac
    UP_STRIP=$((UP_STRIP - 1))
  done
  up_f=$UP_DEST/$up_name
  up_m=${TAR_MODE#10}
  while :; do case $up_m in 0?*) up_m=${up_m#0} ;; *) break ;; esac; done
  if [ -z "$up_name" ]; then :
  elif [ ! -f "$up_f" ] || [ -L "$up_f" ]; then echo "$up_name"
  elif [ "$TAR_SIZE" != 0 ] && ! cmp -s - "$up_f"; then echo "$up_name"
  elif [ "$TAR_SIZE" != 0 ] || [ ! -s "$up_f" ]; then
    IFS=/
    set -f
    set -- $(stat -c "%a/%u/%U/%g/%G" "$up_f")
    [ "$1" = "$up_m" ] && case $UP_OWNER in "" | "$2" | "$3") ;; *) false ;; esac &&
      case $UP_GROUP in "" | "$4" | "$5") ;; *) false ;; esac || echo "$up_name"
  fi
  cat >/dev/null'

# up_tar_differs FILE FORMAT DEST STRIP OWNER GROUP: the names of members that DEST does not have, or has otherwise.
up_tar_differs() {
  ( export UP_DEST="$3" UP_STRIP="$4" UP_OWNER="$5" UP_GROUP="$6"
    up_tar "$1" "$2" -xf - "--to-command=$up_tar_compare" ) 2>/dev/null
  up_words=
  ! up_tar_gnu || up_words=--quoting-style=literal
  # Folders, links and empty files, which are not handed to a command: "MODE OWNER SIZE DATE TIME NAME".
  LC_ALL=C up_tar "$1" "$2" $up_words -tvf - 2>/dev/null | while IFS= read -r up_line; do
    case $up_line in [dl-]*) ;; *) continue ;; esac
    up_perms=${up_line%% *}
    up_rest=$up_line
    for up_x in 1 2 3 4 5; do
      up_rest=${up_rest#* }
      while :; do case $up_rest in ' '*) [ $up_x != 5 ] || break; up_rest=${up_rest# } ;; *) break ;; esac; done
      [ $up_x != 2 ] || up_size=${up_rest%% *}
    done
    up_target=
    case $up_line in
      l*) up_target=${up_rest#*" -> "} up_rest=${up_rest%%" -> "*} ;;
      -*) [ "$up_size" = 0 ] || continue
        case $up_rest in *" -> "*) continue ;; esac ;;
    esac
    up_rest=${up_rest%/} up_rest=${up_rest#./}
    up_x=$4
    while [ "$up_x" -gt 0 ]; do
      case $up_rest in */*) up_rest=${up_rest#*/} ;; *) up_rest= ;; esac
      up_x=$((up_x - 1))
    done
    case $up_rest in '' | .) continue ;; esac
    up_f=$3/$up_rest
    case $up_line in
      l*) [ -L "$up_f" ] && [ "$(readlink "$up_f")" = "$up_target" ] || printf '%s\n' "$up_rest" ;;
      d*) [ -d "$up_f" ] && [ ! -L "$up_f" ] && [ "$(stat -c %A "$up_f")" = "$up_perms" ] || printf '%s\n' "$up_rest" ;;
      -*) [ -f "$up_f" ] && [ ! -L "$up_f" ] && [ ! -s "$up_f" ] || printf '%s\n' "$up_rest" ;;
    esac
  done
}

# up_tar_strip FILE FORMAT STRIP: sets up_strip, how many components tar has to leave out: to tar a leading `.` is one.
up_tar_strip() {
  up_strip=$3
  [ "$3" -gt 0 ] || return 0
  up_bare=$(up_tar "$1" "$2" -tf - | grep -c -v '^\./') || :
  [ "$up_bare" != 0 ] || { up_strip=$(($3 + 1)); return 0; }
  [ -z "$(up_tar "$1" "$2" -tf - | grep '^\./' | head -n 1)" ] ||
    up_fail "some names in $1 begin with ./ and some do not, so \`strip\` has no one meaning"
}

# up_tar_unpack FILE FORMAT STRIP OWNER: unpacks into the folder x of the stage, and checks what came: nothing but files,
# folders and links is taken. Hard links are checked before: a tar may make them to anything on the host.
up_tar_unpack() {
  up_tar_sound "$1" "$2"
  if up_tar_list "$1" "$2" 2>/dev/null | grep -q -E '^[-h].*( -> | link to )(/|\.\./|.*/\.\./|\.\.$|.*/\.\.$)'; then
    up_fail "$1 holds a hard link that leads out of the archive"
  fi
  up_tar_strip "$1" "$2" "$3"
  mkdir -- "$up_tmp/x" && chmod 0755 "$up_tmp/x" || exit 1
  if ! up_said=$(up_tar "$1" "$2" -xpf - -C "$up_tmp/x" "--strip-components=$up_strip" 2>&1); then
    up_fail "cannot unpack $1: $up_said"
  fi
  case $up_said in *"emoving leading"*) up_fail "$1 holds absolute names, or names with \`..\`" ;; esac
  [ -z "$(find "$up_tmp/x" ! -type f ! -type d ! -type l | head -n 1)" ] ||
    up_fail "$1 holds devices, pipes or sockets"
  if [ -n "$4" ]; then chown -hR -- "$4" "$up_tmp/x" || exit 1; fi
}

# up_tar_links: ends the program where a symbolic link in the stage leads out of it. Only leading `..` are allowed: they go
# up real folders, and whatever follows goes down, through links that have been checked as well.
up_tar_links() {
  up_out=$(cd -- "$up_tmp/x" && find . -type l -exec sh -c '
    for up_l; do
      up_t=$(readlink "$up_l"; printf x)
      up_t=${up_t%?x} up_d=${up_l#./}
      while :; do
        case $up_t in
          .. | ../*)
            case $up_d in */*) ;; *) printf "%s\n" "$up_l"; break ;; esac
            up_d=${up_d#*/} up_t=${up_t#..} up_t=${up_t#/} ;;
          ./*) up_t=${up_t#./} ;;
          /* | */.. | */../*) printf "%s\n" "$up_l"; break ;;
          *) break ;;
        esac
      done
    done' sh {} +) || exit 1
  [ -z "$up_out" ] || up_fail "symbolic links of the archive lead out of it (\`outside_links: true\` allows that): $up_out"
}

# up_tar_like MODE OWNER: the folder in the stage gets what the one has that it replaces.
up_tar_like() { chown -- "$2" "$up_tmp/x" && chmod -- "$1" "$up_tmp/x"; }

# up_tree_walk FUNCTION BELOW: calls FUNCTION, as `up_tree_entries` does, for what in x differs from what is at the root.
# The positional parameters are the function's own, so that it can call itself.
up_tree_walk() {
  for up_from in "$up_tmp/x$2"/* "$up_tmp/x$2"/.[!.]* "$up_tmp/x$2"/..?*; do
    up_there "$up_from" || continue
    up_to=$up_root$2/${up_from##*/}
    if [ -d "$up_from" ] && [ ! -L "$up_from" ] && up_there "$up_to"; then
      [ ! -L "$up_to" ] || up_fail "$up_to is a symbolic link; nothing is written through it"
      [ -d "$up_to" ] || up_fail "$up_to is in the way: it is no folder"
      up_have=$(stat -c '%a %u:%g' -- "$up_to") up_want=$(stat -c '%a %u:%g' -- "$up_from")
      if [ "$up_have" != "$up_want" ]; then
        "$1" meta "$up_to" "0${up_want% *}" "${up_want#* }" || return
      fi
      up_tree_walk "$1" "$2/${up_from##*/}" || return
    elif [ ! -d "$up_from" ] && [ ! -L "$up_from" ] && [ -f "$up_to" ] && [ ! -L "$up_to" ] &&
        cmp -s -- "$up_from" "$up_to" && [ "$(stat -c '%a %u:%g' -- "$up_to")" = "$(stat -c '%a %u:%g' -- "$up_from")" ]; then
      continue
    elif [ -L "$up_from" ] && [ -L "$up_to" ] && [ "$(readlink "$up_from"; printf x)" = "$(readlink "$up_to"; printf x)" ]; then
      continue
    else
      if [ -d "$up_to" ] && [ ! -L "$up_to" ]; then up_fail "$up_to is a folder, and in the archive it is none"; fi
      "$1" put "$up_to" "x$2/${up_from##*/}" || return
    fi
  done
}

# up_tar_pack FILE FORMAT MODE FOLDER CHOICE NAME…: makes FILE from the NAMEs (`./…`) in FOLDER. CHOICE: as one word, the
# quoted words of a `find` expression that takes things out, or nothing. A backup that lacks something is none: whatever
# cannot be read, or changes while it is read, makes it fail.
up_tar_pack() {
  up_dest=$1 up_format=$2 up_mode=$3 up_folder=$4 up_choice=$5
  shift 5
  up_need_parent "$up_dest"
  [ ! -L "$up_dest" ] && [ ! -d "$up_dest" ] || up_fail "$up_dest is a folder or a symbolic link"
  for up_name; do
    up_there "$up_folder/$up_name" || up_fail "$up_folder/${up_name#./} does not exist"
  done
  up_tar_tool "$up_format"
  case $up_tool in cat) up_flag= ;; gzip) up_flag=-nc ;; zstd) up_flag=-qc ;; *) up_flag=-c ;; esac
  up_keep "$up_dest"
  up_temp "$up_dest"
  umask 077
  : >"$UP_PRE.part" || exit 1
  # shellcheck disable=SC2086
  ( cd -- "$up_folder/" && up_tar_members "$@" || echo tar >>"$UP_PRE.part" ) | "$up_tool" $up_flag >"$up_tmp" || echo "$up_tool" >>"$UP_PRE.part"
  if [ -s "$UP_PRE.part" ]; then
    rm -f -- "$up_tmp" "$UP_PRE.part"
    up_fail "the archive could not be made whole"
  fi
  up_tar_count "$up_tmp" "$up_format"
  chmod -- "$up_mode" "$up_tmp" && up_sync "$up_tmp" "${UP_PRE%/*}" && up_rename "$up_tmp" "$up_dest" &&
    rm -f -- "$UP_PRE.part" || exit 1
}

up_tar_members() {
  if up_tar_gnu; then
    { eval "find \"\$@\" $up_choice -print0" || echo find >>"$UP_PRE.part"; } | sort -z | tar --null --no-recursion -cf - -T -
  elif [ -z "$up_choice" ]; then
    tar -cf - "$@"
  else
    export UP_PRE
    eval "find \"\$@\" $up_choice -exec sh -c '
      [ ! -e \"\$UP_PRE.once\" ] || { echo \"too many names for this tar when things are excluded\" >&2; exit 1; }
      : >\"\$UP_PRE.once\" && exec tar --no-recursion -cf - \"\$@\"' sh {} +"
    up_rc=$?
    rm -f -- "$UP_PRE.once"
    return $up_rc
  fi
}

# up_tar_about FILE FORMAT ALL PATH…: what is at FILE, and with ALL whether anything in the PATHs changed after it.
up_tar_about() {
  up_file=$1 up_format=$2 up_all=$3
  shift 3
  if [ -L "$up_file" ] || { [ -e "$up_file" ] && [ ! -f "$up_file" ]; }; then echo kind=other; return; fi
  if [ ! -e "$up_file" ]; then
    echo kind=absent
    [ -d "${up_file%/*}/" ] || echo orphan=1
    return
  fi
  echo kind=file
  up_found=$(stat -c 'size=%s
mode=%a' -- "$up_file") && up_sum=$(up_sha256 <"$up_file") || return
  printf '%s\n' "$up_found" "sha256=$up_sum"
  ( up_tar_count "$up_file" "$up_format" && echo "entries=$up_count" ) 2>/dev/null
  [ -z "$up_all" ] || [ -z "$(find "$@" -newer "$up_file" 2>/dev/null | head -n 1)" ] || echo older=1
}
