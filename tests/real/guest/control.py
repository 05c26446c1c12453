"""What the stand-in for the gcp plugin runs machines by: it passes the order on to the test.

Started as `python control.py SOCKET ACTION` with the instance as JSON on stdin; prints what came.
"""

import json
import socket
import sys


def main(path: str, action: str) -> int:
    """Send one order; return 0 where it was carried out."""
    order = {"action": action, "instance": json.load(sys.stdin)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(json.dumps(order).encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            answer = json.loads(answers.read())
    print(answer["said"], file=sys.stderr if answer["failed"] else sys.stdout)
    return int(answer["failed"])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
