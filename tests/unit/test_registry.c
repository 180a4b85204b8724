/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: commands that fit change it once, others change nothing; its checkpoint
 * and its map give the same content back; hostile bytes are refused. */
#include "t.h"

#include "core/keys.h"
#include "core/registry_commands.h"

struct rig {
    struct momi_registry registry;
    uint64_t term;
};

static void apply(struct rig *rig, uint8_t type, struct momi_bytes *body) {
    struct momi_bytes bytes = {.data = NULL};
    struct momi_session_id none = {.index = 0};
    size_t at = momi_command_begin(&bytes, type, none, 0, 0);
    momi_bytes_append(&bytes, body->data, body->size);
    momi_command_finish(&bytes, at);
    struct momi_slice piece = momi_bytes_slice(&bytes);
    uint64_t index = rig->registry.applied + 1;
    struct momi_buf *buf =
        momi_entry_build(MOMI_ENTRY_COMMANDS, 1, index * 10, index * 20, 1, 0, &piece, 1);
    struct momi_entry entry;
    CHECK(momi_entry_parse(momi_buf_slice(buf), &entry));
    CHECK(momi_registry_reserve(&rig->registry, &entry));
    momi_registry_apply(&rig->registry, index, &entry);
    momi_buf_release(buf);
    momi_bytes_free(&bytes);
    momi_bytes_free(body);
}

static struct momi_member_record store(uint64_t node, const char *name) {
    return (struct momi_member_record){.node = node,
                                       .incarnation = 1,
                                       .role = MOMI_ROLE_STORE,
                                       .name = momi_slice_str(name),
                                       .address = momi_slice_str("tcp://h:1")};
}

static void found(struct rig *rig, uint8_t id) {
    struct momi_mesh_found body = {.shards_count = 2,
                                   .copies_count = 3,
                                   .durable = true,
                                   .replica = 1,
                                   .founder = store(10, "a")};
    body.mesh.bytes[3] = id;
    struct momi_bytes bytes = {.data = NULL};
    momi_mesh_found_put(&bytes, &body);
    apply(rig, CMD_FOUND, &bytes);
}

static void put(struct rig *rig, struct momi_member_record record) {
    struct momi_bytes bytes = {.data = NULL};
    momi_member_record_put(&bytes, &record);
    apply(rig, CMD_MEMBER_PUT, &bytes);
}

static void plan(struct rig *rig, uint32_t shard, struct momi_plan plan) {
    struct momi_bytes bytes = {.data = NULL};
    momi_place_plan_put(&bytes, shard, &plan);
    apply(rig, CMD_PLAN, &bytes);
}

static void done(struct rig *rig, uint32_t shard, uint64_t version,
                 struct momi_raft_config config) {
    struct momi_bytes inner = {.data = NULL};
    struct momi_bytes bytes = {.data = NULL};
    momi_raft_config_encode(&config, &inner);
    momi_place_done_put(&bytes, shard, version, momi_bytes_slice(&inner));
    momi_bytes_free(&inner);
    apply(rig, CMD_PLAN_DONE, &bytes);
}

static struct momi_plan plan_of(uint64_t version, uint32_t count, const uint64_t *nodes,
                                const uint64_t *replicas) {
    struct momi_plan plan = {.version = version, .count = count};
    for (uint32_t i = 0; i < count; i++) {
        plan.at[i] = (struct momi_replica_at){
            .node = nodes[i], .replica = replicas[i], .votes = true};
    }
    return plan;
}

static void setup(struct rig *rig) {
    *rig = (struct rig){.term = 1};
    momi_registry_init(&rig->registry);
    found(rig, 7);
    put(rig, store(30, "c"));
    put(rig, store(20, "b"));
}

static void a_mesh_is_founded_once(void **state) {
    (void)state;
    struct rig rig = {.term = 1};
    momi_registry_init(&rig.registry);
    put(&rig, store(20, "b"));
    CHECK_EQ(rig.registry.version, 0); /* nothing before the founding */
    found(&rig, 7);
    CHECK_EQ(rig.registry.mesh.bytes[3], 7);
    CHECK_EQ(rig.registry.members_count, 1);
    CHECK(rig.registry.places[0].is_founded);
    CHECK_EQ(rig.registry.places[0].genesis.at[0].replica, 1);
    CHECK_EQ(rig.registry.replica_next, 2);
    uint64_t version = rig.registry.version;
    found(&rig, 8);
    CHECK_EQ(rig.registry.mesh.bytes[3], 7);
    CHECK_EQ(rig.registry.version, version);
    momi_registry_free(&rig.registry);
}

static void members_are_sorted_and_idempotent(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig);
    CHECK_EQ(rig.registry.members_count, 3);
    CHECK_EQ(rig.registry.members[0].node, 10);
    CHECK_EQ(rig.registry.members[1].node, 20);
    CHECK_EQ(rig.registry.members[2].node, 30);
    uint64_t version = rig.registry.version;
    put(&rig, store(20, "b"));
    CHECK_EQ(rig.registry.version, version);
    struct momi_member_record record = store(20, "bb");
    record.incarnation = 2;
    put(&rig, record);
    CHECK_EQ(rig.registry.version, version + 1);
    CHECK(momi_slice_equal(momi_registry_member(&rig.registry, 20)->name,
                           momi_slice_str("bb")));
    put(&rig, store(20, "old")); /* a lower incarnation */
    CHECK_EQ(rig.registry.version, version + 1);
    momi_registry_free(&rig.registry);
}

static void a_name_belongs_to_one_member(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig);
    uint64_t version = rig.registry.version;
    struct momi_member_record record = store(40, "b");
    put(&rig, record);
    CHECK(momi_registry_member(&rig.registry, 40) == NULL);
    CHECK_EQ(rig.registry.version, version);
    record.takes_name = true;
    put(&rig, record);
    CHECK(momi_slice_equal(momi_registry_member(&rig.registry, 40)->name,
                           momi_slice_str("b")));
    CHECK(momi_slice_equal(momi_registry_member(&rig.registry, 20)->name,
                           momi_slice_str("b.0000000000000014")));
    CHECK_EQ(momi_registry_named(&rig.registry, momi_slice_str("b"))->node, 40);
    momi_registry_free(&rig.registry);
}

static void genesis_never_changes(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig);
    plan(&rig, 1, plan_of(1, 2, (uint64_t[]){10, 20}, (uint64_t[]){2, 3}));
    struct momi_shard_place *place = &rig.registry.places[1];
    CHECK(place->is_founded);
    CHECK_EQ(place->genesis.count, 2);
    CHECK_EQ(place->done_version, 1);
    CHECK_EQ(rig.registry.replica_next, 4);
    struct momi_raft_config genesis = place->genesis;
    plan(&rig, 1, plan_of(1, 1, (uint64_t[]){30}, (uint64_t[]){5}));
    CHECK(momi_raft_config_equal(&place->genesis, &genesis));
    plan(&rig, 1, plan_of(3, 3, (uint64_t[]){10, 20, 30}, (uint64_t[]){2, 3, 6}));
    CHECK_EQ(place->plan.version, 3);
    CHECK(momi_raft_config_equal(&place->genesis, &genesis));
    momi_registry_free(&rig.registry);
}

static void plans_come_one_after_the_other(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig);
    plan(&rig, 1, plan_of(1, 1, (uint64_t[]){10}, (uint64_t[]){2}));
    struct momi_shard_place *place = &rig.registry.places[1];
    struct momi_plan next = plan_of(3, 2, (uint64_t[]){10, 20}, (uint64_t[]){2, 3});
    plan(&rig, 1, next);
    CHECK_EQ(place->plan.version, 3);
    plan(&rig, 1, plan_of(5, 1, (uint64_t[]){10}, (uint64_t[]){2}));
    CHECK_EQ(place->plan.version, 3); /* the last one is not done */

    struct momi_raft_config config;
    momi_plan_config(&next, &config);
    config.version = 2;
    config.at[1].votes = false; /* the newcomer only learns */
    done(&rig, 1, 3, config);
    CHECK_EQ(place->done_version, 1);
    momi_plan_config(&next, &config);
    config.at[1].replica = 9; /* never given */
    done(&rig, 1, 3, config);
    CHECK_EQ(place->done_version, 1);
    momi_plan_config(&next, &config);
    done(&rig, 1, 3, config);
    CHECK_EQ(place->done_version, 3);
    CHECK(momi_raft_config_equal(&place->current, &config));
    uint64_t version = rig.registry.version;
    done(&rig, 1, 3, config);
    CHECK_EQ(rig.registry.version, version);

    /* Only another preferred leader: the configuration stays as it is. */
    next.version = 5;
    next.leader = 20;
    plan(&rig, 1, next);
    done(&rig, 1, 5, config);
    CHECK_EQ(place->done_version, 5);
    momi_registry_free(&rig.registry);
}

static void replica_ids_are_never_reused(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig);
    plan(&rig, 1, plan_of(1, 1, (uint64_t[]){10}, (uint64_t[]){1}));
    CHECK(!rig.registry.places[1].is_founded); /* 1 is the registry's */
    plan(&rig, 1, plan_of(1, 1, (uint64_t[]){10}, (uint64_t[]){2}));
    plan(&rig, 2, plan_of(1, 1, (uint64_t[]){20}, (uint64_t[]){2}));
    CHECK(!rig.registry.places[2].is_founded);
    plan(&rig, 1, plan_of(3, 1, (uint64_t[]){20}, (uint64_t[]){2}));
    CHECK_EQ(rig.registry.places[1].plan.version, 1); /* an id does not change its node */
    plan(&rig, 1, plan_of(3, 1, (uint64_t[]){99}, (uint64_t[]){7}));
    CHECK_EQ(rig.registry.places[1].plan.version, 1); /* not a member */
    momi_registry_free(&rig.registry);
}

static void who_holds_copies_stays(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig);
    plan(&rig, 1, plan_of(1, 1, (uint64_t[]){20}, (uint64_t[]){2}));
    for (uint64_t node = 20; node <= 30; node += 10) {
        struct momi_bytes bytes = {.data = NULL};
        momi_member_remove_put(&bytes, node);
        apply(&rig, CMD_MEMBER_REMOVE, &bytes);
    }
    CHECK(!momi_registry_member(&rig.registry, 20)->removed);
    CHECK(momi_registry_member(&rig.registry, 30)->removed);
    uint64_t version = rig.registry.version;
    struct momi_member_record record = store(30, "c");
    record.incarnation = 5;
    put(&rig, record); /* it does not come back under its old id */
    CHECK_EQ(rig.registry.version, version);
    momi_registry_free(&rig.registry);
}

static void fill(struct rig *rig) {
    setup(rig);
    plan(rig, 1, plan_of(1, 2, (uint64_t[]){10, 20}, (uint64_t[]){2, 3}));
    struct momi_plan next =
        plan_of(3, 3, (uint64_t[]){10, 20, 30}, (uint64_t[]){2, 3, 4});
    next.leader = 30;
    plan(rig, 1, next);
}

static void the_map_is_the_content(void **state) {
    (void)state;
    struct rig rig;
    fill(&rig);
    struct momi_bytes map = {.data = NULL};
    momi_registry_encode(&rig.registry, &map);
    struct momi_registry copy;
    momi_registry_init(&copy);
    CHECK(momi_registry_decode(&copy, momi_bytes_slice(&map)));
    copy.elapsed_us = rig.registry.elapsed_us;
    copy.wall_us = rig.registry.wall_us;
    CHECK_EQ(momi_registry_hash(&copy), momi_registry_hash(&rig.registry));
    CHECK_EQ(copy.places[1].plan.leader, 30);
    /* Cut or damaged maps are refused, or decode to something sound; the content stays.
     */
    uint64_t version = copy.version;
    for (size_t size = 0; size < map.size; size++) {
        CHECK(!momi_registry_decode(&copy, momi_slice(map.data, size)));
        CHECK_EQ(copy.version, version);
    }
    for (size_t at = 0; at < map.size; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct momi_registry other;
            momi_registry_init(&other);
            map.data[at] ^= (uint8_t)(1u << bit);
            (void)momi_registry_decode(&other, momi_bytes_slice(&map));
            map.data[at] ^= (uint8_t)(1u << bit);
            momi_registry_free(&other);
        }
    }
    momi_registry_free(&copy);
    momi_registry_free(&rig.registry);
    momi_bytes_free(&map);
}

static void a_checkpoint_gives_it_back(void **state) {
    (void)state;
    struct rig rig;
    fill(&rig);
    struct momi_batch batch = {.number = 0};
    momi_registry_save(&rig.registry, 1, &batch);
    struct momi_registry copy;
    momi_registry_init(&copy);
    enum { PREFIX = 5 };
    for (size_t i = 0; i < momi_batch_count(&batch); i++) {
        struct momi_batch_view view = momi_batch_at(&batch, i);
        struct momi_slice key =
            momi_slice(view.key.data + PREFIX, view.key.size - PREFIX);
        CHECK(momi_registry_load(&copy, key, view.value));
        CHECK(!momi_registry_load(&copy, key, momi_slice(view.value.data, 0)));
    }
    CHECK(momi_registry_loaded(&copy, rig.registry.applied, rig.registry.applied_term));
    CHECK_EQ(momi_registry_hash(&copy), momi_registry_hash(&rig.registry));
    CHECK_EQ(copy.applied, rig.registry.applied);
    /* Nothing changed since: only the stamps are written again. */
    momi_batch_clear(&batch);
    momi_registry_save(&rig.registry, 1, &batch);
    CHECK_EQ(momi_batch_count(&batch), 1);
    momi_batch_free(&batch);
    momi_registry_free(&copy);
    momi_registry_free(&rig.registry);
}

static void apply_needs_no_memory(void **state) {
    (void)state;
    struct rig rig;
    setup(&rig);
    int64_t live = momi_mem_live();
    for (uint64_t node = 100; node < 140; node++) {
        struct momi_bytes body = {.data = NULL};
        struct momi_bytes bytes = {.data = NULL};
        struct momi_session_id none = {.index = 0};
        struct momi_member_record record = store(node, "");
        momi_member_record_put(&body, &record);
        size_t at = momi_command_begin(&bytes, CMD_MEMBER_PUT, none, 0, 0);
        momi_bytes_append(&bytes, body.data, body.size);
        momi_command_finish(&bytes, at);
        struct momi_slice piece = momi_bytes_slice(&bytes);
        struct momi_buf *buf =
            momi_entry_build(MOMI_ENTRY_COMMANDS, 1, 0, 0, 1, 0, &piece, 1);
        struct momi_entry entry;
        CHECK(momi_entry_parse(momi_buf_slice(buf), &entry));
        CHECK(momi_registry_reserve(&rig.registry, &entry));
        momi_mem_fail_after(0, true);
        momi_registry_apply(&rig.registry, rig.registry.applied + 1, &entry);
        momi_mem_fail_after(-1, false);
        CHECK(momi_registry_member(&rig.registry, node) != NULL);
        momi_buf_release(buf);
        momi_bytes_free(&bytes);
        momi_bytes_free(&body);
    }
    CHECK(momi_mem_live() >= live);
    momi_registry_free(&rig.registry);
}

static void malformed_commands_change_nothing(void **state) {
    (void)state;
    struct rig rig;
    fill(&rig);
    uint64_t version = rig.registry.version;
    for (unsigned type = CMD_FOUND; type <= CMD_PLAN_DONE + 1u; type++) {
        for (size_t size = 0; size < 40; size++) {
            struct momi_bytes bytes = {.data = NULL};
            for (size_t i = 0; i < size; i++) {
                momi_put_u8(&bytes, 0xff);
            }
            apply(&rig, (uint8_t)type, &bytes);
        }
    }
    CHECK_EQ(rig.registry.version, version);
    momi_registry_free(&rig.registry);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_mesh_is_founded_once),
        TEST(members_are_sorted_and_idempotent),
        TEST(a_name_belongs_to_one_member),
        TEST(genesis_never_changes),
        TEST(plans_come_one_after_the_other),
        TEST(replica_ids_are_never_reused),
        TEST(who_holds_copies_stays),
        TEST(the_map_is_the_content),
        TEST(a_checkpoint_gives_it_back),
        TEST(apply_needs_no_memory),
        TEST(malformed_commands_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
