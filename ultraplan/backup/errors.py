"""What can be wrong with a backup, in words for the person who needs it."""

from __future__ import annotations


class BackupError(Exception):
    """A backup operation that cannot be done; ``hint`` says what to do next."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Damaged(BackupError):
    """Bytes are not what they were when the set was written, or what the format allows."""


class Untrusted(BackupError):
    """No trusted signature, or no key that fits."""


class Refused(BackupError):
    """It could be done and must not be: a policy without rules, a key that would be lost with its host."""


class NoSuchSet(BackupError):
    """There is no committed set of that name."""


class StoreError(BackupError):
    """The store cannot be reached, or does not do what was asked."""


class AlreadyThere(StoreError):
    """An exclusive put found an object of that name."""


class SourceFailed(BackupError):
    """What was to be backed up could not be read whole."""
