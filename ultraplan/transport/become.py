"""Becoming another account: the command line for it, and the password where one is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from ultraplan.shell import Account, join, quote
from ultraplan.transport.base import AuthenticationFailed
from ultraplan.transport.wire import Wire

METHODS = ("sudo", "doas", "su")
PASSWORD_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Become:
    """How accounts are taken on. ``password`` gives sudo's password; called only when sudo asks."""

    password: Callable[[], str] | None = None

    def command(self, host: str, account: Account | None,
                words: tuple[str, ...]) -> tuple[str, Dialogue | None]:
        """The shell command that runs ``words`` as ``account``, and the dialogue that frees its stdin.

        Raises `AuthenticationFailed` for a method or an account name that cannot be used.
        """
        if account is None:
            return f"exec {join(words)}", None
        user = account.user
        if not user or user.startswith("-") or "\0" in user:
            raise AuthenticationFailed(host, f"become: {user!r} is no account name")
        match account.method:
            case "sudo" if self.password is not None:
                token = os.urandom(16).hex()
                inner = f"echo {token}.ready >&2;exec {join(words)}"
                ask = ("sudo", "-H", "-S", "-p", f"{token}.password", "-u", user)
                dialogue = Dialogue(host, account, token, self.password)
                return f"exec {join((*ask, '--', '/bin/sh', '-c', inner))}", dialogue
            case "sudo":
                return f"exec sudo -n -H -u {quote(user)} -- {join(words)}", None
            case "doas":
                return f"exec doas -n -u {quote(user)} -- {join(words)}", None
            case "su":  # without a terminal su cannot ask: this works for root, who is not asked
                return f"exec su -s /bin/sh -c {quote('exec ' + join(words))} {quote(user)}", None
        raise AuthenticationFailed(host, f"become: the method {account.method!r} is not supported",
                                   f"ansible_become_method can be {', '.join(METHODS)}")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Waits for sudo's prompt or the program's readiness. The password goes to stdin, never to a command."""

    host: str
    account: Account
    token: str
    password: Callable[[], str]

    def hold(self, wire: Wire) -> None:
        """Return when the program has the wire for itself. Raises `AuthenticationFailed`."""
        prompt, ready = f"{self.token}.password".encode(), f"{self.token}.ready\n".encode()
        said, asked, pending = b"", 0, memoryview(b"")
        until = time.monotonic() + PASSWORD_TIMEOUT
        while True:
            turn = wire.turn(pending, max(0.0, until - time.monotonic()))
            pending = pending[turn.sent :]
            said = (said + turn.stderr)[-65536:]
            if ready in said:
                return
            if said.count(prompt) > asked:
                asked += 1
                if asked > 1:
                    raise AuthenticationFailed(
                        self.host,
                        f"cannot become {self.account.user} by sudo: the password was not accepted",
                        "check ansible_become_password")
                pending = memoryview((self.password() + "\n").encode())
            if turn.ended or time.monotonic() > until:
                text = said.replace(prompt, b"").decode("utf-8", "replace").strip()
                raise refused(self.host, self.account, text or "no answer")


def refused(host: str, account: Account, said: str) -> AuthenticationFailed:
    """The error for what ``sudo``, ``doas`` or ``su`` said instead of starting a shell."""
    lines = said.splitlines() or ["no answer"]  # a login shell's start-up files may have spoken as well
    last = next((line for line in reversed(lines) if line.startswith(f"{account.method}: ")), lines[-1])
    if "password is required" in said or "Authentication required" in said or "no tty" in said:
        hint = "allow it on the host without a password"
        if account.method == "sudo":
            hint = "give ansible_become_password (as a secret), or allow it without one (sudoers: NOPASSWD)"
    elif "not in the sudoers" in said or "not allowed" in said or "not permitted" in said:
        hint = f"allow it on the host (sudoers: {account.user})"
    elif "not found" in said:
        hint = f"install {account.method} on the host, or choose another ansible_become_method"
    else:
        hint = None
    return AuthenticationFailed(host, f"cannot become {account.user} by {account.method}: {last}", hint)
