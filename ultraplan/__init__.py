"""ultraplan: recovery procedures as plans that are previewed, journaled, and undone by themselves."""

__version__ = "0.1.0"
