"""What every transport promises: see `ultraplan.transport.base`."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.transports import NAMES, opened
from ultraplan.shell import Account, literal, quote
from ultraplan.transport.base import ConnectionLost, DeadlineExceeded, TransferFailed
from ultraplan.transport.connection import WiredConnection
from ultraplan.transport.ssh import SSHConnection

Connection = WiredConnection


@pytest.fixture(scope="module", params=NAMES)
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    with opened(request.param) as it:
        yield it


def alive(pid: int) -> bool:
    """Running, and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: object, seconds: float = 5.0) -> None:
    assert callable(condition)
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


# -- answers

BYTES = {
    "nothing": b"", "no newline at the end": b"x", "newlines at the end": b"x\n\n\n", "NUL": b"a\0b\0",
    "all bytes": bytes(range(256)) * 3, "the beginning of a mark": b"\x1e", "many such beginnings": b"\x1e" * 5000,
    "a mark with another nonce": b"\x1e" + b"0" * 32 + b" 1 0\n", "UTF-8": "žluťoučký kůň 🐎".encode(),
}


@pytest.mark.parametrize("content", BYTES.values(), ids=BYTES.keys())
def test_output_arrives_byte_for_byte_on_both_streams(connection: Connection, content: bytes) -> None:
    reply = connection.shell().run(f"{literal(content)}; {literal(content[::-1])} >&2")
    assert (reply.exit, reply.stdout, reply.stderr, reply.truncated) == (0, content, content[::-1], False)


@pytest.mark.parametrize(("text", "expected"), [
    ("true", 0), ("exit 3", 3), ("exit 255", 255), ("false", 1), ("no-such-command-here", 127),
    ("sh -c 'kill -9 $$'", 137), ("", 0), ("# only a comment", 0), ("exec sh -c 'exit 9'", 9), ("return 4", 4),
    ("-e", 127),
])
def test_the_exit_code_is_the_programs(connection: Connection, text: str, expected: int) -> None:
    assert connection.shell().run(text).exit == expected


BROKEN = [
    "if", "fi", "'", '"', "`", "$(", "${", ")", "(", "}", "{", "cat <<EOF", "case x in", "a() {", "echo \\", "|", "&&",
    ";;", "<", "done", "for", "echo ${x?gone}", "set -u; echo $nothing", "shift 9", ". /no/such/file", "break 0",
    "unset frame_end; exit 1", "frame_end() { :; }; exit 1", "readonly _up_status=7; exit 1", "trap '' 1 2 3 15; false",
]


ACCEPTED = ["cat <<EOF", "echo \\", "break 0", "done", "shift 9"]  # by one shell or the other


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_program_harms_only_itself(connection: Connection, text: str) -> None:
    shell = connection.shell()
    shell.run(":")
    before = shell.pid
    broken, after = shell.run_many([text, "echo after"])
    assert broken.exit != 0 or text in ACCEPTED
    assert after.stdout == b"after\n"
    assert shell.run("echo fine").stdout == b"fine\n"
    assert shell.pid == before


@pytest.mark.parametrize(("text", "probe"), [
    ("cd /", "pwd"), ("leaked=1; export leaked", 'echo "${leaked-no}"'), ("trap 'echo leaked' EXIT", "trap"),
    ("set -e", "echo $-"), ("set -u", "echo $-"), ("set -f", "echo $-"), ("set -- a b c", "echo $#"),
    ("umask 000", "umask"),
    ("leaked() { :; }", "command -v leaked || echo no"), ("exec 7</dev/null", "[ -e /dev/fd/7 ] && echo yes"),
    ("ulimit -n 17", "ulimit -n"), ("alias leaked=ls", "alias leaked 2>/dev/null"), ("PATH=", 'echo "$PATH"'),
    ("IFS=x", 'echo "$IFS"'),
    ("exec >/dev/null 2>&1", "echo heard; echo heard >&2"), ("_up_status=7", 'echo "${_up_status-none}"'),
    ("unset HOME", 'echo "$HOME"'),
])
def test_a_program_leaves_nothing_behind_in_the_shell(connection: Connection, text: str, probe: str) -> None:
    shell = connection.shell()
    before = shell.run(probe)
    shell.run(text)
    after = shell.run(probe)
    assert (after.exit, after.stdout, after.stderr) == (before.exit, before.stdout, before.stderr)


def test_stdin_is_empty(connection: Connection) -> None:
    reply = connection.shell().run("cat; read -r line; echo $?; wc -c")
    assert reply.stdout.split() == [b"1", b"0"]


@pytest.mark.parametrize("text", ["exec >&-; :", "exec >&- 2>&-; :", "exec 2>&-; :", "exec 0<&-; :"])
def test_a_program_may_close_its_streams(connection: Connection, text: str) -> None:
    shell = connection.shell()
    assert shell.run(text).exit == 0
    assert shell.run("echo out; echo err >&2").stderr == b"err\n"


def test_a_program_cannot_learn_the_nonce(connection: Connection) -> None:
    shell = connection.shell()
    reply = shell.run("set; env; echo \"[$_up_nonce]\"; cat /proc/$$/environ /proc/$$/cmdline")
    assert b"[]" in reply.stdout
    assert shell._out._begin[1:-1] not in reply.stdout + reply.stderr


def test_the_function_library_is_there(connection: Connection) -> None:
    assert connection.shell().run("command -v frame_end").stdout == b"frame_end\n"
    assert connection.side("command -v frame_end").stdout == b"frame_end\n"


def test_a_nul_character_is_refused_before_anything_is_sent(connection: Connection, tmp_path: Path) -> None:
    shell = connection.shell()
    with pytest.raises(ValueError, match="NUL"):
        shell.run_many([f"touch {quote(str(tmp_path / 'x'))}", "echo \0"])
    assert not (tmp_path / "x").exists()
    assert shell.run("echo fine").stdout == b"fine\n"


# -- values


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), min_size=1, max_size=8))
def test_any_text_arrives_as_one_argument(connection: Connection, values: list[str]) -> None:
    replies = connection.shell().run_many([f"set -- {quote(value)}; echo $#; printf %s \"$1\"" for value in values])
    assert [reply.stdout for reply in replies] == [b"1\n" + value.encode() for value in values]


HOSTILE = [
    "", " ", "a b", "-rf", "--", "$(touch pwned)", "`id`", "';id;'", '"; id; "', "a\nb\n", "\\", "\\n", "~", "*",
    "!x", "\r\n", "\t", "ü", "%s%n", "$HOME", "-n", "\x7f\x1b[31m",
    "\ue0f0env:HOME\ue0f1", "\x81\x82\x88", "\udc81\udcff",
]


def test_hostile_values_arrive_byte_for_byte(connection: Connection) -> None:
    replies = connection.shell().run_many([f"printf %s {quote(value)}" for value in HOSTILE])
    assert [r.stdout for r in replies] == [value.encode("utf-8", "surrogateescape") for value in HOSTILE]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600))
def test_any_content_arrives_byte_for_byte(connection: Connection, content: bytes) -> None:
    assert connection.shell().run(literal(content)).stdout == content


# -- many at once


def test_a_thousand_programs_go_out_together_and_answer_in_order(connection: Connection) -> None:
    replies = connection.shell().run_many([f"echo {n}; exit $(({n} % 7))" for n in range(1000)])
    assert [(r.stdout, r.exit) for r in replies] == [(b"%d\n" % n, n % 7) for n in range(1000)]


def test_neither_long_programs_nor_long_answers_make_the_two_sides_wait_for_each_other(connection: Connection) -> None:
    value = "x" * 300_000
    replies = connection.shell().run_many([f"printf %s {quote(value)}; printf %s {value} >&2"] * 12)
    assert [(len(r.stdout), len(r.stderr), r.truncated) for r in replies] == [(300_000, 300_000, False)] * 12


def test_the_shell_itself_stops_after_the_first_failure(connection: Connection, tmp_path: Path) -> None:
    shell, file = connection.shell(), quote(str(tmp_path / "ran"))
    texts = [f"echo {n} >>{file}; [ {n} != 2 ]" for n in range(5)]
    assert [r.exit for r in shell.run_many(texts, stop_on_error=True)] == [0, 0, 1]
    assert (tmp_path / "ran").read_text() == "0\n1\n2\n"
    assert [r.exit for r in shell.run_many(["true", "true"], stop_on_error=True)] == [0, 0]
    assert shell.run("echo fine").stdout == b"fine\n"


def test_nothing_to_run_needs_no_shell(connection: Connection) -> None:
    assert connection.shell().run_many([]) == []


# -- floods and noise


def test_a_flood_is_cut_in_the_middle_and_held_in_bounded_memory(connection: Connection) -> None:
    shell = connection.shell()
    shell.run(":")
    tracemalloc.start()
    try:
        reply = shell.run("echo first; head -c 50000000 /dev/zero; echo last; head -c 3000000 /dev/zero >&2; exit 5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reply.exit == 5 and reply.truncated
    assert reply.stdout.startswith(b"first\n\0") and reply.stdout.endswith(b"\0last\n")
    assert b"bytes left out" in reply.stdout and b"bytes left out" in reply.stderr
    assert len(reply.stdout) < 1_100_000 and len(reply.stderr) < 1_100_000
    assert peak < 24_000_000
    assert shell.run("echo fine").stdout == b"fine\n"


def test_what_a_background_process_prints_later_is_dropped(connection: Connection) -> None:
    shell = connection.shell()
    started = time.monotonic()
    assert shell.run("(sleep 0.3; echo late; echo late >&2) & echo now").stdout == b"now\n"
    assert time.monotonic() - started < 0.3, "the answer waited for the background process"
    time.sleep(0.5)
    assert (shell.run("echo next").stdout, shell.run("echo >&2 next").stderr) == (b"next\n", b"next\n")


def test_a_background_process_that_never_stops_printing_holds_nobody_up(connection: Connection, tmp_path: Path) -> None:
    shell, file = connection.shell(), tmp_path / "pid"
    shell.run(f"yes noise & echo $! >{quote(str(file))}")
    try:
        reply = shell.run("sleep 0.2; echo answer >&2; exit 3", timeout=20)  # what is kept of stdout is full of noise
        assert (reply.exit, reply.stderr) == (3, b"answer\n")
        started = time.monotonic()
        shell.run(":", timeout=20)
        assert time.monotonic() - started < 5
    finally:
        os.kill(int(file.read_text()), signal.SIGKILL)
        connection.close()
    assert shell.run("echo fine").stdout == b"fine\n"


# -- losses


def test_a_killed_shell_is_a_lost_connection_and_the_next_use_opens_another(connection: Connection) -> None:
    shell = connection.shell()
    shell.run(":")
    pid = shell.pid
    assert pid is not None
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    started = time.monotonic()
    with pytest.raises(ConnectionLost):
        shell.run("sleep 6; echo no")
    assert time.monotonic() - started < 4, "it was noticed only when the child was gone"
    assert shell.run("echo fine").stdout == b"fine\n"
    assert shell.pid not in (None, pid)


def test_a_program_that_kills_its_shell_loses_the_connection(connection: Connection) -> None:
    with pytest.raises(ConnectionLost):
        connection.shell().run("kill -9 $$")
    assert connection.shell().run("echo fine").stdout == b"fine\n"


def test_a_shell_that_died_between_two_programs_is_replaced_unnoticed(connection: Connection) -> None:
    shell = connection.shell()
    shell.run(":")
    pid = shell.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))
    time.sleep(0.1)
    assert shell.run("echo fine").stdout == b"fine\n"


def test_a_deadline_ends_all_that_the_program_started(connection: Connection, tmp_path: Path) -> None:
    shell, file = connection.shell(), tmp_path / "pids"
    text = f"sleep 300 & echo $! >>{file}; (trap '' TERM HUP INT; sleep 301) & echo $! >>{file}; sleep 302"
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        shell.run(text, timeout=0.5)
    assert time.monotonic() - started < 5
    pids = [int(line) for line in file.read_text().split()]
    assert len(pids) == 2
    wait_until(lambda: not any(map(alive, pids)))
    assert shell.run("echo fine").stdout == b"fine\n"


def test_a_deadline_that_is_not_reached_changes_nothing(connection: Connection) -> None:
    shell = connection.shell()
    assert shell.run("sleep 0.1; echo fine", timeout=20).stdout == b"fine\n"
    assert shell.run("echo fine").stdout == b"fine\n"


def test_an_interrupt_does_not_leave_an_answer_for_the_next_program(connection: Connection) -> None:
    shell = connection.shell()
    shell.run(":")
    interrupt = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        shell.run("sleep 1; echo old")
    assert shell.run("echo new").stdout == b"new\n"


# -- beside, and as another account


def test_the_side_channel_answers_while_the_shell_is_busy(connection: Connection) -> None:
    shell = connection.shell()
    shell.run(":")
    busy = threading.Thread(target=shell.run, args=("sleep 1.5",))
    busy.start()
    started = time.monotonic()
    assert connection.side("echo beside; exit 4").stdout == b"beside\n"
    assert busy.is_alive() and time.monotonic() - started < 1.5
    busy.join()


def test_an_account_has_one_shell_and_the_one_that_logs_in_needs_no_become(connection: Connection) -> None:
    assert connection.shell() is connection.shell(None)
    assert connection.shell(Account("root", "sudo")) is connection.shell()
    assert connection.shell(Account("nobody")) is connection.shell(Account("nobody"))


@pytest.mark.parametrize("method", ["sudo", "su"])
def test_programs_run_as_another_account(connection: Connection, method: str) -> None:
    account = Account("nobody", method)
    shell = connection.shell(account)
    assert shell.run("id -un").stdout == b"nobody\n"
    assert connection.side("id -un", account).stdout == b"nobody\n"
    assert connection.shell().run("id -un").stdout == b"root\n"
    with pytest.raises(DeadlineExceeded):
        shell.run("sleep 300", timeout=0.3)
    assert shell.run("id -un").stdout == b"nobody\n"


# -- transfers


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 5000], ids=["empty", "one byte", "all bytes"])
def test_a_file_goes_there_and_back(connection: Connection, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    connection.upload(content, str(path))
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o7777 == 0o600
    sink = io.BytesIO()
    connection.download(str(path), sink)
    assert sink.getvalue() == content
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", [n for n in HOSTILE if n not in ("", "~") and "/" not in n])
def test_a_path_is_never_anything_but_a_path(connection: Connection, tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    connection.upload(b"content", path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    sink = io.BytesIO()
    connection.download(path, sink)
    assert sink.getvalue() == b"content"


class Unseekable(io.RawIOBase):
    """A stream like a pipe: its size is unknown, and it is never whole in memory."""

    def __init__(self, size: int, on_read: object = None) -> None:
        self.left, self.on_read = size, on_read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        assert isinstance(buffer, memoryview | bytearray)
        if callable(self.on_read):
            self.on_read(self.left)
        count = min(len(buffer), self.left)
        buffer[:count] = b"u" * count
        self.left -= count
        return count


class Counting(io.RawIOBase):
    def __init__(self) -> None:
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        self.count += len(data)
        return len(data)


def stream(size: int, on_read: object = None) -> BinaryIO:
    return Unseekable(size, on_read)  # type: ignore[return-value]


@pytest.mark.parametrize("known", [True, False], ids=["of known size", "of unknown size"])
def test_a_large_file_streams_in_constant_memory(connection: Connection, tmp_path: Path, known: bool) -> None:
    size = 100_000_000 if isinstance(connection, SSHConnection) and known else 20_000_000
    source: Path | BinaryIO = tmp_path / "source" if known else stream(size)
    if isinstance(source, Path):
        with source.open("wb") as file:
            file.truncate(size)
    seen: list[tuple[int, int | None]] = []
    sink = Counting()
    tracemalloc.start()
    try:
        connection.upload(source, str(tmp_path / "copy"), progress=lambda done, of: seen.append((done, of)))
        connection.download(str(tmp_path / "copy"), sink)  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "copy").stat().st_size == sink.count == size
    assert seen[-1] == (size, size if known else None)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert peak < 24_000_000


def test_what_stood_at_the_path_stays_until_the_new_file_is_whole(connection: Connection, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    seen: set[str] = set()
    connection.upload(stream(5_000_000, lambda _: seen.add(path.read_text())), str(path))
    assert seen == {"old"}
    assert path.stat().st_size == 5_000_000


def test_a_link_at_the_path_is_replaced_not_followed(connection: Connection, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("safe")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    connection.upload(b"new", str(tmp_path / "link"))
    assert (tmp_path / "elsewhere").read_text() == "safe"
    assert (tmp_path / "link").read_text() == "new" and not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("known", [True, False], ids=["of known size", "of unknown size"])
def test_a_source_that_breaks_off_leaves_nothing(connection: Connection, tmp_path: Path, known: bool) -> None:
    def break_off(left: int) -> None:
        if left < 1_000_000:
            raise OSError("the source is gone")

    source = stream(3_000_000, break_off)
    if known:
        source.seekable = lambda: True  # type: ignore[method-assign]
        source.tell = lambda: 0  # type: ignore[method-assign]
        source.seek = lambda *_: 3_000_000  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError, match="the source is gone"):
        connection.upload(source, str(tmp_path / "file"))
    time.sleep(0.3)
    assert not (tmp_path / "file").exists()
    if known:
        wait_until(lambda: not list(tmp_path.iterdir()))


def test_a_receiver_that_is_killed_leaves_nothing_at_the_path(connection: Connection, tmp_path: Path) -> None:
    def kill(left: int) -> None:
        if left < 90_000_000:
            for scratch in tmp_path.glob("file.*.part"):
                for pid in holders(scratch):
                    os.kill(pid, signal.SIGKILL)

    with pytest.raises((TransferFailed, ConnectionLost)):
        connection.upload(stream(100_000_000, kill), str(tmp_path / "file"))
    assert not (tmp_path / "file").exists()


def holders(path: Path) -> list[int]:
    """The processes that have ``path`` open, but for this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fds = list((process / "fd").iterdir())
        except OSError:
            continue
        for fd in fds:
            try:
                if fd.readlink() == path and int(process.name) != os.getpid():
                    found.append(int(process.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize(("path", "said"), [("missing/file", "no such directory"), ("folder", "is a directory")])
def test_an_upload_that_cannot_be_says_why(connection: Connection, tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(TransferFailed, match=said):
        connection.upload(b"x", str(tmp_path / path))
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_full_disk_leaves_nothing(connection: Connection) -> None:
    with pytest.raises(TransferFailed):
        connection.upload(b"x" * 100_000, "/proc/full")
    assert not Path("/proc/full").exists()


@pytest.mark.parametrize(("path", "said"), [("missing", "no such file"), ("", "not a regular file")])
def test_a_download_that_cannot_be_says_why(connection: Connection, tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(TransferFailed, match=said):
        connection.download(f"{tmp_path}/{path}", io.BytesIO())


def test_files_come_and_go_as_another_account(connection: Connection) -> None:
    folder = Path("/tmp") / f"nobody-{os.getpid()}"
    connection.side(f"mkdir -m 700 {folder}", Account("nobody"))
    try:
        connection.upload(b"mine", str(folder / "file"), Account("nobody"))
        assert (folder / "file").owner() == "nobody"
        sink = io.BytesIO()
        connection.download(str(folder / "file"), sink, Account("nobody"))
        assert sink.getvalue() == b"mine"
        connection.upload(b"root's", str(folder / "secret"))
        with pytest.raises(TransferFailed, match="denied"):
            connection.download(str(folder / "secret"), io.BytesIO(), Account("nobody"))
    finally:
        connection.side(f"rm -rf {folder}")


def test_a_closed_connection_opens_again_when_it_is_used(connection: Connection) -> None:
    connection.shell().run(":")
    connection.close()
    assert connection.shell().run("echo fine").stdout == b"fine\n"


def test_what_runs_goes_on_when_the_connection_is_closed(connection: Connection, tmp_path: Path) -> None:
    shell = connection.shell()
    shell.run(f"(sleep 0.5; touch {quote(str(tmp_path / 'done'))}) >/dev/null 2>&1 &")
    connection.close()
    wait_until((tmp_path / "done").exists)
