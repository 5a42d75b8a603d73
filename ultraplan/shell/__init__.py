"""Shell text: the one quoting function, programs as values, and the function library that hosts are sent once."""

from ultraplan.shell.program import Account, Program, Reply, Upload, library
from ultraplan.shell.quoting import join, literal, plain, portable, quote

__all__ = ["Account", "Program", "Reply", "Upload", "join", "library", "literal", "plain", "portable", "quote"]
