"""UltraMCP 1.0."""

VERSION = "1.0"
EVENT_FORMAT = 1
PEERS = ("cod-protocol", "event-store")


def draft(question: str) -> str:
    """The answer to a question."""
    return f"a draft about {question}"
