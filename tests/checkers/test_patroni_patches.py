"""What images/patroni mends, asked of the Patroni that the postgres image holds."""

from __future__ import annotations

import json

import pytest
from test_checkers import Identities, MakeRoom, of_role

from pgha_orch.inventory.model import Role

# How Patroni takes one answer of etcd's gateway: "next" when it asks another member, else the error's class.
ANSWER = """
import json, socket, sys
from patroni.dcs.etcd3 import PatroniEtcd3Client

class Response:
    status, data = int(sys.argv[1]), sys.argv[2].encode()

client = PatroniEtcd3Client.__new__(PatroniEtcd3Client)
client._decoder = json.JSONDecoder()
try:
    client._handle_server_response(Response)
except socket.timeout:
    print("next")
except Exception as exc:
    print(type(exc).__name__)
"""

# The logger ends although its queue counts a waiter that is gone, as after a SIGTERM inside a put.
LOGGER = """
import threading
from patroni.log import PatroniLogger

logger = PatroniLogger()
logger.start()
queue = logger._queue_handler.queue
gone = threading.Lock()
gone.acquire()
while not queue.not_empty._waiters:
    pass
with queue.mutex:
    queue.not_empty._waiters.appendleft(gone)
ending = threading.Thread(target=logger.shutdown, daemon=True)
ending.start()
ending.join(10)
print("hangs" if ending.is_alive() else "ended", flush=True)
import os
os._exit(0)
"""


def said(grpc: int, message: str, http: int) -> tuple[str, str]:
    error = {"grpc_code": grpc, "http_code": http, "message": message, "http_status": "x"}
    return str(http), json.dumps({"error": error})


@pytest.mark.parametrize("identities", ["lab"], indirect=True)
@pytest.mark.parametrize(
    ("answer", "taken"),
    [
        (said(2, "malformed header: missing HTTP content-type", 500), "next"),
        (said(13, "server closed the stream without sending trailers", 500), "next"),
        (said(1, "context canceled", 500), "next"),
        (said(14, "etcdserver: request timed out", 503), "next"),
        (("502", "<html>bad gateway</html>"), "next"),
        (said(5, "etcdserver: requested lease not found", 404), "LeaseNotFound"),
        (said(2, "etcdserver: mvcc: something of its own", 500), "Unknown"),
        (said(3, "etcdserver: user name is empty", 400), "UserEmpty"),
    ],
)
def test_a_member_that_stops_is_left_and_etcd_s_own_errors_stand(
    identities: Identities, room: MakeRoom, answer: tuple[str, str], taken: str
) -> None:
    made = room(of_role(identities, Role.POSTGRES)[0])
    assert made.accept("python3", "-c", ANSWER, *answer).split() == [taken]


@pytest.mark.parametrize("identities", ["lab"], indirect=True)
def test_the_logger_ends_when_the_queue_s_waiter_is_gone(identities: Identities, room: MakeRoom) -> None:
    made = room(of_role(identities, Role.POSTGRES)[0])
    assert made.accept("python3", "-c", LOGGER, user="postgres").split()[-1] == "ended"
