/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of tests/nemesis.sh: one process that carries the packets between network
 * namespaces, and loses, delays or cuts them for each ordered pair of members.
 *
 *     nemesis-switch SEED NAMESPACE=ADDRESS ...
 *
 * In each namespace (a path, as of `ip netns`) it makes the interface `mesh` with the
 * address, /24. It needs nothing from the kernel but namespaces and /dev/net/tun; what a
 * kernel's own `tc netem` would do, it does itself, so that it is the same everywhere.
 * Commands come on standard input, members are their numbers from 0, in the order given:
 *
 *     pair FROM TO CUT DELAY_MS JITTER_MS LOSS_PERMILLE     answered by "ok"
 *     counts                                                answered by "counts ..."
 *
 * It ends when standard input does: whoever started it is gone then. Interfaces go with
 * it. One thread; all packets of a turn are carried before the next command is read.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MEMBERS_MAX = 24,
    PACKET_BYTES = 1600, /* more than the MTU of the interfaces */
    WAITING_MAX = 16384, /* delayed packets; more are dropped, as a router does */
    TURN_PACKETS_MAX = 64,
    LINE_BYTES = 256,
    IPV4_HEADER_BYTES = 20,
    IPV4_TARGET_OFFSET = 16,
};

struct member {
    int fd;
    uint32_t address; /* network order */
};

struct pair {
    bool is_cut;
    uint32_t delay_ms;
    uint32_t jitter_ms;
    uint32_t loss_permille;
};

struct packet {
    uint64_t due_us;
    uint64_t number; /* order of equal times */
    size_t target;
    size_t size;
    unsigned char bytes[PACKET_BYTES];
};

static struct member members[MEMBERS_MAX];
static size_t members_count;
static struct pair pairs[MEMBERS_MAX][MEMBERS_MAX];

/* A heap by (due, number) of packets that wait. */
static struct packet *waiting[WAITING_MAX];
static size_t waiting_count;
static uint64_t packets_number;
static uint64_t random_state;

static struct { uint64_t carried, cut, lost, delayed, overflowed, strange; } counts;

static void die(const char *what) {
    fprintf(stderr, "nemesis-switch: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* splitmix64 */
static uint64_t random_next(void) {
    uint64_t z = random_state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* --- packets that wait ----------------------------------------------------------------
 */

static bool comes_before(const struct packet *a, const struct packet *b) {
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->number < b->number;
}

static void heap_push(struct packet *packet) {
    size_t at = waiting_count++;
    while (at > 0 && comes_before(packet, waiting[(at - 1) / 2])) {
        waiting[at] = waiting[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    waiting[at] = packet;
}

static struct packet *heap_pop(void) {
    struct packet *first = waiting[0];
    struct packet *last = waiting[--waiting_count];
    size_t at = 0;
    for (size_t child = 1; child < waiting_count; child = 2 * at + 1) {
        if (child + 1 < waiting_count &&
            comes_before(waiting[child + 1], waiting[child])) {
            child++;
        }
        if (comes_before(last, waiting[child])) {
            break;
        }
        waiting[at] = waiting[child];
        at = child;
    }
    waiting[at] = last;
    return first;
}

/* --- carrying -------------------------------------------------------------------------
 */

/* An interface that is full or going away drops it, as any interface may. */
static void deliver(size_t target, const void *bytes, size_t size) {
    if (write(members[target].fd, bytes, size) == (ssize_t)size) {
        counts.carried++;
    } else {
        counts.overflowed++;
    }
}

static size_t member_of(uint32_t address) {
    size_t i = 0;
    while (i < members_count && members[i].address != address) {
        i++;
    }
    return i;
}

static void carry(size_t source, const unsigned char *bytes, size_t size) {
    uint32_t address;
    if (size < IPV4_HEADER_BYTES || bytes[0] >> 4 != 4) {
        counts.strange++; /* IPv6 asks for routers; nobody answers */
        return;
    }
    memcpy(&address, bytes + IPV4_TARGET_OFFSET, sizeof address);
    size_t target = member_of(address);
    if (target == members_count) {
        counts.strange++;
        return;
    }
    const struct pair *pair = &pairs[source][target];
    if (pair->is_cut) {
        counts.cut++;
        return;
    }
    if (pair->loss_permille > 0 && random_next() % 1000 < pair->loss_permille) {
        counts.lost++;
        return;
    }
    if (pair->delay_ms == 0 && pair->jitter_ms == 0) {
        deliver(target, bytes, size);
        return;
    }
    struct packet *packet = waiting_count < WAITING_MAX ? malloc(sizeof *packet) : NULL;
    if (packet == NULL) {
        counts.overflowed++;
        return;
    }
    counts.delayed++;
    packet->due_us = now_us() + pair->delay_ms * UINT64_C(1000) +
                     random_next() % (pair->jitter_ms * UINT64_C(1000) + 1);
    packet->number = packets_number++;
    packet->target = target;
    packet->size = size;
    memcpy(packet->bytes, bytes, size);
    heap_push(packet);
}

static void read_member(size_t source) {
    unsigned char bytes[PACKET_BYTES];
    for (int i = 0; i < TURN_PACKETS_MAX; i++) {
        ssize_t size = read(members[source].fd, bytes, sizeof bytes);
        if (size < 0 && errno != EAGAIN && errno != EINTR) {
            die("read from an interface");
        }
        if (size <= 0) {
            return;
        }
        carry(source, bytes, (size_t)size);
    }
}

static void deliver_due(void) {
    uint64_t now = now_us();
    while (waiting_count > 0 && waiting[0]->due_us <= now) {
        struct packet *packet = heap_pop();
        deliver(packet->target, packet->bytes, packet->size);
        free(packet);
    }
}

static int wait_ms(void) {
    if (waiting_count == 0) {
        return -1;
    }
    uint64_t now = now_us();
    uint64_t due = waiting[0]->due_us;
    return due <= now ? 0 : (int)((due - now + 999) / 1000);
}

/* --- commands -------------------------------------------------------------------------
 */

static void obey(const char *line) {
    size_t from, to;
    unsigned cut;
    struct pair pair;
    if (strcmp(line, "counts") == 0) {
        printf("counts carried=%" PRIu64 " cut=%" PRIu64 " lost=%" PRIu64
               " delayed=%" PRIu64 " overflowed=%" PRIu64 "\n",
               counts.carried, counts.cut, counts.lost, counts.delayed,
               counts.overflowed);
    } else if (sscanf(line, "pair %zu %zu %u %" SCNu32 " %" SCNu32 " %" SCNu32, &from,
                      &to, &cut, &pair.delay_ms, &pair.jitter_ms,
                      &pair.loss_permille) == 6 &&
               from < members_count && to < members_count) {
        pair.is_cut = cut != 0;
        pairs[from][to] = pair;
        printf("ok\n");
    } else {
        printf("what? %s\n", line);
    }
    fflush(stdout);
}

/* False at the end of standard input. */
static bool read_commands(void) {
    static char buffer[16 * LINE_BYTES];
    static size_t used;
    ssize_t size = read(STDIN_FILENO, buffer + used, sizeof buffer - used);
    if (size <= 0) {
        return false;
    }
    used += (size_t)size;
    for (char *end; (end = memchr(buffer, '\n', used)) != NULL;) {
        *end = 0;
        obey(buffer);
        used -= (size_t)(end + 1 - buffer);
        memmove(buffer, end + 1, used);
    }
    return used < sizeof buffer;
}

/* --- interfaces -----------------------------------------------------------------------
 */

static void set_flags_up(int socket_fd, const char *name) {
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(socket_fd, SIOCGIFFLAGS, &request) != 0) {
        die(name);
    }
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(socket_fd, SIOCSIFFLAGS, &request) != 0) {
        die(name);
    }
}

static void set_address(int socket_fd, const char *name, uint32_t address) {
    struct ifreq request = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&request.ifr_addr;
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = address;
    if (ioctl(socket_fd, SIOCSIFADDR, &request) != 0) {
        die("set an address");
    }
    in->sin_addr.s_addr = htonl(0xffffff00);
    if (ioctl(socket_fd, SIOCSIFNETMASK, &request) != 0) {
        die("set a network mask");
    }
}

static void add_member(char *text) {
    char *address = strchr(text, '=');
    struct member *member = &members[members_count];
    if (address == NULL || members_count == MEMBERS_MAX) {
        fprintf(stderr, "nemesis-switch: %s: not NAMESPACE=ADDRESS, or too many\n", text);
        exit(2);
    }
    *address++ = 0;
    if (inet_pton(AF_INET, address, &member->address) != 1) {
        fprintf(stderr, "nemesis-switch: %s is not an address\n", address);
        exit(2);
    }
    int space = open(text, O_RDONLY | O_CLOEXEC);
    if (space < 0 || setns(space, CLONE_NEWNET) != 0) {
        die(text);
    }
    close(space);
    member->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "mesh");
    if (member->fd < 0 || ioctl(member->fd, TUNSETIFF, &request) != 0) {
        die("/dev/net/tun");
    }
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0) {
        die("socket");
    }
    set_address(socket_fd, "mesh", member->address);
    set_flags_up(socket_fd, "lo");
    set_flags_up(socket_fd, "mesh");
    close(socket_fd);
    members_count++;
}

int main(int argc, char **argv) {
    struct pollfd fds[MEMBERS_MAX + 1] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    if (argc < 3) {
        fprintf(stderr, "usage: nemesis-switch SEED NAMESPACE=ADDRESS ...\n");
        return 2;
    }
    random_state = strtoull(argv[1], NULL, 10);
    for (int i = 2; i < argc; i++) {
        add_member(argv[i]);
        fds[members_count] =
            (struct pollfd){.fd = members[members_count - 1].fd, .events = POLLIN};
    }
    printf("ready\n");
    fflush(stdout);
    bool is_going = true;
    while (is_going) {
        if (poll(fds, members_count + 1, wait_ms()) < 0 && errno != EINTR) {
            die("poll");
        }
        deliver_due();
        for (size_t i = 0; i < members_count; i++) {
            if (fds[i + 1].revents != 0) {
                read_member(i);
            }
        }
        if (fds[0].revents != 0) {
            is_going = read_commands();
        }
    }
    while (waiting_count > 0) {
        free(heap_pop());
    }
    return 0;
}
