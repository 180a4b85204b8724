/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of nemesis-worker share: one process that works on a mesh through the
 * public API and writes down what it asked for and what it got (check/history.h).
 *
 * One thread; all of it belongs to main. Roles return the exit status of the process.
 */
#ifndef NEMESIS_WORKER_H
#define NEMESIS_WORKER_H

#include <mom/mom.h>
#include <stdbool.h>
#include <stdint.h>

#include "check/history.h"

enum { ROLE_HUNG = 3, LOOK_MS = 200, NAME_BYTES = 64 };

struct worker {
    mom_node *node;
    struct check_names *names;
    int history_fd;
    uint32_t process;
    uint64_t ops_count;
    uint64_t random;
    const char *stream; /* "" where the role has none */
    const char *sub;    /* "" for a queue */
    bool is_topic;
    const char *mode;
    unsigned rate; /* messages or calls a second */
    unsigned prefetch;
};

/* --- worker.c --- */
bool stopping(void); /* SIGTERM came */
uint64_t now_ns(void);
void pause_ms(int ms); /* less if SIGTERM comes */
uint64_t draw(struct worker *worker, uint64_t below);

/* --- worker_log.c --- */
/* `record` says what; time, process, op and phase are filled in here. */
uint64_t log_call(struct worker *worker, struct check_record record);
void log_done(struct worker *worker, enum check_kind kind, uint64_t op, int result,
              uint64_t sequence);
void log_saw(struct worker *worker, struct check_record record);
/* A record of this kind about the stream and subscription that the role works on. */
struct check_record about(const struct worker *worker, enum check_kind kind);
uint32_t name_of(const struct worker *worker, const char *text);
uint64_t digest_of(const char *key, size_t key_size, const void *body, size_t size);

/* --- roles --- */
int role_produce(struct worker *worker); /* worker_produce.c */
int role_consume(struct worker *worker); /* worker_consume.c */
int role_drain(struct worker *worker);
int role_setup(struct worker *worker); /* worker_names.c */
int role_names(struct worker *worker);
int role_watch(struct worker *worker);

#endif
