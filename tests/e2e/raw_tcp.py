"""A TCP client made of single segments, for what Linux's TCP never does. It has an address on the link that Linux does not have."""
import select
import socket
import struct
import time

ETH_P_ALL = 3
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Segment:
    def __init__(self, packet):
        size = struct.unpack("!H", packet[2:4])[0]
        head = (packet[0] & 15) * 4
        tcp = packet[head:size]
        self.source, self.to, self.seq, self.ack, offset, self.flags, self.window = struct.unpack("!HHIIBBH", tcp[:16])
        self.data = tcp[(offset >> 4) * 4:]

    def has(self, bits):
        return self.flags & bits == bits


class Link:
    """The kernel's end of an instance's net_tap, frame by frame: answers ARP for our address, and sends and gets segments."""

    def __init__(self, tap, last=77):
        self.server = socket.inet_aton(str(tap.v4))
        self.own = self.server[:3] + bytes([last])
        self.mac = b"\x02\x00\x00\x00\x00" + bytes([last])
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((tap.device, 0))
        self.server_mac = None
        self.waiting, self.clients = [], []
        self.ask()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Nobody is waited for when the server ends."""
        for client in self.clients:
            client.put(RST)
        self.socket.close()

    def arp(self, to, operation, target_mac, target):
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + self.mac + self.own + target_mac + target
        self.socket.send(to + self.mac + b"\x08\x06" + body)

    def ask(self):
        self.arp(b"\xff" * 6, 1, bytes(6), self.server)
        deadline = time.monotonic() + 5
        while self.server_mac is None and time.monotonic() < deadline:
            self.take(1)
        assert self.server_mac, "the server does not answer ARP"

    def take(self, seconds):
        """One frame, or none within that time."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return
        frame, address = self.socket.recvfrom(4096)
        if address[2] == socket.PACKET_OUTGOING:
            return
        kind, body = frame[12:14], frame[14:]
        if kind == b"\x08\x06" and body[24:28] == self.own:
            if body[7] == 1:
                self.arp(body[8:14], 2, body[8:14], body[14:18])
            elif body[14:18] == self.server:
                self.server_mac = body[8:14]
        elif kind == b"\x08\x00" and body[9] == 6 and body[16:20] == self.own:
            self.waiting.append(Segment(body))

    def get(self, wanted, seconds=5):
        """The next segment that `wanted` likes; None when it does not come."""
        deadline = time.monotonic() + seconds
        while True:
            while self.waiting:
                segment = self.waiting.pop(0)
                if wanted(segment):
                    return segment
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.take(left)

    def put(self, source_port, flags, seq, ack, data=b"", window=65535, port=80, options=b"", source=None):
        source = source or self.own
        tcp = struct.pack("!HHIIBBHHH", source_port, port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (20 + len(options)) // 4 << 4, flags, window, 0, 0) + options + data
        pseudo = source + self.server + struct.pack("!BBH", 0, 6, len(tcp))
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + source + self.server
        ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        self.socket.send(self.server_mac + self.mac + b"\x08\x00" + ip + tcp)


class Client:
    """An open connection from `port`. `seq` is what is sent next, `ack` what is expected next."""

    def __init__(self, link, port, window=65535, isn=1000):
        self.link, self.port, self.window, self.seq = link, port, window, isn
        link.clients.append(self)
        self.put(SYN)
        answer = self.get(lambda s: s.has(SYN | ACK))
        assert answer is not None and answer.ack == isn + 1, "no SYN-ACK"
        self.seq, self.ack = isn + 1, answer.seq + 1
        self.put(ACK)

    def put(self, flags, data=b"", seq=None, ack=None, window=None):
        self.link.put(self.port, flags, self.seq if seq is None else seq, getattr(self, "ack", 0) if ack is None else ack, data,
                      self.window if window is None else window)
        if seq is None:
            self.seq += len(data) + (1 if flags & FIN else 0)

    def get(self, wanted=lambda s: True, seconds=5):
        return self.link.get(lambda s: s.to == self.port and wanted(s), seconds)

    def read(self, size, acknowledge=True):
        """Bytes in order, acknowledged one by one, until there are `size` or the end."""
        got = b""
        while len(got) < size:
            segment = self.get(lambda s: s.has(RST) or s.seq <= self.ack < s.seq + len(s.data) + s.has(FIN))
            if segment is None or segment.has(RST):
                return got
            fresh = segment.data[self.ack - segment.seq:]
            got += fresh
            self.ack += len(fresh) + (1 if segment.has(FIN) else 0)
            if acknowledge:
                self.put(ACK)
            if segment.has(FIN):
                return got
        return got
