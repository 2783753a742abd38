# SPDX-License-Identifier: BSL-1.0
"""Listens like a scheduler, and answers whoever comes with bytes that are no message of Dask. Prints its address."""

import os
import socket


def main():
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(f"tcp://127.0.0.1:{server.getsockname()[1]}", flush=True)
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\xff" * 8 + os.urandom(4096))


if __name__ == "__main__":
    main()
