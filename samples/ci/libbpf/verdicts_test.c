// SPDX-License-Identifier: GPL-2.0
/*
 * Attaches the program to ox0 and sends it frames by ox1, which is in the network namespace peer.
 * What comes to the stack of this namespace, back to ox1, and out of ox3 in the namespace far, is
 * compared byte by byte.
 *
 * With one queue (oxnic-vm --queues 1) frames are handled in order: when one that passes has
 * arrived, those before it have had their verdicts.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

enum { PORT_ECHO = 7, PORT_DISCARD = 9, PORT_FORWARD = 4000, PORT_PASS = 5000 };

#pragma pack(push, 1)
struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	char text[18];
};

#pragma pack(pop)

static void check(int ok, const char *what)
{
	if (!ok)
		error(1, 0, "FAILED: %s", what);
	printf("ok: %s\n", what);
}

/* Moves this thread to a network namespace: a name, or "" for the one that it began in. */
static void enter(const char *name)
{
	static int home = -1;
	char path[64];
	int fd;

	if (home < 0)
		home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = *name ? open(path, O_RDONLY | O_CLOEXEC) : dup(home);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		error(1, errno, "network namespace %s", name);
	close(fd);
}

/*
 * A socket that sends and receives frames at a port. One for all protocols would also see what it
 * sends itself.
 */
static int open_port(const char *namespace, const char *port)
{
	struct timeval patience = { .tv_sec = 60 };
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_IP),
	};
	int fd;

	enter(namespace);
	address.sll_ifindex = if_nametoindex(port);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0 || !address.sll_ifindex ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)))
		error(1, errno, "packet socket at %s", port);
	enter("");
	return fd;
}

/* Takes the datagrams that pass. Without it, the stack would answer that the port is closed. */
static void listen_to(__u16 port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		error(1, errno, "UDP socket");
}

/* The address of a port, from its socket. */
static void mac_of(int fd, unsigned char *mac)
{
	struct sockaddr_ll address;
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len))
		error(1, errno, "getsockname");
	memcpy(mac, address.sll_addr, ETH_ALEN);
}

/* Of a header without options. */
static __u16 ip_checksum(const void *header)
{
	__u16 words[sizeof(struct iphdr) / 2];
	__u32 sum = 0;
	size_t i;

	memcpy(words, header, sizeof(words));
	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static struct frame datagram(const unsigned char *to, const unsigned char *from, __u16 port)
{
	struct frame frame = {
		.eth.h_proto = htons(ETH_P_IP),
		.ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = htons(sizeof(frame) - ETH_HLEN),
			.ttl = 64,
			.protocol = IPPROTO_UDP,
			.saddr = inet_addr("10.0.0.2"),
			.daddr = inet_addr("10.0.0.1"),
		},
		.udp = {
			.source = htons(1234),
			.dest = htons(port),
			.len = htons(sizeof(frame.udp) + sizeof(frame.text)),
		},
	};

	memcpy(frame.eth.h_dest, to, ETH_ALEN);
	memcpy(frame.eth.h_source, from, ETH_ALEN);
	snprintf(frame.text, sizeof(frame.text), "to port %d", port);
	frame.ip.check = ip_checksum(&frame.ip);
	return frame;
}

static void send_frame(int fd, const struct frame *frame)
{
	if (send(fd, frame, sizeof(*frame), 0) != sizeof(*frame))
		error(1, errno, "send");
}

/* Whether the next frame that arrives is this one. */
static int arrives(int fd, const struct frame *frame)
{
	char buffer[2048];
	ssize_t len = recv(fd, buffer, sizeof(buffer), 0);

	return len == sizeof(*frame) && !memcmp(buffer, frame, sizeof(*frame));
}

static int nothing_waits(int fd)
{
	char buffer[2048];

	return recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* How often the program has come to a verdict. */
static __u64 count_of(struct bpf_object *object, __u32 verdict)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, "verdicts");
	__u64 count;

	if (bpf_map__lookup_elem(map, &verdict, sizeof(verdict), &count, sizeof(count), 0))
		error(1, errno, "map verdicts");
	return count;
}

int main(void)
{
	static const unsigned char everybody[ETH_ALEN] = { 255, 255, 255, 255, 255, 255 };
	struct bpf_object *object = bpf_object__open("verdicts.bpf.o");
	unsigned char mac0[ETH_ALEN], mac1[ETH_ALEN];
	struct frame frame, pass;
	struct bpf_program *program;
	struct bpf_link *link;
	__u32 key = 0, target;
	int here, peer, far;

	enter("");
	if (!object || bpf_object__load(object))
		error(1, errno, "verdicts.bpf.o");
	target = if_nametoindex("ox2");
	if (bpf_map__update_elem(bpf_object__find_map_by_name(object, "targets"), &key, sizeof(key),
				 &target, sizeof(target), 0))
		error(1, errno, "map targets");
	program = bpf_object__find_program_by_name(object, "xdp_verdicts");
	link = bpf_program__attach_xdp(program, if_nametoindex("ox0"));
	if (!link)
		error(1, errno, "attaching to ox0");

	here = open_port("", "ox0");
	peer = open_port("peer", "ox1");
	far = open_port("far", "ox3");
	listen_to(PORT_PASS);
	mac_of(here, mac0);
	mac_of(peer, mac1);
	pass = datagram(mac0, mac1, PORT_PASS);

	frame = datagram(mac0, mac1, PORT_DISCARD);
	send_frame(peer, &frame);
	send_frame(peer, &pass);
	check(arrives(here, &pass), "XDP_DROP: only the frame after it comes to the stack");
	check(count_of(object, XDP_DROP) == 1 && count_of(object, XDP_PASS) == 1,
	      "one verdict is XDP_DROP, one XDP_PASS");

	frame = datagram(mac0, mac1, PORT_ECHO);
	send_frame(peer, &frame);
	memcpy(frame.eth.h_dest, mac1, ETH_ALEN);
	memcpy(frame.eth.h_source, mac0, ETH_ALEN);
	check(arrives(peer, &frame), "XDP_TX: the frame comes back, addresses swapped");
	check(count_of(object, XDP_TX) == 1, "one verdict is XDP_TX");

	/* ox3 takes only frames to its own address, and to everybody. */
	frame = datagram(everybody, mac1, PORT_FORWARD);
	send_frame(peer, &frame);
	check(arrives(far, &frame), "XDP_REDIRECT: the frame leaves by ox2");
	check(count_of(object, XDP_REDIRECT) == 1, "one verdict is XDP_REDIRECT");

	send_frame(peer, &pass);
	check(arrives(here, &pass) && nothing_waits(here) && nothing_waits(peer) &&
	      nothing_waits(far), "nothing else has arrived");

	bpf_link__destroy(link);
	bpf_object__close(object);
	return 0;
}
