/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes of the tester write checkpoints after some kilobytes and fill small memtables, so
 * that a short workload leaves every kind of file. The linker puts these functions
 * between the library's own (--wrap); the turn of the core is where states are looked at,
 * on the loop thread that owns them.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "core/core.h"
#include "core/core_internal.h"
#include "damage/damage.h"
#include "port/store.h"

enum {
    CHECKPOINT_LOG_BYTES = 24 << 10,
    LOG_BEHIND_BYTES = 8 << 10,
    MEMTABLE_BYTES = 64 << 10,
    WAL_BYTES_MAX = 256 << 10,
    NODES_MAX = 16,
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static uint64_t turns; /* under the mutex */
static atomic_bool watches;
static struct {
    uint64_t node;
    struct damage_view views[DAMAGE_SHARDS + 1];
} seen[NODES_MAX];

struct momi_core *__real_momi_core_new(const struct momi_core_config *config);
struct momi_core *__wrap_momi_core_new(const struct momi_core_config *config);
int __real_momi_store_open_rocksdb(struct momi_store **store, const char *dir,
                                   const struct momi_store_options *options,
                                   struct momi_store_report *report);
int __wrap_momi_store_open_rocksdb(struct momi_store **store, const char *dir,
                                   const struct momi_store_options *options,
                                   struct momi_store_report *report);
void __real_momi_core_turn_end(struct momi_core *core, struct momi_effects *effects);
void __wrap_momi_core_turn_end(struct momi_core *core, struct momi_effects *effects);

struct momi_core *__wrap_momi_core_new(const struct momi_core_config *config) {
    struct momi_core_config small = *config;
    small.checkpoint_log_bytes = CHECKPOINT_LOG_BYTES;
    small.log_behind_bytes = LOG_BEHIND_BYTES;
    return __real_momi_core_new(&small);
}

int __wrap_momi_store_open_rocksdb(struct momi_store **store, const char *dir,
                                   const struct momi_store_options *options,
                                   struct momi_store_report *report) {
    static const struct momi_store_options small = {.memtable_bytes = MEMTABLE_BYTES,
                                                    .wal_bytes_max = WAL_BYTES_MAX};
    (void)options;
    return __real_momi_store_open_rocksdb(store, dir, &small, report);
}

static void look(const struct momi_core *core) {
    size_t at = 0;
    struct momi_core_state state;
    momi_core_state(core, &state);
    pthread_mutex_lock(&mutex);
    while (at < NODES_MAX && seen[at].node != 0 && seen[at].node != core->config.node) {
        at++;
    }
    for (uint32_t s = 0; at < NODES_MAX && s <= DAMAGE_SHARDS; s++) {
        struct momi_shard_view view;
        struct damage_view *out = &seen[at].views[s];
        seen[at].node = core->config.node;
        memset(out, 0, sizeof *out);
        out->is_here = momi_core_shard_view(core, s, MOMI_VIEW_HASH, &view);
        out->has_failed = state.store_failed;
        if (out->is_here) {
            out->has_state = view.has_state;
            out->is_hurt = momi_shard_is_hurt(core, s);
            out->is_leader = view.is_leader;
            out->commit = view.commit;
            out->applied = view.applied;
            out->hash = view.state_hash;
        }
    }
    turns++;
    pthread_cond_signal(&turned);
    pthread_mutex_unlock(&mutex);
}

void __wrap_momi_core_turn_end(struct momi_core *core, struct momi_effects *effects) {
    __real_momi_core_turn_end(core, effects);
    if (atomic_load(&watches) && core->config.role == MOMI_ROLE_STORE) {
        look(core);
    }
}

void damage_watch(bool is_on) { atomic_store(&watches, is_on); }

void damage_await_turns(uint64_t count) {
    pthread_mutex_lock(&mutex);
    uint64_t until = turns + count;
    while (turns < until) {
        pthread_cond_wait(&turned, &mutex);
    }
    pthread_mutex_unlock(&mutex);
}

void damage_forget(void) {
    pthread_mutex_lock(&mutex);
    memset(seen, 0, sizeof seen);
    pthread_mutex_unlock(&mutex);
}

bool damage_look(uint64_t node, uint32_t shard, struct damage_view *view) {
    bool is_found = false;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < NODES_MAX && !is_found; i++) {
        if (node != 0 && seen[i].node == node) {
            *view = seen[i].views[shard];
            is_found = view->is_here;
        }
    }
    pthread_mutex_unlock(&mutex);
    return is_found;
}
