"""Diseases, one module each; a new module with a `DISEASE` is found by itself."""
