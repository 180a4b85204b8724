/* SPDX-License-Identifier: Apache-2.0 */
/* See show.h. */
#include "power/show.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "power/record.h"

static const char *const op_names[] = {
    [POWER_CREATE] = "create",   [POWER_MKDIR] = "mkdir",
    [POWER_WRITE] = "write",     [POWER_TRUNCATE] = "truncate",
    [POWER_SYNC] = "sync",       [POWER_SYNC_ALL] = "sync-all",
    [POWER_RENAME] = "rename",   [POWER_LINK] = "link",
    [POWER_UNLINK] = "unlink",   [POWER_FACT] = "fact",
    [POWER_PROBLEM] = "problem",
};
static const char *const fact_names[] = {
    [POWER_OPENED] = "opened",
    [POWER_MESH] = "mesh",
    [POWER_CREATE_TRY] = "create-try",
    [POWER_CREATE_DONE] = "create-done",
    [POWER_SEND_TRY] = "send-try",
    [POWER_SEND_DONE] = "send-done",
    [POWER_ACK_TRY] = "ack-try",
    [POWER_ACK_DONE] = "ack-done",
    [POWER_DELETE_TRY] = "delete-try",
    [POWER_DELETE_DONE] = "delete-done",
    [POWER_LED] = "led",
    [POWER_TERM] = "term",
    [POWER_VOTED] = "voted",
    [POWER_MATCHED] = "matched",
};

static void show_record(const struct power_record *record) {
    const char *path = (const char *)(record + 1);
    const char *payload = path + record->path_size;
    if (record->op == POWER_FACT) {
        struct power_fact fact;
        memcpy(&fact, payload, sizeof fact);
        printf("fact %s stream %" PRIu32 " node %016" PRIx64 " value %" PRIu64
               " count %" PRIu64 " other %" PRIu64 "\n",
               fact_names[fact.kind], fact.stream, fact.node, fact.value, fact.count,
               fact.other);
        return;
    }
    bool has_text = record->op == POWER_RENAME || record->op == POWER_LINK ||
                    record->op == POWER_PROBLEM;
    printf("%s", op_names[record->op]);
    if (record->inode != 0) {
        printf(" inode %" PRIu64, record->inode);
    }
    if (record->op == POWER_WRITE || record->op == POWER_TRUNCATE) {
        printf(" at %" PRIu64 " size %" PRIu64, record->offset, record->payload_size);
    }
    printf(" %s%s%.*s\n", path, has_text ? " to " : "",
           has_text ? (int)record->payload_size : 0, payload);
}

int show_log(const char *path) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        perror(path);
        return 1;
    }
    const uint8_t *map =
        mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED) {
        perror(path);
        return 1;
    }
    const struct power_log *log = (const void *)map;
    uint64_t moment = 0;
    for (uint64_t at = sizeof *log; at < log->used_bytes; moment++) {
        const struct power_record *record = (const void *)(map + at);
        printf("%6" PRIu64 " ", moment);
        show_record(record);
        at += record->size;
    }
    return 0;
}
