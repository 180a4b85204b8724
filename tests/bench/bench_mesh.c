/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The speed of the main job, beside what the machine itself does, in one run.
 *
 *     bench_mesh [--seconds S] [--only alone|mesh] [--size BYTES] [--flight N]
 *                [--check] [--counts] [--dir DIR]
 *
 * The machine: append and fdatasync, a loopback round trip. Then one process alone with a
 * directory, then three store processes and, in this process, a producing and a consuming
 * client. Each is measured with 100 and 1,024 bytes, and 512 and 4,096 in flight:
 *
 *   published   mom_send_submit, so many in flight; acknowledged per second
 *   through     the same while a consumer receives and acknowledges; all of them, from
 *               the first send to the committed acknowledgement of the last
 *   at a time   mom_send, one after the other: from the client, and in the leader's own
 *               process
 *
 * CPU is that of all processes for each message. Every wait has a bound; the directory
 * goes at the end; store processes are this program with `--role store`, they end when
 * their standard input does. With `--counts` each node tells what it did for each figure.
 * With `--check` a figure below its floor is an error.
 */
#include <mom/mom.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    STORES = 3,
    WAIT_MS = 30000,
    SIZE_MAX_BYTES = 65536,
    BATCH = 512,
    TIMES_MAX = 200000,
    PATH_BYTES = 300,
    RUN_SECONDS_MAX = 600, /* of the whole program */
};

static struct {
    double seconds;
    const char *only;
    size_t size;
    size_t flight;
    bool check, counts;
    char dir[PATH_BYTES];
} config = {.seconds = 3};

static bool is_below_floor;
static double sync_rate, round_trip_us;

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void die(const char *what, int error) {
    fprintf(stderr, "bench_mesh: %s: %s: %s\n", what, mom_strerror(error),
            mom_last_error_text());
    exit(1);
}

static void must(int error, const char *what) {
    if (error != MOM_OK) {
        die(what, error);
    }
}

static void must_system(bool is_ok, const char *what) {
    if (!is_ok) {
        fprintf(stderr, "bench_mesh: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

/* --- times ----------------------------------------------------------------------- */

struct times {
    uint32_t us[TIMES_MAX];
    size_t count;
};

static int compare_us(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static void times_add(struct times *times, double seconds) {
    if (times->count < TIMES_MAX) {
        times->us[times->count++] = (uint32_t)(seconds * 1e6);
    }
}

static double times_at(struct times *times, double share) {
    if (times->count == 0) {
        return 0;
    }
    qsort(times->us, times->count, sizeof times->us[0], compare_us);
    return times->us[(size_t)((double)(times->count - 1) * share)];
}

/* --- the machine ----------------------------------------------------------------- */

static void measure_syncs(void) {
    static struct times times;
    char path[PATH_BYTES + 16];
    char bytes[100] = {1};
    snprintf(path, sizeof path, "%s/syncs", config.dir);
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    must_system(fd >= 0, path);
    double began = now_s();
    double last = began;
    while (last < began + 1) {
        must_system(write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes, path);
        must_system(fdatasync(fd) == 0, path);
        double now = now_s();
        times_add(&times, now - last);
        last = now;
    }
    close(fd);
    unlink(path);
    sync_rate = (double)times.count / (last - began);
    printf("machine: append 100 B + fdatasync %.0f/s, p50 %.0f us, p99 %.0f us\n",
           sync_rate, times_at(&times, 0.5), times_at(&times, 0.99));
}

static void *echo(void *user) {
    int fd = *(int *)user;
    char bytes[64];
    for (;;) {
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got <= 0 || write(fd, bytes, (size_t)got) != got) {
            return NULL;
        }
    }
}

static void measure_round_trip(void) {
    static struct times times;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must_system(listener >= 0 && fd >= 0, "socket");
    must_system(bind(listener, (struct sockaddr *)&address, size) == 0, "bind");
    must_system(listen(listener, 1) == 0, "listen");
    must_system(getsockname(listener, (struct sockaddr *)&address, &size) == 0, "name");
    must_system(connect(fd, (struct sockaddr *)&address, size) == 0, "connect");
    int peer = accept(listener, NULL, NULL);
    must_system(peer >= 0, "accept");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_t thread;
    must_system(pthread_create(&thread, NULL, echo, &peer) == 0, "thread");
    char bytes[64] = {1};
    double began = now_s();
    double last = began;
    while (last < began + 1) {
        must_system(write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes, "write");
        must_system(read(fd, bytes, sizeof bytes) > 0, "read");
        double now = now_s();
        times_add(&times, now - last);
        last = now;
    }
    close(fd);
    pthread_join(thread, NULL);
    close(peer);
    close(listener);
    round_trip_us = times_at(&times, 0.5);
    printf("machine: loopback round trip p50 %.0f us, p99 %.0f us\n", round_trip_us,
           times_at(&times, 0.99));
}

/* --- processes ------------------------------------------------------------------- */

struct store {
    pid_t pid;
    FILE *to, *from;
};
static struct store stores[STORES];
static size_t stores_count;

static void end_stores(void) {
    for (size_t i = 0; i < stores_count; i++) {
        fclose(stores[i].to); /* asks it to close */
        fclose(stores[i].from);
    }
    for (size_t i = 0; i < stores_count; i++) {
        struct pollfd ended = {.fd = (int)syscall(SYS_pidfd_open, stores[i].pid, 0),
                               .events = POLLIN};
        if (ended.fd < 0 || poll(&ended, 1, 10000) != 1) {
            kill(stores[i].pid, SIGKILL);
        }
        waitpid(stores[i].pid, NULL, 0);
        if (ended.fd >= 0) {
            close(ended.fd);
        }
    }
    stores_count = 0;
}

static int remove_one(const char *path, const struct stat *status, int type,
                      struct FTW *at) {
    (void)status;
    (void)type;
    (void)at;
    return remove(path);
}

static void clean_up(void) {
    end_stores();
    (void)nftw(config.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static double cpu_of(pid_t pid) {
    char path[64];
    char line[1024];
    unsigned long user = 0;
    unsigned long system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        const char *at =
            fgets(line, sizeof line, file) == NULL ? NULL : strrchr(line, ')');
        if (at != NULL) {
            (void)sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                         &user, &system);
        }
        fclose(file);
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_now(void) {
    double sum = cpu_of(getpid());
    for (size_t i = 0; i < stores_count; i++) {
        sum += cpu_of(stores[i].pid);
    }
    return sum;
}

static int free_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must_system(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0, "bind");
    must_system(getsockname(fd, (struct sockaddr *)&address, &size) == 0, "name");
    close(fd);
    return ntohs(address.sin_port);
}

static void start_store(size_t index, const char *address, const char *form) {
    int in[2];
    int out[2];
    char dir[PATH_BYTES + 16];
    char name[16];
    snprintf(dir, sizeof dir, "%s/store-%zu", config.dir, index + 1);
    snprintf(name, sizeof name, "store-%zu", index + 1);
    must_system(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0, "pipe");
    pid_t pid = fork();
    must_system(pid >= 0, "fork");
    if (pid == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl("/proc/self/exe", "bench_mesh", "--role", "store", "--dir", dir, "--name",
              name, "--listen", address, "--form", form, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    stores[index] =
        (struct store){.pid = pid, .to = fdopen(in[1], "w"), .from = fdopen(out[0], "r")};
    must_system(stores[index].to != NULL && stores[index].from != NULL, "pipe");
    stores_count = index + 1;
}

static void start_stores(char *join, size_t join_bytes) {
    char addresses[STORES][64];
    char form[512];
    size_t form_size = 0;
    size_t join_size = 0;
    for (size_t i = 0; i < STORES; i++) {
        snprintf(addresses[i], sizeof addresses[i], "tcp://127.0.0.1:%d", free_port());
        form_size +=
            (size_t)snprintf(form + form_size, sizeof form - form_size, "%sstore-%zu=%s",
                             i == 0 ? "" : ",", i + 1, addresses[i]);
        join_size += (size_t)snprintf(join + join_size, join_bytes - join_size, "%s%s",
                                      i == 0 ? "" : ",", addresses[i]);
    }
    for (size_t i = 0; i < STORES; i++) {
        start_store(i, addresses[i], form);
    }
    for (size_t i = 0; i < STORES; i++) {
        char line[128];
        if (fgets(line, sizeof line, stores[i].from) == NULL) {
            fprintf(stderr, "bench_mesh: store %zu did not become ready\n", i + 1);
            exit(1);
        }
    }
}

/* --- what is measured ------------------------------------------------------------ */

static mom_node *open_node(const char *dir, const char *join, const char *name) {
    mom_options options;
    mom_node *node;
    mom_options_init(&options);
    options.data_dir = dir;
    options.join = join;
    options.name = name;
    must(mom_open(&options, &node), "open");
    must(mom_wait_ready(node, WAIT_MS), "ready");
    return node;
}

/* Keeps `flight` in flight for the time; returns how many were acknowledged. */
struct producer {
    mom_node *node;
    const char *queue;
    size_t size, flight;
    double seconds;       /* it goes on for */
    atomic_size_t behind; /* acknowledged and not received; SIZE_MAX: nobody receives */
    size_t acknowledged;
};

static size_t collect(mom_completions *completions) {
    mom_completion list[BATCH];
    size_t count;
    must(mom_completions_wait(completions, list, BATCH, &count, WAIT_MS), "completions");
    for (size_t i = 0; i < count; i++) {
        must(list[i].error, "send");
    }
    return count;
}

static void *produce(void *user) {
    struct producer *producer = user;
    static char body[SIZE_MAX_BYTES];
    mom_completions *completions;
    must(mom_completions_open(producer->node, &completions), "completions");
    double until = now_s() + producer->seconds;
    size_t flying = 0;
    while (now_s() < until) {
        while (flying < producer->flight) {
            int error = mom_send_submit(producer->node, producer->queue, body,
                                        producer->size, NULL, WAIT_MS, completions, NULL);
            if (error == MOM_FULL) {
                break;
            }
            must(error, "submit");
            flying++;
        }
        size_t count = collect(completions);
        flying -= count;
        producer->acknowledged += count;
    }
    while (flying > 0) {
        size_t count = collect(completions);
        flying -= count;
        producer->acknowledged += count;
    }
    mom_completions_close(completions);
    return NULL;
}

static void *produce_and_tell(void *user) {
    struct producer *producer = user;
    (void)produce(producer);
    atomic_store(&producer->behind, producer->acknowledged); /* the consumer may end */
    return NULL;
}

/* What a node has done since it was asked last. */
static void print_counts(mom_node *node, FILE *file) {
    static mom_metrics before;
    static const mom_node *before_of;
    mom_metrics now;
    mom_metrics_init(&now);
    must(mom_metrics_get(node, &now), "metrics");
    if (before_of != node) {
        memset(&before, 0, sizeof before);
        before_of = node;
    }
    fprintf(
        file,
        "%s: turns %llu, events %llu, frames %llu in %llu out, entries %llu, "
        "writes %llu, syncs %llu, bytes %llu in %llu out %llu written; sync p50 %llu "
        "us\n",
        mom_node_name(node), (unsigned long long)(now.turns_count - before.turns_count),
        (unsigned long long)(now.events_count - before.events_count),
        (unsigned long long)(now.frames_in_count - before.frames_in_count),
        (unsigned long long)(now.frames_out_count - before.frames_out_count),
        (unsigned long long)(now.entries_appended_count - before.entries_appended_count),
        (unsigned long long)(now.writes_count - before.writes_count),
        (unsigned long long)(now.syncs_count - before.syncs_count),
        (unsigned long long)(now.lane_in_bytes - before.lane_in_bytes),
        (unsigned long long)(now.lane_out_bytes - before.lane_out_bytes),
        (unsigned long long)(now.write_bytes - before.write_bytes),
        (unsigned long long)now.sync_p50_us);
    fflush(file);
    before = now;
}

static void print_all_counts(mom_node *node, size_t messages) {
    char line[512];
    if (!config.counts) {
        return;
    }
    printf("  %zu messages\n  ", messages);
    print_counts(node, stdout);
    for (size_t i = 0; i < stores_count; i++) {
        fprintf(stores[i].to, "counts\n");
        fflush(stores[i].to);
        if (fgets(line, sizeof line, stores[i].from) != NULL) {
            printf("  %s", line);
        }
    }
}

static void print_line(const char *where, const char *what, size_t size, size_t flight,
                       double figure, const char *unit, double floor, bool more_is_better,
                       const char *beside) {
    char floor_text[32] = "-";
    bool is_missed = floor > 0 && (more_is_better ? figure < floor : figure > floor);
    if (floor > 0) {
        snprintf(floor_text, sizeof floor_text, "%s %.0f",
                 more_is_better ? ">=" : "<=", floor);
    }
    is_below_floor = is_below_floor || is_missed;
    printf("%-6s %-22s %5zu B %5zu  %9.0f %-3s %-11s %-5s %s\n", where, what, size,
           flight, figure, unit, floor_text,
           floor <= 0  ? ""
           : is_missed ? "BELOW"
                       : "ok",
           beside);
    fflush(stdout);
}

static void print_rate(const char *where, const char *what, const struct producer *of,
                       double rate, double cpu_s, double floor) {
    char beside[96];
    snprintf(beside, sizeof beside, "%.1f a sync of the machine; CPU %.1f us each",
             rate / sync_rate, cpu_s * 1e6 / (double)of->acknowledged);
    print_line(where, what, of->size, of->flight, rate, "/s", floor, true, beside);
}

static void measure_published(const char *where, mom_node *node, size_t size,
                              size_t flight, double floor) {
    struct producer producer = {.node = node,
                                .queue = "published",
                                .size = size,
                                .flight = flight,
                                .seconds = config.seconds};
    must(mom_queue_create(node, producer.queue, NULL, WAIT_MS), "create");
    double cpu = cpu_now();
    double began = now_s();
    (void)produce(&producer);
    double seconds = now_s() - began;
    print_rate(where, "published", &producer, (double)producer.acknowledged / seconds,
               cpu_now() - cpu, floor);
    print_all_counts(node, producer.acknowledged);
    must(mom_queue_delete(node, producer.queue, WAIT_MS), "delete");
}

/* Receives and acknowledges until everything that the producer sent is done with. */
static void consume(mom_consumer *consumer, struct producer *producer) {
    static mom_message *messages[BATCH];
    size_t done = 0;
    while (done < atomic_load(&producer->behind)) {
        size_t count;
        int error = mom_receive_many(consumer, messages, BATCH, &count, 200);
        if (error == MOM_TIMEOUT) {
            continue; /* the producer's end is looked at again */
        }
        must(error, "receive");
        must(mom_ack_many(messages, count), "ack");
        for (size_t i = 0; i < count; i++) {
            mom_message_release(messages[i]);
        }
        done += count;
    }
    must(mom_consumer_flush(consumer, WAIT_MS), "flush");
}

static void measure_through(const char *where, mom_node *sender, mom_node *receiver,
                            size_t size, size_t flight, double floor) {
    struct producer producer = {.node = sender,
                                .queue = "through",
                                .size = size,
                                .flight = flight,
                                .seconds = config.seconds};
    atomic_init(&producer.behind, SIZE_MAX);
    mom_consumer_options options;
    mom_consumer *consumer;
    mom_consumer_options_init(&options);
    options.prefetch = (uint32_t)(flight < 1024 ? 1024 : flight);
    must(mom_queue_create(sender, producer.queue, NULL, WAIT_MS), "create");
    must(mom_queue_consumer(receiver, producer.queue, &options, WAIT_MS, &consumer),
         "consumer");
    double cpu = cpu_now();
    double began = now_s();
    pthread_t thread;
    must_system(pthread_create(&thread, NULL, produce_and_tell, &producer) == 0,
                "thread");
    consume(consumer, &producer);
    double seconds = now_s() - began;
    pthread_join(thread, NULL);
    print_rate(where, "through", &producer, (double)producer.acknowledged / seconds,
               cpu_now() - cpu, floor);
    print_all_counts(sender, producer.acknowledged);
    must(mom_consumer_close(consumer, WAIT_MS), "consumer close");
    must(mom_queue_delete(sender, producer.queue, WAIT_MS), "delete");
}

/* One after the other. */
static void send_singly(mom_node *node, const char *queue, double *p50, double *p99) {
    static struct times times;
    static char body[100];
    times.count = 0;
    double until = now_s() + config.seconds;
    for (double last = now_s(); last < until;) {
        must(mom_send(node, queue, body, sizeof body, NULL, WAIT_MS), "send");
        double now = now_s();
        times_add(&times, now - last);
        last = now;
    }
    *p50 = times_at(&times, 0.5);
    *p99 = times_at(&times, 0.99);
}

static void print_times(const char *where, const char *what, double p50, double p99,
                        double floor) {
    char beside[96];
    snprintf(beside, sizeof beside,
             "p99 %.0f us; machine: sync %.0f + round trip %.0f us", p99, 1e6 / sync_rate,
             round_trip_us);
    print_line(where, what, 100, 1, p50, "us", floor, false, beside);
}

struct floors {
    double published[2], through[2]; /* of 100 B, 1 KiB */
};

static void measure_rates(const char *where, mom_node *sender, mom_node *receiver,
                          const struct floors *floors) {
    static const size_t sizes[] = {100, 1024};
    static const size_t flights[] = {512, 4096};
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 2; j++) {
            bool is_left_out = (config.size != 0 && config.size != sizes[i]) ||
                               (config.flight != 0 && config.flight != flights[j]);
            if (is_left_out) {
                continue;
            }
            measure_published(where, sender, sizes[i], flights[j], floors->published[i]);
            measure_through(where, sender, receiver, sizes[i], flights[j],
                            floors->through[i]);
        }
    }
}

static void measure_alone(void) {
    static const struct floors floors = {{150000, 0}, {80000, 0}};
    char dir[PATH_BYTES + 16];
    double p50;
    double p99;
    snprintf(dir, sizeof dir, "%s/alone", config.dir);
    mom_node *node = open_node(dir, NULL, "alone");
    measure_rates("alone", node, node, &floors);
    if (config.flight <= 1) {
        must(mom_queue_create(node, "singly", NULL, WAIT_MS), "create");
        send_singly(node, "singly", &p50, &p99);
        print_times("alone", "one at a time, p50", p50, p99, 300);
    }
    must(mom_close(node, WAIT_MS), "close");
}

/* Has the store process that leads the queue send, one after the other. */
static void measure_in_leader(mom_node *node, const char *queue) {
    mom_stream_info info;
    size_t leader;
    char line[128];
    double p50;
    double p99;
    mom_stream_info_init(&info);
    must(mom_queue_info(node, queue, &info, WAIT_MS), "info");
    must_system(sscanf(info.leader_name, "store-%zu", &leader) == 1 && leader >= 1 &&
                    leader <= STORES,
                "name of the leader");
    struct store *store = &stores[leader - 1];
    fprintf(store->to, "%s\n", queue);
    fflush(store->to);
    bool is_there = fgets(line, sizeof line, store->from) != NULL &&
                    sscanf(line, "%lf %lf", &p50, &p99) == 2;
    must_system(is_there, "figures of the leader");
    print_times("mesh", "one at a time, leader", p50, p99, 550);
}

static void measure_mesh(void) {
    static const struct floors floors = {{60000, 25000}, {40000, 15000}};
    char join[256];
    double p50;
    double p99;
    start_stores(join, sizeof join);
    mom_node *sender = open_node(NULL, join, "producer");
    mom_node *receiver = open_node(NULL, join, "consumer");
    measure_rates("mesh", sender, receiver, &floors);
    if (config.flight <= 1) {
        must(mom_queue_create(sender, "singly", NULL, WAIT_MS), "create");
        send_singly(sender, "singly", &p50, &p99);
        print_times("mesh", "one at a time, client", p50, p99, 700);
        print_all_counts(sender, 0);
        measure_in_leader(sender, "singly");
    }
    must(mom_close(receiver, WAIT_MS), "close");
    must(mom_close(sender, WAIT_MS), "close");
    end_stores();
}

/* --- a store process ------------------------------------------------------------- */

static int run_store(const mom_options *options) {
    mom_node *node;
    char queue[128];
    must(mom_open(options, &node), "store: open");
    must(mom_wait_ready(node, WAIT_MS), "store: ready");
    printf("ready\n");
    fflush(stdout);
    while (fgets(queue, sizeof queue, stdin) != NULL) { /* its end is ours */
        double p50;
        double p99;
        queue[strcspn(queue, "\n")] = '\0';
        if (strcmp(queue, "counts") == 0) {
            print_counts(node, stdout);
            continue;
        }
        send_singly(node, queue, &p50, &p99);
        printf("%.0f %.0f\n", p50, p99);
        fflush(stdout);
    }
    return mom_close(node, 5000) == MOM_OK ? 0 : 1;
}

/* --- all of it ------------------------------------------------------------------- */

static bool is_wanted(const char *part) {
    return config.only == NULL || strcmp(config.only, part) == 0;
}

static int run_all(void) {
    const char *base = config.dir[0] != '\0' ? config.dir : getenv("TMPDIR");
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%.200s/mom-bench-XXXXXX", base == NULL ? "/tmp" : base);
    must_system(mkdtemp(path) != NULL, path);
    memcpy(config.dir, path, sizeof path);
    must_system(atexit(clean_up) == 0, "atexit");
    measure_syncs();
    measure_round_trip();
    printf("%-6s %-22s %7s %5s  %13s %-11s %-5s %s\n", "where", "what", "size", "fly",
           "figure", "floor", "", "beside");
    if (is_wanted("alone")) {
        measure_alone();
    }
    if (is_wanted("mesh")) {
        measure_mesh();
    }
    return config.check && is_below_floor ? 1 : 0;
}

int main(int argc, char **argv) {
    mom_options options;
    const char *role = NULL;
    mom_options_init(&options);
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--check") == 0) {
            config.check = true;
            continue;
        }
        if (strcmp(argv[i], "--counts") == 0) {
            config.counts = true;
            continue;
        }
        if (strcmp(argv[i], "--seconds") == 0) {
            config.seconds = strtod(value, NULL);
        } else if (strcmp(argv[i], "--only") == 0) {
            config.only = value;
        } else if (strcmp(argv[i], "--size") == 0) {
            config.size = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--flight") == 0) {
            config.flight = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--dir") == 0) {
            snprintf(config.dir, sizeof config.dir, "%s", value);
        } else if (strcmp(argv[i], "--role") == 0) {
            role = value;
        } else if (strcmp(argv[i], "--name") == 0) {
            options.name = value;
        } else if (strcmp(argv[i], "--listen") == 0) {
            options.listen = value;
        } else if (strcmp(argv[i], "--form") == 0) {
            options.form = value;
        } else {
            fprintf(stderr, "bench_mesh: what is %s?\n", argv[i]);
            return 2;
        }
        i++;
    }
    alarm(RUN_SECONDS_MAX); /* whatever hangs; a store's end follows from ours */
    if (role != NULL) {
        options.data_dir = config.dir;
        return run_store(&options);
    }
    return run_all();
}
