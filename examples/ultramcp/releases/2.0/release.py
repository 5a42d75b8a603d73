"""UltraMCP 2.0: chains of drafts, and events that say their format."""

VERSION = "2.0"
EVENT_FORMAT = 2
PEERS = ("cod-protocol", "event-store")


def draft(question: str) -> str:
    """The answer to a question."""
    return f"a chain of drafts about {question}"
