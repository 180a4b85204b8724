/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First inputs of fuzz_stored.c and fuzz_snapshots.c: the checkpoint of a small shard
 * with everything in it, and the same shard as a snapshot with its entries.
 */
#include "fuzz/corpus.h"
#include "fuzz/snapshot_rig.h"
#include "unit/machine_fixture.h"

static const struct momi_stream_options plain;
static const char *const keys[] = {"eu.dax", "eu.cac", "us.dow", "eu.dax", "us.spx"};

/* Queues, topics, subscriptions, consumers with leases, dead letters, history. */
static struct world *make_world(unsigned variant) {
    struct world *world = world_new();
    struct client one = client_open(world, 7);
    struct client two = client_open(world, 8);
    CHECK_OK(create(&one, MOMI_KIND_QUEUE, "q", plain).error);
    CHECK_OK(create(&two, MOMI_KIND_TOPIC, "t", plain).error);
    struct momi_subscription_create sub = {.topic = momi_slice_str("t"),
                                           .name = momi_slice_str("s"),
                                           .filters = {momi_slice_str("eu.#")},
                                           .filters_count = 1};
    CHECK_OK(subscribe(&one, &sub).error);
    if (variant > 0) {
        sub = (struct momi_subscription_create){.topic = momi_slice_str("t"),
                                                .name = momi_slice_str("own"),
                                                .temporary = true,
                                                .ignore_own = true};
        CHECK_OK(subscribe(&two, &sub).error);
        CHECK_OK(attach(&two, MOMI_KIND_TOPIC, "t", "own", 2, 4).error);
    }
    CHECK_OK(attach(&one, MOMI_KIND_QUEUE, "q", "", 1, 3).error);
    for (unsigned round = 0; round <= variant; round++) {
        CHECK_OK(publish(&one, "q", 5).error);
        CHECK_OK(publish_keys(&two, "t", keys, 5).error);
        world->elapsed_us += 2 * MOMI_S;
        world->wall_us += 2 * MOMI_S;
    }
    world_save(world);
    return world;
}

static void put_header(const struct snapshot_rig *rig, const struct world *world,
                       struct momi_bytes *out) {
    struct momi_shard_header header = {.replica = rig->leader_replica[DATA_SHARD],
                                       .side = WORLD_SIDE,
                                       .has_state = true,
                                       .applied = world->saved_index,
                                       .applied_term = world->saved_term,
                                       .first_index = world->saved_index + 1,
                                       .before_term = world->saved_term,
                                       .config_index = 1,
                                       .config = rig->config};
    momi_shard_header_encode(&header, out);
}

static void write_stored(unsigned number, const struct world *world) {
    struct momi_bytes out = {.data = NULL};
    for (size_t i = 0; i < world->records_count; i++) {
        const struct world_record *record = &world->records[i];
        momi_put_u8(&out, (uint8_t)record->key.size);
        momi_bytes_append(&out, record->key.data, record->key.size);
        momi_put_u16(&out, (uint16_t)record->value.size);
        momi_bytes_append(&out, record->value.data, record->value.size);
    }
    corpus_write("stored", "records", number, 'r', momi_bytes_slice(&out));
    momi_bytes_free(&out);
}

static void put_records(struct momi_bytes *out, const struct snapshot_rig *rig,
                        const struct world *world) {
    struct momi_bytes payload = {.data = NULL};
    struct momi_bytes header = {.data = NULL};
    put_header(rig, world, &header);
    momi_put_slice(&payload, momi_slice("", 1));
    momi_put_slice(&payload, momi_bytes_slice(&header));
    for (size_t i = 0; i < world->records_count; i++) {
        momi_put_slice(&payload, momi_bytes_slice(&world->records[i].key));
        momi_put_slice(&payload, momi_bytes_slice(&world->records[i].value));
    }
    CHECK(payload.size <= UINT16_MAX);
    momi_put_u8(out, 0);
    momi_put_u8(out, 0);
    momi_put_u8(out, MOMI_FLAG_LAST);
    momi_put_u16(out, (uint16_t)payload.size);
    momi_bytes_append(out, payload.data, payload.size);
    momi_bytes_free(&payload);
    momi_bytes_free(&header);
}

static void put_entries(struct momi_bytes *out, const struct world *world) {
    struct momi_bytes payload = {.data = NULL};
    for (size_t i = 0; i < world->log_count; i++) {
        momi_put_u32(&payload, (uint32_t)world->log[i]->size + 8);
        momi_put_u64(&payload, i + 1);
        momi_bytes_append(&payload, world->log[i]->data, world->log[i]->size);
    }
    CHECK(payload.size <= UINT16_MAX);
    momi_put_u8(out, 1);
    momi_put_u8(out, (uint8_t)world->log_count);
    momi_put_u8(out, (uint8_t)world->log_count);
    momi_put_u16(out, (uint16_t)payload.size);
    momi_bytes_append(out, payload.data, payload.size);
    momi_bytes_free(&payload);
}

static void write_snapshot(unsigned number, const struct snapshot_rig *rig,
                           const struct world *world) {
    struct momi_bytes out = {.data = NULL};
    put_records(&out, rig, world);
    put_entries(&out, world);
    static const uint8_t after[] = {4, 1, 3, 0, 200, 5, 4, 3};
    momi_bytes_append(&out, after, sizeof after);
    corpus_write("snapshots", "snapshot", number, 0, momi_bytes_slice(&out));
    momi_bytes_free(&out);
}

/* The node's own records and the registry, as the follower had stored them. */
static void write_items(const struct rig_node *node) {
    struct momi_bytes registry = {.data = NULL};
    unsigned values = 0;
    for (size_t i = 0; i < node->items_count; i++) {
        struct momi_slice key = momi_buf_slice(node->items[i].key);
        struct momi_slice value = momi_buf_slice(node->items[i].value);
        struct momi_bytes out = {.data = NULL};
        momi_bytes_append(&out, key.data, node->items[i].family == MOMI_FAMILY_NODE);
        momi_bytes_append(&out, value.data, value.size);
        if (node->items[i].family == MOMI_FAMILY_NODE) {
            corpus_write("stored", "value", values, 'v', momi_bytes_slice(&out));
            corpus_write("stored", "key", values++, 'k', key);
        } else if (node->items[i].family == MOMI_FAMILY_STATE && key.data[3] == 0 &&
                   key.data[STATE_PREFIX] != 0) {
            momi_put_u8(&registry, (uint8_t)(key.size - STATE_PREFIX));
            momi_bytes_append(&registry, key.data + STATE_PREFIX,
                              key.size - STATE_PREFIX);
            momi_put_u16(&registry, (uint16_t)value.size);
            momi_bytes_append(&registry, value.data, value.size);
        }
        momi_bytes_free(&out);
    }
    if (registry.size > 0) {
        corpus_write("stored", "registry", 0, 'g', momi_bytes_slice(&registry));
    }
    momi_bytes_free(&registry);
}

static void write_map(const struct snapshot_rig *rig) {
    struct rig live;
    struct snapshot_rig copy = *rig;
    struct momi_bytes map = {.data = NULL};
    struct momi_bytes config = {.data = NULL};
    snapshot_rig_begin(&copy, &live);
    snapshot_rig_up(&live);
    momi_registry_encode(&live.nodes[FOLLOWER].core->shards[0]->registry, &map);
    corpus_write("stored", "map", 0, 'm', momi_bytes_slice(&map));
    momi_put_u8(&config, 'c');
    momi_raft_config_encode(&rig->config, &config);
    corpus_write("stored", "config", 0, 'v', momi_bytes_slice(&config));
    momi_bytes_free(&map);
    momi_bytes_free(&config);
    rig_free(&live);
}

/* Files: their checksums are made right by the target. */
static void write_files(void) {
    uint8_t identity[72] = "mom node\1";
    memset(identity + 12, 7, 48);
    identity[60] = 5;
    corpus_write("stored", "identity", 0, 'I', momi_slice(identity, sizeof identity));
    corpus_write("stored", "identity", 1, 'i', momi_slice(identity, sizeof identity));
    static uint8_t mark[2 * 4096];
    memcpy(mark, "mom mark\1", 9);
    memcpy(mark + 4096, "mom mark\1", 9);
    mark[12] = 1;
    mark[16] = 200;
    mark[24] = 2;
    mark[4096 + 12] = 3;
    mark[4096 + 16] = 199;
    mark[4096 + 24] = 1;
    corpus_write("stored", "mark", 0, 'A', momi_slice(mark, 4096 + 36));
    corpus_write("stored", "mark", 1, 'a', momi_slice(mark, 4096 + 36));
}

void corpus_make_records(void) {
    static struct snapshot_rig rig;
    snapshot_rig_init(&rig);
    for (unsigned variant = 0; variant < 3; variant++) {
        struct world *world = make_world(variant);
        write_stored(variant, world);
        write_snapshot(variant, &rig, world);
        world_free(world);
    }
    write_items(&rig.rig.nodes[FOLLOWER]);
    write_map(&rig);
    write_files();
    snapshot_rig_free(&rig);
}
