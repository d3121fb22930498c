"""The runtime: a bundle's graph primitives on one of two backends, torch or onnxruntime."""

from vaekit.runtime.backend import Backend, make_backend
from vaekit.runtime.engine import Engine
from vaekit.runtime.watching import Watcher, Watchers, Weighed

__all__ = ["Backend", "Engine", "Watcher", "Watchers", "Weighed", "make_backend"]
