"""UltraMCP 2.1: broken. The gateway looks for its peers under names that nobody is registered with."""

VERSION = "2.1"
EVENT_FORMAT = 2
PEERS = ("cod_protocol", "event_store")


def draft(question: str) -> str:
    """The answer to a question."""
    return f"a chain of better drafts about {question}"
