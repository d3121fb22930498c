"""One tracker to a module, held as ``TRACKER``; what a module needs is imported when a run starts."""
