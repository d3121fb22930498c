"""The batch host: queries over files of any size, resumable, and the same functions for distributed engines."""
