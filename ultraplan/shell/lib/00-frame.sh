# The frame around each program's answer (docs/decisions/0020-framed-shell.md).
# _up_nonce is set by the controller, is not exported, and is unset where a program runs.

# frame_end SEQUENCE STATUS: ends the answer on both streams. One write each, so nothing can come in between.
frame_end() {
	printf '\036%s %s %s\n' "$_up_nonce" "$1" "$2"
	printf '\036%s %s %s\n' "$_up_nonce" "$1" "$2" >&2
}

# up_next TOKEN STATUS: ends the answer of one of several looks that share a shell.
up_next() { printf '\036%s %s\n' "$1" "$2"; }

# sshd gives a shell that is no login shell a PATH without the administration tools.
for _up_dir in /usr/local/sbin /usr/sbin /sbin; do
	case :$PATH: in *:"$_up_dir":*) ;; *) PATH=$PATH:$_up_dir ;; esac
done
unset _up_dir

# Who runs this shell, asked once, as `id` says it: uid=0(root) gid=0(root) groups=…
_up_id=$(id)

# up_ids: sets up_uid, up_user, up_gid and up_group of the account that this shell runs as. A number without a name stands
# for itself.
up_ids() {
  case $_up_id in *" euid="* | *" egid="*) up_uid=$(id -u) up_user=$(id -un) up_gid=$(id -g) up_group=$(id -gn); return ;; esac
  up_rest=${_up_id#uid=}
  up_uid=${up_rest%%[!0-9]*} up_rest=${up_rest#"${up_rest%%[!0-9]*}"} up_user=$up_uid
  case $up_rest in "("*) up_rest=${up_rest#?} up_user=${up_rest%%")"*} ;; esac
  up_rest=${up_rest#*gid=}
  up_gid=${up_rest%%[!0-9]*} up_rest=${up_rest#"${up_rest%%[!0-9]*}"} up_group=$up_gid
  case $up_rest in "("*) up_rest=${up_rest#?} up_group=${up_rest%%")"*} ;; esac
}
