"""Servers that answer the same question over HTTP: ours and rivals, each in an environment of its own."""
