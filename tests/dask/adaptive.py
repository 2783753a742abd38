# SPDX-License-Identifier: BSL-1.0
"""A cluster that starts workers when there is work, and stops them when there is none. Prints the scheduler's address.

    python adaptive.py FOLDER [TARGET_DURATION]       until stdin ends
"""

import sys

from distributed import LocalCluster


def main():
    with LocalCluster(
        n_workers=0, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, local_directory=sys.argv[1]
    ) as cluster:
        target = sys.argv[2] if len(sys.argv) > 2 else "100ms"
        cluster.adapt(minimum=0, maximum=2, interval="100ms", target_duration=target, wait_count=5)
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
