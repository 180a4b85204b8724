/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A power cut while a store is set aside (rule D3): what was there is kept whole, under
 * the old name or beside a new one, and the directory opens in every case.
 *
 * Facts: each identity tells of itself (POWER_OPENED) and of its last synced batch
 * (POWER_MATCHED of shard 0); setting the k-th aside is "deleting stream k".
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/batch.h"
#include "base/rng.h"
#include "port/datadir.h"
#include "port/store.h"
#include "power/facts.h"
#include "power/judge_internal.h"
#include "power/scene.h"

enum { ASIDES = 2, BATCHES_MAX = 30, VALUE_BYTES = 3000 };

/* ---- The recorded program ---- */

static void must(int error, const char *what) {
    if (error != MOM_OK) {
        fprintf(stderr, "the recorded program: %s: %s\n", what, mom_last_error_text());
        _exit(3);
    }
}

static void tell(enum power_fact_kind kind, uint32_t stream, uint64_t node,
                 uint64_t number) {
    const struct power_fact fact = {.kind = (uint32_t)kind,
                                    .stream = stream,
                                    .node = node,
                                    .value = 1,
                                    .other = number};
    facts_tell(&fact);
}

/* Opens the store, writes some batches, each third synced, and lets go of it. */
static void fill(const char *path, uint64_t node, struct momi_rng *rng) {
    static const uint8_t value[VALUE_BYTES];
    struct momi_store *store;
    struct momi_store_report report;
    struct momi_batch batch = {0};
    must(momi_store_open_rocksdb(&store, path, NULL, &report), "the store");
    uint64_t end = report.number + momi_rng_between(rng, 1, BATCHES_MAX);
    for (uint64_t number = report.number + 1; number <= end; number++) {
        momi_batch_put(&batch, MOMI_FAMILY_LOG, momi_slice(&number, sizeof number),
                       momi_slice(value, sizeof value));
        batch.number = number;
        bool is_synced = number % 3 == 0;
        must(momi_store_write(store, &batch, is_synced ? MOMI_SYNC_YES : MOMI_SYNC_NO),
             "a batch");
        momi_batch_clear(&batch);
        if (is_synced) {
            tell(POWER_MATCHED, 0, node, number);
        }
    }
    momi_batch_free(&batch);
    must(momi_store_close(store), "closing the store");
}

int aside_live(const char *root, uint64_t seed) {
    char path[SCENE_PATH_BYTES];
    struct momi_rng rng;
    struct momi_datadir *dir;
    momi_rng_seed(&rng, seed);
    (void)snprintf(path, sizeof path, "%s/%s", root, scene_names[0]);
    must(momi_datadir_open(path, &dir), "the directory");
    for (uint32_t asides = momi_datadir_kept(dir);; asides++) {
        uint64_t node = scene_node_id(momi_datadir_identity(dir)->seed);
        tell(POWER_OPENED, 0, node, 0);
        fill(path, node, &rng);
        if (asides == ASIDES) {
            break;
        }
        tell(POWER_DELETE_TRY, asides, 0, 0);
        must(momi_datadir_set_aside(dir), "setting aside");
        tell(POWER_DELETE_DONE, asides, 0, 0);
    }
    _exit(0);
}

/* ---- The judge ---- */

static uint64_t check_place(struct judge *judge, const char *path,
                            const struct facts_node *facts, uint32_t *kept) {
    struct momi_datadir *dir;
    struct momi_store *store;
    struct momi_store_report report;
    int error = momi_datadir_open(path, &dir);
    if (error != MOM_OK) {
        judge_wrong(judge, "%s does not open: %s", path, judge_error_text(error));
    }
    error = momi_store_open_rocksdb(&store, path, NULL, &report);
    if (error != MOM_OK) {
        judge_wrong(judge, "the store in %s does not open: %s", path,
                    judge_error_text(error));
    }
    uint64_t id = scene_node_id(momi_datadir_identity(dir)->seed);
    if (kept != NULL) {
        *kept = momi_datadir_kept(dir);
    }
    (void)momi_store_close(store);
    momi_datadir_close(dir);
    if (facts != NULL && facts->id == id && report.number < facts->shards[0].match) {
        judge_wrong(judge, "%s ends at batch %llu, %llu was synced", path,
                    (unsigned long long)report.number,
                    (unsigned long long)facts->shards[0].match);
    }
    return id;
}

static const struct facts_node *known(const struct facts *facts, uint64_t id) {
    for (size_t i = 0; i < FACTS_NODES_MAX; i++) {
        if (facts->nodes[i].id == id) {
            return &facts->nodes[i];
        }
    }
    return NULL;
}

/* Who the directory says it is, before its store is looked at. */
static const struct facts_node *who_is(struct judge *judge, const char *path) {
    struct momi_datadir *dir;
    int error = momi_datadir_open(path, &dir);
    if (error != MOM_OK) {
        judge_wrong(judge, "%s does not open: %s", path, judge_error_text(error));
    }
    uint64_t id = scene_node_id(momi_datadir_identity(dir)->seed);
    momi_datadir_close(dir);
    return known(judge_facts(judge), id);
}

void aside_check(struct judge *judge, const char *root) {
    const struct facts *facts = judge_facts(judge);
    char path[SCENE_PATH_BYTES];
    char kept_path[SCENE_PATH_BYTES];
    uint64_t ids[ASIDES + 1] = {0};
    uint32_t kept = 0;
    (void)snprintf(path, sizeof path, "%s/%s", root, scene_names[0]);
    ids[0] = check_place(judge, path, who_is(judge, path), &kept);
    uint32_t done = 0;
    uint32_t tried = 0;
    for (uint32_t i = 0; i < ASIDES; i++) {
        done += (facts->streams[i] & FACT_ACKED) != 0 ? 1 : 0;
        tried += (facts->streams[i] & FACT_ACK_TRIED) != 0 ? 1 : 0;
    }
    if (kept < done || kept > tried || kept > ASIDES) {
        judge_wrong(judge, "%u stores are kept, %u were set aside, %u tried",
                    (unsigned)kept, (unsigned)done, (unsigned)tried);
    }
    for (uint32_t i = 1; i <= kept; i++) {
        (void)snprintf(kept_path, sizeof kept_path, "%.200s/kept-%u", path, (unsigned)i);
        ids[i] = check_place(judge, kept_path, who_is(judge, kept_path), NULL);
    }
    for (size_t i = 0; i < FACTS_NODES_MAX && facts->nodes[i].id != 0; i++) {
        bool is_there = false;
        for (size_t j = 0; j <= ASIDES; j++) {
            is_there = is_there || ids[j] == facts->nodes[i].id;
        }
        if (!is_there) {
            judge_wrong(judge, "identity %zu is nowhere", i + 1);
        }
    }
}
