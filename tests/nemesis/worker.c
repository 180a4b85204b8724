/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process that works on a mesh while tests/nemesis.sh does it harm.
 *
 *     nemesis-worker ROLE OPTION...
 *
 * Roles: setup, produce, consume, drain, names, watch (the files worker_*.c). Options:
 *     --peers ADDRESSES   of the mesh
 *     --history FILE      where the history goes (check/history.h)
 *     --process N         its number there, also its number as a publisher
 *     --seed N            of all that it draws
 *     --stream NAME, --topic, --sub NAME, --mode WORD, --rate N, --prefetch N
 *
 * It is a client on the public headers alone. SIGTERM asks for an orderly end: what was
 * begun is finished, consumers are closed, status 0. Status 3: something that should have
 * ended did not.
 */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CLOSE_MS = 10000, RATE_DEFAULT = 100 };

static volatile sig_atomic_t is_told_to_stop;

static void on_signal(int number) {
    (void)number;
    is_told_to_stop = 1;
}

bool stopping(void) { return is_told_to_stop != 0; }

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void pause_ms(int ms) {
    uint64_t end_ns = now_ns() + (uint64_t)ms * 1000000;
    for (uint64_t now = now_ns(); now < end_ns && !stopping(); now = now_ns()) {
        uint64_t left_ms = (end_ns - now + 999999) / 1000000;
        (void)poll(NULL, 0, (int)(left_ms < LOOK_MS ? left_ms : LOOK_MS));
    }
}

/* splitmix64 */
uint64_t draw(struct worker *worker, uint64_t below) {
    uint64_t z = worker->random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (z ^ (z >> 31)) % below;
}

static void on_log(mom_log_level level, const char *id, const char *group,
                   const char *message, void *user) {
    (void)user;
    fprintf(stderr, "%.3f %d %s %s: %s\n", (double)now_ns() * 1e-9, (int)level, group, id,
            message);
}

static const struct {
    const char *name;
    int (*run)(struct worker *);
} roles[] = {{"setup", role_setup}, {"produce", role_produce}, {"consume", role_consume},
             {"drain", role_drain}, {"names", role_names},     {"watch", role_watch}};

static bool set_option(struct worker *worker, const char **peers, const char **history,
                       const char *name, const char *value) {
    unsigned long long number = strtoull(value, NULL, 10);
    if (strcmp(name, "--peers") == 0) {
        *peers = value;
    } else if (strcmp(name, "--history") == 0) {
        *history = value;
    } else if (strcmp(name, "--process") == 0) {
        worker->process = (uint32_t)number;
    } else if (strcmp(name, "--seed") == 0) {
        worker->random = number;
    } else if (strcmp(name, "--stream") == 0) {
        worker->stream = value;
    } else if (strcmp(name, "--sub") == 0) {
        worker->sub = value;
    } else if (strcmp(name, "--mode") == 0) {
        worker->mode = value;
    } else if (strcmp(name, "--rate") == 0) {
        worker->rate = (unsigned)number;
    } else if (strcmp(name, "--prefetch") == 0) {
        worker->prefetch = (unsigned)number;
    } else {
        return false;
    }
    return true;
}

static int usage(const char *what) {
    fprintf(stderr, "nemesis-worker: %s: what is that? See the top of worker.c\n", what);
    return 2;
}

int main(int argc, char **argv) {
    struct worker worker = {
        .stream = "", .sub = "", .mode = "", .rate = RATE_DEFAULT, .history_fd = -1};
    const char *peers = NULL, *history = "/dev/null";
    int (*run)(struct worker *) = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof roles / sizeof *roles; i++) {
        run = strcmp(roles[i].name, argv[1]) == 0 ? roles[i].run : run;
    }
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--topic") == 0) {
            worker.is_topic = true;
        } else if (i + 1 < argc &&
                   set_option(&worker, &peers, &history, argv[i], argv[i + 1])) {
            i++;
        } else {
            return usage(argv[i]);
        }
    }
    if (run == NULL || peers == NULL || worker.rate == 0) {
        return usage(argc > 1 ? argv[1] : "nothing");
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    worker.names = check_names_new();
    worker.history_fd = open(history, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (worker.history_fd < 0) {
        perror(history);
        return 1;
    }
    mom_options options;
    mom_options_init(&options);
    options.join = peers;
    options.role = MOM_ROLE_CLIENT;
    options.log = on_log;
    int error = mom_open(&options, &worker.node);
    if (error != 0) {
        fprintf(stderr, "open: %s: %s\n", mom_strerror(error), mom_last_error_text());
        return -error;
    }
    int status = run(&worker);
    error = mom_close(worker.node, CLOSE_MS);
    if (error != 0) {
        fprintf(stderr, "close: %s: %s\n", mom_strerror(error), mom_last_error_text());
    }
    close(worker.history_fd);
    check_names_free(worker.names);
    return status;
}
