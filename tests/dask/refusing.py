# SPDX-License-Identifier: BSL-1.0
"""A real scheduler that a client of ours cannot use. Prints its address, and runs until stdin ends.

    python refusing.py old|nameless|full     what is wrong with it
"""

import asyncio
import sys

from distributed import Scheduler


async def main(wrong):
    scheduler = Scheduler(host="127.0.0.1", port=0, dashboard=False)
    if wrong == "full":

        async def add_client(comm, **ignored):
            await comm.write([{"op": "stream-start", "error": "no more clients"}])

        scheduler.handlers["register-client"] = add_client
    else:
        packages = {"distributed": "2021.4.0"} if wrong == "old" else {}
        scheduler.handlers["versions"] = lambda: {"packages": packages}
    async with scheduler:
        print(scheduler.address, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
