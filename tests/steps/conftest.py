"""Fixtures that the tests of several step families share."""

from tests.steps.hostshell import host

__all__ = ["host"]
