# SPDX-License-Identifier: GPL-2.0

"""Tests the XDP program with raw frames, at ports of oxnic.

The program is attached to ox0; frames come from ox1 in the network namespace peer, and are
redirected to ox2, whose other end is ox3 in the namespace far (oxnic-vm --topology router). With
one queue (--queues 1) frames are handled in order.
"""

import json
import os
import socket
import struct
import subprocess
import unittest

ETH_P_IP = 0x0800
PATIENCE = 60  # seconds

ECHO, DISCARD, FORWARD, PASS = 7, 9, 4000, 5000
EVERYBODY = b"\xff" * 6


def run(command):
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def open_port(namespace, port):
    """A socket that sends and receives frames at a port.

    One for all protocols would also see what it sends itself.
    """
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if namespace:
        with open(f"/run/netns/{namespace}") as ns:
            os.setns(ns, os.CLONE_NEWNET)
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind((port, ETH_P_IP))
        sock.settimeout(PATIENCE)
        return sock
    finally:
        os.setns(home, os.CLONE_NEWNET)
        os.close(home)


def checksum(header):
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def datagram(to, source, port):
    text = f"to port {port}".encode().ljust(18, b"\0")
    udp = struct.pack("!4H", 1234, port, 8 + len(text), 0) + text

    def ip(check):
        return struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, check,
            socket.inet_aton("10.0.0.2"), socket.inet_aton("10.0.0.1"),
        )

    return to + source + struct.pack("!H", ETH_P_IP) + ip(checksum(ip(0))) + udp


class Verdicts(unittest.TestCase):
    def setUp(self):
        self.here = open_port(None, "ox0")
        self.peer = open_port("peer", "ox1")
        self.far = open_port("far", "ox3")
        for sock in self.here, self.peer, self.far:
            self.addCleanup(sock.close)
        self.mac0 = self.here.getsockname()[4]
        self.mac1 = self.peer.getsockname()[4]
        # Takes the datagrams that pass. Without it, the stack would answer that the port is closed.
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(listener.close)
        listener.bind(("10.0.0.1", PASS))

        run("ip link set dev ox0 xdp obj verdicts.bpf.o sec xdp")
        self.addCleanup(run, "ip link set dev ox0 xdp off")
        program = json.loads(run("ip -json link show dev ox0"))[0]["xdp"]["prog"]["id"]
        maps = json.loads(run(f"bpftool -j prog show id {program}"))["map_ids"]
        self.maps = {json.loads(run(f"bpftool -j map show id {id}"))["name"]: id for id in maps}

    def send(self, to, port):
        frame = datagram(to, self.mac1, port)
        self.peer.send(frame)
        return frame

    def count(self, verdict):
        key = verdict.to_bytes(4, "little").hex(" ")
        found = json.loads(run(f"bpftool -j map lookup id {self.maps['verdicts']} key hex {key}"))
        return found["formatted"]["value"]

    def assert_nothing_else(self):
        """A frame that passes is the next to arrive, and nothing waits elsewhere."""
        marker = self.send(self.mac0, PASS)
        self.assertEqual(self.here.recv(2048), marker)
        for sock in self.here, self.peer, self.far:
            sock.setblocking(False)
            with self.assertRaises(BlockingIOError):
                sock.recv(2048)

    def test_drop(self):
        self.send(self.mac0, DISCARD)
        self.assert_nothing_else()
        self.assertEqual(self.count(1), 1)

    def test_pass(self):
        self.assert_nothing_else()
        self.assertEqual(self.count(2), 1)

    def test_tx(self):
        frame = self.send(self.mac0, ECHO)
        self.assertEqual(self.peer.recv(2048), self.mac1 + self.mac0 + frame[12:])
        self.assert_nothing_else()
        self.assertEqual(self.count(3), 1)

    def test_redirect(self):
        target = socket.if_nametoindex("ox2").to_bytes(4, "little").hex(" ")
        run(f"bpftool map update id {self.maps['targets']} key hex 00 00 00 00 value hex {target}")
        # ox3 takes only frames to its own address, and to everybody.
        frame = self.send(EVERYBODY, FORWARD)
        self.assertEqual(self.far.recv(2048), frame)
        self.assert_nothing_else()
        self.assertEqual(self.count(4), 1)


if __name__ == "__main__":
    unittest.main()
