"""Backup sets: an open format, its stores, retention and restore (docs/explanation/backup-format.md)."""
