"""What a caller can have the agent wait for, other than itself. Each way runs until its input ends.

Usage: silent.py SOCKET pings|linger|linger-and-go|file-system
"""

import array
import ctypes
import os
import socket
import struct
import sys
import threading
import time

SECONDS = 600
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def lingering():
    """A TCP connection whose last close waits, as its other end reads nothing."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    client = socket.create_connection(listener.getsockname())
    held, _ = listener.accept()
    client.setblocking(False)
    try:
        while True:
            client.send(bytes(65536))
    except BlockingIOError:
        pass
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, SECONDS))
    return client, (listener, held)


def let_go(client):
    """Where the agent was faster, this is the last close, which waits: not here."""
    threading.Thread(target=client.close, daemon=True).start()


def send_along(connection, words, flags, client):
    descriptors = array.array("i", [client.fileno()])
    connection.sendmsg([words], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)], flags)


def linger(path):
    """The agent receives the last reference to a socket whose close waits: in its first words, behind them, as an
    urgent octet, and behind a call that is served."""
    kept = []
    for words, flags in [(PREFACE, 0), (PREFACE + b"x", 0), (b"x", socket.MSG_OOB)]:
        client, held = lingering()
        connection = connect(path)
        if flags:
            connection.send(PREFACE)
        send_along(connection, words, flags, client)
        let_go(client)
        kept.append((connection, held))
    return kept


def linger_and_go(path):
    """The agent closes a connection in which such a reference waits, for its process is gone."""
    client, held = lingering()
    for _ in range(20):
        if os.fork() == 0:
            connection = connect(path)
            send_along(connection, b"P", 0, client)
            os._exit(0)
        os.wait()
    let_go(client)
    return held


LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000


def mount(source, target, kind, options):
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), kind)


class SilentFiles:
    """A FUSE file system with one program, which leaves questions about it unanswered once it is told to."""

    PROGRAM = 2

    def __init__(self, folder, program):
        self.content = open(program, "rb").read()
        self.silent = threading.Event()
        self.device = os.open("/dev/fuse", os.O_RDWR)
        mount("files", folder, "fuse", f"fd={self.device},rootmode=40755,user_id=0,group_id=0,allow_other")
        threading.Thread(target=self.serve, daemon=True).start()

    def attributes(self, node):
        folder = node != self.PROGRAM
        size = 0 if folder else len(self.content)
        mode = 0o40755 if folder else 0o100755
        return struct.pack("<6Q10I", node, size, (size + 511) // 512, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, operation, node, body):
        """What is said to a request (fuse.h): an error, and octets."""
        if operation == 26:  # INIT
            ahead = struct.unpack_from("<4I", body)[2]
            return 0, struct.pack("<4I2H2I2H8I", 7, 31, ahead, 0, 12, 12, 1 << 17, 1, 32, 0, *[0] * 8)[:64]
        if operation == 1:  # LOOKUP
            if body.rstrip(b"\0") != b"program":
                return 2, b""
            return 0, struct.pack("<4Q2I", self.PROGRAM, 0, 0, 0, 0, 0) + self.attributes(self.PROGRAM)
        if operation == 3:  # GETATTR
            return 0, struct.pack("<Q2I", 0, 0, 0) + self.attributes(node)
        if operation in (14, 27):  # OPEN, OPENDIR
            return 0, struct.pack("<Q2I", 1, 0, 0)
        if operation == 15:  # READ
            offset, size = struct.unpack_from("<QI", body, 8)
            return 0, self.content[offset : offset + size]
        if operation == 17:  # STATFS
            return 0, struct.pack("<5Q4I6I", 1, 1, 1, 1, 1, 4096, 255, 4096, 0, *[0] * 6)
        if operation in (18, 25, 28, 29):  # RELEASE, FLUSH, READDIR, RELEASEDIR
            return 0, b""
        return 38, b""

    def serve(self):
        while True:
            request = os.read(self.device, 1 << 20)
            _, operation, unique, node = struct.unpack_from("<2I2Q", request)
            asked_of_program = node == self.PROGRAM and operation in (3, 14, 15)
            if (self.silent.is_set() and asked_of_program) or operation in (2, 36, 42):
                continue
            error, octets = self.answer(operation, node, request[40:])
            os.write(self.device, struct.pack("<IiQ", 16 + len(octets), -error, unique) + octets)


def file_system(path):
    """Its program lies on a file system of its own that never answers. Above it stands an overlay, which asks as the user
    who mounted it: FUSE by itself lets nobody else wait."""
    uid, gid = os.getuid(), os.getgid()
    if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in [("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")]:
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    mount("room", "/mnt", "tmpfs", "")
    for folder in ["lower", "empty", "merged"]:
        os.mkdir(f"/mnt/{folder}")
    files = SilentFiles("/mnt/lower", "/usr/bin/python3")
    mount("merged", "/mnt/merged", "overlay", "lowerdir=/mnt/lower:/mnt/empty")
    program = "/mnt/merged/program"
    speak = (
        "import os, socket, sys, time\n"
        "os.read(0, 1)\n"
        "connection = socket.socket(socket.AF_UNIX)\n"
        "connection.connect(sys.argv[1])\n"
        f"connection.sendall({call()!r})\n"
        "time.sleep(600)\n"
    )
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(reading, 0)
        os.execv(program, [program, "-c", speak, path])
    # It has all that it reads of the file before the file falls silent.
    while os.readlink(f"/proc/{child}/exe").split("/")[-1] != "program":
        time.sleep(0.01)
    time.sleep(1)
    files.silent.set()
    os.write(writing, b"x")
    return child


def call():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    import caller

    return caller.call()


def pings(path):
    """Three hundred connections send PINGs, as fast as they are taken, and take the answers."""
    ping = b"\0\0\x08\x06\0\0\0\0\0" + bytes(8)
    connections = [connect(path) for _ in range(300)]
    for connection in connections:
        connection.sendall(PREFACE + b"\0\0\0\x04\0\0\0\0\0")
        connection.setblocking(False)

    def flood():
        while True:
            for connection in connections:
                try:
                    connection.send(ping * 1000)
                except BlockingIOError:
                    pass
                try:
                    connection.recv(1 << 18)
                except BlockingIOError:
                    pass
            time.sleep(0.001)

    threading.Thread(target=flood, daemon=True).start()


WAYS = {"pings": pings, "linger": linger, "linger-and-go": linger_and_go, "file-system": file_system}

if __name__ == "__main__":
    kept = WAYS[sys.argv[2]](sys.argv[1])
    time.sleep(0.5)
    print("done", flush=True)
    sys.stdin.read()
    # The sockets whose close waits are reset with the other end.
    if sys.argv[2] == "file-system":
        os.kill(kept, 9)
