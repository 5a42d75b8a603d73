"""Looks that share a shell: told apart exactly, and asked alone where one of them cannot look."""

from __future__ import annotations

import subprocess

import pytest

from ultraplan.engine.looks import AndLook, Shared
from ultraplan.shell import Reply, library

SHELLS = [("dash",), ("busybox", "ash")]


def run(shell: tuple[str, ...], text: str) -> Reply:
    done = subprocess.run(shell, input=f"{library()}\n({text}\n)\n".encode(), capture_output=True, check=False)
    return Reply(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_each_look_gets_its_own_bytes(shell: tuple[str, ...]) -> None:
    shared = Shared(["printf 'a\\000b\\n\\n'", ":", "printf '\\036 0\\n'"])
    replies = shared.replies(run(shell, shared.text))
    assert replies is not None
    assert [reply.stdout for reply in replies] == [b"a\0b\n\n", b"", b"\x1e 0\n"]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("bad", ["up_fail 'cannot look'", "false", "echo trouble >&2"])
def test_where_one_cannot_look_all_are_asked_alone(shell: tuple[str, ...], bad: str) -> None:
    shared = Shared(["echo one", bad, "echo three"])
    assert shared.replies(run(shell, shared.text)) is None


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_an_effect_and_its_look_are_told_apart(shell: tuple[str, ...]) -> None:
    both = AndLook("echo did", "echo seen")
    effect, look = both.replies(run(shell, both.text))
    assert (effect.exit, effect.stdout) == (0, b"did\n")
    assert look is not None and look.stdout == b"seen\n"


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_after_an_effect_that_failed_nobody_looks(shell: tuple[str, ...]) -> None:
    both = AndLook("echo did; (exit 7)", "echo seen")
    effect, look = both.replies(run(shell, both.text))
    assert (effect.exit, effect.stdout, look) == (7, b"did\n", None)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_a_look_that_fails_is_not_taken_for_the_effect(shell: tuple[str, ...]) -> None:
    both = AndLook("echo did", "up_fail 'cannot look'")
    effect, look = both.replies(run(shell, both.text))
    assert effect.exit == 0
    assert look is not None and look.exit == 1 and b"cannot look" in look.stderr
