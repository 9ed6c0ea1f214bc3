"""An S3-compatible server over TLS (nanio, from PyPI: it checks signatures), for an address that may not be up yet.

python s3_server.py ADDRESS PORT DIRECTORY CERTIFICATE KEY      keys in NANIO_ACCESS_KEY, NANIO_SECRET_KEY
"""

from __future__ import annotations

import os
import socket
import sys

import uvicorn

IP_FREEBIND = 15  # linux/in.h: the cluster's bridge comes with its first deploy


def main(address: str, port: str, directory: str, certificate: str, key: str) -> None:
    os.environ["NANIO_DATA_DIR"] = directory
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    server.bind((address, int(port)))
    uvicorn.run(
        "nanio.app:build_app",
        factory=True,
        fd=server.fileno(),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        log_level="warning",
    )


if __name__ == "__main__":
    main(*sys.argv[1:6])
