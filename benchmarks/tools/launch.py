"""Start a command from a small process and say what it took: seconds, processor seconds, most memory.

A process begins its life with the memory of the one that starts it, so this one imports next to nothing. It is run as
a script, ``python -I launch.py [--watch] COMMAND...``; to watch is to sample the memory of the command, which costs
time.
"""

import json
import os
import sys
import time


def _rollup(pid: int) -> "tuple[int, int]":
    """Resident and proportional memory of a process, KiB; zero where it has ended."""
    found = {}
    try:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            for line in lines:
                name, _, rest = line.partition(":")
                if name in ("Rss", "Pss"):
                    found[name] = int(rest.split()[0])
    except OSError:
        return 0, 0
    return found.get("Rss", 0), found.get("Pss", 0)


def main() -> None:
    """Run the command with its output thrown away and print one line of JSON."""
    watch, command = sys.argv[1] == "--watch", sys.argv[1 + (sys.argv[1] == "--watch") :]
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.execv(command[0], command)
    rss = pss = 0
    if watch:
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            resident, proportional = _rollup(pid)
            rss, pss = max(rss, resident), max(pss, proportional)
            time.sleep(0.005)
    _, status, usage = os.wait4(pid, 0)
    print(
        json.dumps(
            {
                "code": os.waitstatus_to_exitcode(status),
                "seconds": time.perf_counter() - began,
                "processor_seconds": usage.ru_utime + usage.ru_stime,
                "peak_mb": usage.ru_maxrss / 1024,
                "rss_mb": rss / 1024,
                "pss_mb": pss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
