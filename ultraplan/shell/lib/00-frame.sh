# The frame around each program's answer (docs/decisions/0020-framed-shell.md).
# _up_nonce is set by the controller, is not exported, and is unset where a program runs.

# frame_end SEQUENCE STATUS: ends the answer on both streams. One write each, so nothing can come in between.
frame_end() {
	printf '\036%s %s %s\n' "$_up_nonce" "$1" "$2"
	printf '\036%s %s %s\n' "$_up_nonce" "$1" "$2" >&2
}

# sshd gives a shell that is no login shell a PATH without the administration tools.
for _up_dir in /usr/local/sbin /usr/sbin /sbin; do
	case :$PATH: in *:"$_up_dir":*) ;; *) PATH=$PATH:$_up_dir ;; esac
done
unset _up_dir
