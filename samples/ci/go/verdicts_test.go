// SPDX-License-Identifier: GPL-2.0

// Package verdicts tests the XDP program with frames at ports of oxnic: it is attached to ox0,
// frames come from ox1 in the network namespace peer, and are redirected to ox2, whose other end is
// ox3 in the namespace far.
package verdicts

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	portEcho    = 7
	portDiscard = 9
	portForward = 4000
	portPass    = 5000
	patience    = 60 // seconds
)

// The verdicts, as <linux/bpf.h> numbers them.
const (
	xdpDrop = iota + 1
	xdpPass
	xdpTx
	xdpRedirect
)

// port is a packet socket at a port.
type port struct {
	fd  int
	mac net.HardwareAddr
}

// openPort opens a packet socket; an empty namespace is this one. One for all protocols would also
// see what it sends itself.
func openPort(t *testing.T, namespace, name string) port {
	t.Helper()
	if namespace != "" {
		defer enter(t, namespace)()
	}
	device, err := net.InterfaceByName(name)
	check(t, err)
	protocol := uint16(unix.ETH_P_IP<<8&0xff00 | unix.ETH_P_IP>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience}))
	check(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: device.Index}))
	return port{fd, device.HardwareAddr}
}

// enter moves this thread to a network namespace; the function that it returns moves it back.
func enter(t *testing.T, namespace string) func() {
	t.Helper()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	check(t, err)
	ns, err := os.Open("/run/netns/" + namespace)
	check(t, err)
	defer ns.Close()
	check(t, unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
	return func() {
		check(t, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
		home.Close()
		runtime.UnlockOSThread()
	}
}

func (p port) send(t *testing.T, frame []byte) {
	t.Helper()
	_, err := unix.Write(p.fd, frame)
	check(t, err)
}

// expect waits for a frame, which must be this one.
func (p port) expect(t *testing.T, frame []byte) {
	t.Helper()
	buffer := make([]byte, 2048)
	n, err := unix.Read(p.fd, buffer)
	check(t, err)
	if !bytes.Equal(buffer[:n], frame) {
		t.Fatalf("got  %x\nwant %x", buffer[:n], frame)
	}
}

func (p port) expectNothing(t *testing.T) {
	t.Helper()
	buffer := make([]byte, 2048)
	if n, _, err := unix.Recvfrom(p.fd, buffer, unix.MSG_DONTWAIT); err != unix.EAGAIN {
		t.Fatalf("got %x, %v, want nothing", buffer[:n], err)
	}
}

func datagram(to, from net.HardwareAddr, port int) []byte {
	text := []byte(fmt.Sprintf("to port %10d", port))
	udp := binary.BigEndian.AppendUint16(nil, 1234)
	udp = binary.BigEndian.AppendUint16(udp, uint16(port))
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(text)))
	udp = append(append(udp, 0, 0), text...)
	ip := []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1}
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	frame := append(append([]byte{}, to...), from...)
	return append(append(append(frame, 0x08, 0x00), ip...), udp...)
}

func checksum(header []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	sum = sum&0xffff + sum>>16
	sum = sum&0xffff + sum>>16
	return ^uint16(sum)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// One test, for there is one ox0. With one queue, frames are handled in order: when one that passes
// has arrived, those before it have had their verdicts.
func TestVerdicts(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpec("verdicts.bpf.o")
	check(t, err)
	collection, err := ebpf.NewCollection(spec)
	check(t, err)
	defer collection.Close()
	from, err := net.InterfaceByName("ox0")
	check(t, err)
	to, err := net.InterfaceByName("ox2")
	check(t, err)
	check(t, collection.Maps["targets"].Put(uint32(0), uint32(to.Index)))
	attached, err := link.AttachXDP(link.XDPOptions{
		Program:   collection.Programs["xdp_verdicts"],
		Interface: from.Index,
		Flags:     link.XDPDriverMode,
	})
	check(t, err)
	defer attached.Close()

	here := openPort(t, "", "ox0")
	peer := openPort(t, "peer", "ox1")
	far := openPort(t, "far", "ox3")
	// Takes the datagrams that pass. Without it, the stack would answer that the port is closed.
	listener, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: portPass})
	check(t, err)
	defer listener.Close()
	pass := datagram(here.mac, peer.mac, portPass)

	// XDP_DROP: only the frame after it comes to the stack.
	peer.send(t, datagram(here.mac, peer.mac, portDiscard))
	peer.send(t, pass)
	here.expect(t, pass)

	// XDP_TX: it comes back, addresses swapped.
	frame := datagram(here.mac, peer.mac, portEcho)
	peer.send(t, frame)
	peer.expect(t, append(append(append([]byte{}, peer.mac...), here.mac...), frame[12:]...))

	// XDP_REDIRECT: it leaves by ox2. ox3 takes only frames to its own address, and to everybody.
	frame = datagram(net.HardwareAddr{255, 255, 255, 255, 255, 255}, peer.mac, portForward)
	peer.send(t, frame)
	far.expect(t, frame)

	// And nothing else has arrived anywhere.
	peer.send(t, pass)
	here.expect(t, pass)
	for _, port := range []port{here, peer, far} {
		port.expectNothing(t)
	}
	for verdict, want := range map[uint32]uint64{xdpDrop: 1, xdpPass: 2, xdpTx: 1, xdpRedirect: 1} {
		var count uint64
		check(t, collection.Maps["verdicts"].Lookup(verdict, &count))
		if count != want {
			t.Errorf("verdict %d: counted %d, want %d", verdict, count, want)
		}
	}
}
