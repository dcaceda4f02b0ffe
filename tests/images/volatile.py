"""A disk with a volatile write cache, as an NBD server: what was not flushed when the power goes is lost, or half of it.

The protocol is NBD's fixed newstyle, as far as QEMU speaks it (github.com/NetworkBlockDevice/nbd, doc/proto.md).
"""

import os
import pathlib
import random
import socket
import struct
import threading

SECTOR = 512
OPTION, REQUEST, REPLY, OPTION_REPLY = 0x49484156454F5054, 0x25609513, 0x67446698, 0x3E889045565A9
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
READ, WRITE, END, FLUSH = 0, 1, 2, 3
FUA = 1


class VolatileDisk:
    """Serves an image file on a unix socket, until the power goes or the machine lets go of it."""

    def __init__(self, image: pathlib.Path, socket_path: pathlib.Path, chance: random.Random):
        self.file, self.chance, self.cache = os.open(image, os.O_RDWR), chance, {}
        self.size, self.lock, self.on = os.fstat(self.file).st_size, threading.Lock(), True
        socket_path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(socket_path))
        self.listener.listen(4)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> tuple[int, int]:
        """The power goes: of what is in the cache, each sector reaches the disk or does not. Says how many did, of how many."""
        with self.lock:
            self.on = False
            kept = [sector for sector in sorted(self.cache) if self.chance.random() < 0.5]
            for sector in kept:
                os.pwrite(self.file, self.cache[sector], sector * SECTOR)
            lost = len(self.cache)
            self._close()
        return len(kept), lost

    def off(self):
        """An orderly end: everything reaches the disk."""
        with self.lock:
            self._flush()
            self._close()

    def _close(self):
        if self.on is not None:
            self.listener.close()
            os.close(self.file)
        self.on = None

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            connection.sendall(b"NBDMAGIC" + struct.pack(">QH", OPTION, 3))
            _receive(connection, 4)
            if self._options(connection):
                while self._request(connection):
                    pass
        except (EOFError, OSError):
            pass
        connection.close()

    def _options(self, connection) -> bool:
        flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA
        while True:
            _, option, length = struct.unpack(">QII", _receive(connection, 16))
            _receive(connection, length)

            def reply(kind, data=b""):
                connection.sendall(struct.pack(">QIII", OPTION_REPLY, option, kind, len(data)) + data)

            if option == 1:  # by name
                connection.sendall(struct.pack(">QH", self.size, flags) + bytes(124))
                return True
            if option in (6, 7):  # what it is; and use it
                reply(3, struct.pack(">HQH", 0, self.size, flags))
                reply(1)
                if option == 7:
                    return True
            elif option == 2:
                reply(1)
                return False
            else:
                reply(0x80000001)

    def _request(self, connection) -> bool:
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", _receive(connection, 28))
        data = _receive(connection, length) if kind == WRITE else b""
        if kind == END:
            return False
        with self.lock:
            if not self.on:
                return False
            answer = b""
            if kind == READ:
                answer = self._read(offset, length)
            elif kind == WRITE:
                for at in range(0, length, SECTOR):
                    self.cache[(offset + at) // SECTOR] = data[at : at + SECTOR]
            if kind == FLUSH or flags & FUA:
                self._flush()
        connection.sendall(struct.pack(">IIQ", REPLY, 0 if kind in (READ, WRITE, FLUSH) else 22, handle) + answer)
        return True

    def _read(self, offset, length) -> bytes:
        data = bytearray(os.pread(self.file, length, offset))
        for sector in range(offset // SECTOR, (offset + length) // SECTOR):
            if sector in self.cache:
                data[sector * SECTOR - offset : (sector + 1) * SECTOR - offset] = self.cache[sector]
        return bytes(data)

    def _flush(self):
        for sector, data in sorted(self.cache.items()):
            os.pwrite(self.file, data, sector * SECTOR)
        self.cache.clear()


def _receive(connection, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        some = connection.recv(length - len(data))
        if not some:
            raise EOFError
        data += some
    return bytes(data)
