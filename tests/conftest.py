"""What every test shares."""

import os

# Tests run side by side, one core each. Set before any numerical library starts its threads.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # or it starts processes that load torch once more

# A killed process loses nothing that it has written; only a power cut does, and nobody cuts the power of these tests.
os.fsync = lambda file: None

# These answer in environments of their own, where the run.sh beside them takes them.
collect_ignore_glob = ["conformance", "engines", "notorch"]
