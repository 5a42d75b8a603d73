"""Looks that share a shell: several programs in one, and their answers told apart again. Text and bytes only.

A shell of its own costs each look a fork, and its end two packets; looks that leave the shell as it was need neither.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from ultraplan.shell import Program, Reply

MOST = 64
"""Looks in one shell, at most."""


class Shared:
    """Looks (final texts) that are run as one program. A mark that cannot be guessed ends the answer of each."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._count = len(texts)
        token = secrets.token_hex(16)
        self.text = "".join(f"{text}\nup_next {token} $?\n" for text in texts)
        self._mark = re.compile(b"\x1e" + token.encode() + rb" (\d+)\n")

    def replies(self, reply: Reply) -> list[Reply] | None:
        """The answer of each; None where one of them failed or ended the shell: then each has to be asked alone."""
        parts = self._mark.split(reply.stdout)
        if reply.truncated or reply.stderr or len(parts) != 2 * self._count + 1 or any(
                status != b"0" for status in parts[1::2]):
            return None
        return [Reply(0, part) for part in parts[:-1:2]]


class AndLook:
    """An effect's call and the look after it (final texts) in one program, which fails as the effect does."""

    def __init__(self, call: str, then: str) -> None:
        token = secrets.token_hex(16)
        self.text = (f"{call}\nup_rc=$?\n[ $up_rc = 0 ] || exit $up_rc\nup_next {token} 0\n"
                     f"{then}\nup_next {token} $?\n")
        self._mark = re.compile(b"\x1e" + token.encode() + rb" (\d+)\n")

    def replies(self, reply: Reply) -> tuple[Reply, Reply | None]:
        """The effect's answer, and the look's; None for one that did not come, because the effect failed."""
        parts = self._mark.split(reply.stdout)
        if len(parts) < 3:
            return reply, None
        status = int(parts[3]) if len(parts) > 3 else reply.exit  # the look ended the shell itself
        return (Reply(0, parts[0], reply.stderr, reply.truncated),
                Reply(status, parts[2], b"" if status == 0 else reply.stderr, reply.truncated))


def shares(programs: Sequence[Program]) -> bool:
    """Whether these looks may share a shell, and are enough for that."""
    return 1 < len(programs) <= MOST and all(program.gentle and not program.uploads for program in programs)
