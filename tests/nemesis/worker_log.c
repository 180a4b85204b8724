/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of the history. Each is one write(2) before the program goes on, so that a
 * killed process has said what it may have done.
 */
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(const struct worker *worker, const struct check_record *record) {
    char line[CHECK_LINE_MAX];
    size_t size = check_write(worker->names, record, line);
    if (write(worker->history_fd, line, size) != (ssize_t)size) {
        perror("nemesis-worker: the history");
        exit(1);
    }
}

uint64_t log_call(struct worker *worker, struct check_record record) {
    record.phase = CHECK_CALL;
    record.process = worker->process;
    record.op = ++worker->ops_count;
    record.time_ns = now_ns();
    put(worker, &record);
    return record.op;
}

void log_done(struct worker *worker, enum check_kind kind, uint64_t op, int result,
              uint64_t sequence) {
    struct check_record record = {.phase = CHECK_DONE,
                                  .kind = (uint8_t)kind,
                                  .process = worker->process,
                                  .op = op,
                                  .result = (int16_t)result,
                                  .sequence = sequence,
                                  .time_ns = now_ns()};
    put(worker, &record);
}

void log_saw(struct worker *worker, struct check_record record) {
    record.phase = CHECK_SAW;
    record.process = worker->process;
    record.time_ns = now_ns();
    put(worker, &record);
}

struct check_record about(const struct worker *worker, enum check_kind kind) {
    return (struct check_record){.kind = (uint8_t)kind,
                                 .stream = name_of(worker, worker->stream),
                                 .subscription = name_of(worker, worker->sub)};
}

uint32_t name_of(const struct worker *worker, const char *text) {
    return check_name_str(worker->names, text);
}

static uint64_t fnv1a(uint64_t hash, const void *bytes, size_t size) {
    for (const unsigned char *byte = bytes, *end = byte + size; byte < end; byte++) {
        hash = (hash ^ *byte) * UINT64_C(0x100000001b3);
    }
    return hash;
}

uint64_t digest_of(const char *key, size_t key_size, const void *body, size_t size) {
    uint64_t hash = fnv1a(UINT64_C(0xcbf29ce484222325), key, key_size);
    return fnv1a(fnv1a(hash, "", 1), body, size);
}
