/* SPDX-License-Identifier: Apache-2.0 */
/* See scene.h. The three functions of the library that are wrapped (the linker's --wrap)
 * are at the end. */
#include "power/scene.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/crc.h"
#include "base/pack.h"
#include "core/core.h"
#include "node/node_internal.h"
#include "port/store.h"
#include "power/facts.h"

const char *const scene_names[SCENE_NODES] = {"one", "two", "three"};

enum {
    MEMTABLE_BYTES = 64 * 1024, /* RocksDB's least */
    WAL_BYTES_MAX = 192 * 1024,
    BLOCK_CACHE_BYTES = 256 * 1024,
    CHECKPOINT_LOG_BYTES = 12 * 1024,
    LOG_BEHIND_BYTES = 4 * 1024,
    BODY_HEAD_BYTES = 4 + 8 + 4 + 4, /* stream, number, size, checksum */
    TEXT_BYTES = 3 * SCENE_PATH_BYTES,
};

void scene_stream_name(uint32_t stream, char name[SCENE_NAME_BYTES]) {
    (void)snprintf(name, SCENE_NAME_BYTES, "%s-%u",
                   stream == SCENE_TOPIC ? "topic" : "queue", (unsigned)stream);
}

int scene_open(enum scene_shape shape, const char *root, const char *sockets,
               size_t index, mom_node **node) {
    char dir[SCENE_PATH_BYTES];
    char listen[SCENE_PATH_BYTES];
    char form[TEXT_BYTES];
    mom_options options;
    mom_options_init(&options);
    (void)snprintf(dir, sizeof dir, "%s/%s", root, scene_names[index]);
    options.data_dir = dir;
    options.name = scene_names[index];
    options.shards = 2;
    if (shape == SCENE_MESH) {
        size_t size = 0;
        for (size_t i = 0; i < SCENE_NODES; i++) {
            size += (size_t)snprintf(form + size, sizeof form - size, "%s%s=ipc://%s/%s",
                                     i == 0 ? "" : ",", scene_names[i], sockets,
                                     scene_names[i]);
        }
        (void)snprintf(listen, sizeof listen, "ipc://%s/%s", sockets, scene_names[index]);
        options.listen = listen;
        options.form = form;
    }
    return mom_open(&options, node);
}

int scene_consumer(mom_node *node, uint32_t stream, mom_consumer **consumer) {
    char name[SCENE_NAME_BYTES];
    scene_stream_name(stream, name);
    return stream == SCENE_TOPIC
               ? mom_subscription_consumer(node, name, "reader", NULL, SCENE_WAIT_MS,
                                           consumer)
               : mom_queue_consumer(node, name, NULL, SCENE_WAIT_MS, consumer);
}

size_t scene_body(uint32_t stream, uint64_t number, size_t filling, uint8_t *body) {
    size_t size = BODY_HEAD_BYTES + filling;
    uint64_t pattern = number * 0x9e3779b97f4a7c15ULL + stream;
    for (size_t i = BODY_HEAD_BYTES; i < size; i++) {
        pattern = pattern * 6364136223846793005ULL + 1442695040888963407ULL;
        body[i] = (uint8_t)(pattern >> 56);
    }
    momi_store_le32(body, stream);
    momi_store_le64(body + 4, number);
    momi_store_le32(body + 12, (uint32_t)size);
    momi_store_le32(body + 16, 0);
    momi_store_le32(body + 16, momi_crc32c(0, body, size));
    return size;
}

bool scene_body_read(const uint8_t *body, size_t size, uint32_t *stream,
                     uint64_t *number) {
    static const uint8_t zeros[4];
    if (size < BODY_HEAD_BYTES || momi_load_le32(body + 12) != size) {
        return false;
    }
    *stream = momi_load_le32(body);
    *number = momi_load_le64(body + 4);
    uint32_t sum = momi_crc32c(0, body, 16);
    sum = momi_crc32c(sum, zeros, sizeof zeros);
    sum = momi_crc32c(sum, body + BODY_HEAD_BYTES, size - BODY_HEAD_BYTES);
    return momi_load_le32(body + 16) == sum;
}

uint64_t scene_hash(const char *text) {
    uint64_t hash = 14695981039346656037ULL; /* FNV-1a */
    for (; *text != '\0'; text++) {
        hash = (hash ^ (uint8_t)*text) * 1099511628211ULL;
    }
    return hash;
}

uint64_t scene_incarnation(const mom_node *node) { return node->incarnation; }

uint64_t scene_node_id(const uint8_t *seed) {
    struct momi_key key;
    MOMI_ASSERT(momi_keys_init() == MOM_OK);
    momi_key_from_seed(&key, seed);
    return momi_key_node_id(&key.public_key);
}

/* ---- Wrapped ---- */

int __real_momi_store_open_rocksdb(struct momi_store **store, const char *dir,
                                   const struct momi_store_options *options,
                                   struct momi_store_report *report);
int __wrap_momi_store_open_rocksdb(struct momi_store **store, const char *dir,
                                   const struct momi_store_options *options,
                                   struct momi_store_report *report);
struct momi_core *__real_momi_core_new(const struct momi_core_config *config);
struct momi_core *__wrap_momi_core_new(const struct momi_core_config *config);
void __real_momi_outbox_send(mom_node *node, uint64_t peer,
                             const struct momi_frame *frame);
void __wrap_momi_outbox_send(mom_node *node, uint64_t peer,
                             const struct momi_frame *frame);

int __wrap_momi_store_open_rocksdb(struct momi_store **store, const char *dir,
                                   const struct momi_store_options *options,
                                   struct momi_store_report *report) {
    const struct momi_store_options small = {.memtable_bytes = MEMTABLE_BYTES,
                                             .wal_bytes_max = WAL_BYTES_MAX,
                                             .block_cache_bytes = BLOCK_CACHE_BYTES};
    (void)options;
    return __real_momi_store_open_rocksdb(store, dir, &small, report);
}

struct momi_core *__wrap_momi_core_new(const struct momi_core_config *config) {
    struct momi_core_config small = *config;
    small.checkpoint_log_bytes = CHECKPOINT_LOG_BYTES;
    small.log_behind_bytes = LOG_BEHIND_BYTES;
    return __real_momi_core_new(&small);
}

/* RocksDB reserves 4 MiB for each manifest, which a file system in memory fills at once.
 * Space alone changes nothing in a file. */
__attribute__((visibility("default"))) int fallocate(int fd, int mode, off_t offset,
                                                     off_t size) {
    if (mode == FALLOC_FL_KEEP_SIZE) {
        return 0;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, size);
}

/* What a node tells others is a promise from the moment on that it is sent. */
void __wrap_momi_outbox_send(mom_node *node, uint64_t peer,
                             const struct momi_frame *frame) {
    struct power_fact fact = {.kind = POWER_TERM,
                              .stream = frame->shard,
                              .node = momi_node_id(node),
                              .value = frame->term};
    bool is_pre = (frame->flags & MOMI_FLAG_PRE) != 0;
    bool is_granted = (frame->flags & MOMI_FLAG_GRANTED) != 0;
    bool is_promise = frame->type == FRAME_APPEND;
    if (frame->type == FRAME_VOTE && !is_pre) {
        fact.kind = POWER_VOTED;
        fact.other = frame->from_replica;
        is_promise = true;
    } else if (frame->type == FRAME_VOTE_REPLY && !is_pre && is_granted) {
        fact.kind = POWER_VOTED;
        fact.other = frame->to_replica;
        is_promise = true;
    } else if (frame->type == FRAME_APPEND_REPLY && (frame->flags & MOMI_FLAG_OK) != 0) {
        fact.kind = POWER_MATCHED;
        fact.other = frame->index;
        is_promise = true;
    }
    if (is_promise) {
        facts_tell(&fact);
    }
    __real_momi_outbox_send(node, peer, frame);
}
