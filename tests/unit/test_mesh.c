/* SPDX-License-Identifier: Apache-2.0 */
/* The mesh over whole cores: the three ways to open, restarts, refusals, lanes, plans. */
#include "mesh_rig.h"

#include "core/info.h"
#include "core/mesh_internal.h"
#include "core/registry_commands.h"

static void join_by(struct rig *rig, int node, int by) {
    struct rig_node *joiner = &rig->nodes[node];
    joiner->join[joiner->join_count++] = momi_slice_str(rig->nodes[by].address);
}

static void form_with(struct rig *rig, int count) {
    for (int i = 0; i < count; i++) {
        struct rig_node *node = &rig->nodes[i];
        node->form_count = (size_t)count;
        for (int j = 0; j < count; j++) {
            int at = (i + j) % count; /* the order of the list does not matter */
            node->form[j] =
                (struct momi_founder){.name = momi_slice_str(rig->nodes[at].name),
                                      .address = momi_slice_str(rig->nodes[at].address)};
        }
    }
}

static void check_ready(const struct rig *rig, int count) {
    for (int i = 0; i < count; i++) {
        struct momi_core_state state = rig_state(rig, i);
        if (!state.is_ready) {
            fail_msg("node %d waits: %s", i, rig_waiting(rig, i));
        }
        CHECK(memcmp(&state.mesh, &rig->nodes[0].mesh, sizeof state.mesh) == 0);
        CHECK_EQ(state.shards_count, 4);
    }
}

static const struct momi_registry *map_of(const struct rig *rig, int node) {
    return momi_mesh_map(rig->nodes[node].core);
}

/* Every shard has its copies where the map says, nothing is under way, and every map is
 * the same. */
static void check_settled(const struct rig *rig, int count, uint32_t copies) {
    const struct momi_registry *map = map_of(rig, 0);
    uint32_t fewest = UINT32_MAX;
    uint32_t most = 0;
    for (int i = 0; i < count; i++) {
        CHECK_EQ(map_of(rig, i)->version, map->version);
        uint32_t held = 0;
        for (uint32_t s = 1; s <= map->shards_count; s++) {
            const struct momi_shard_place *place = &map->places[s];
            const struct momi_replica_at *at =
                momi_raft_config_on(&place->current, rig->nodes[i].id);
            struct momi_shard_view view = {.replica = 0};
            (void)momi_core_shard_view(rig->nodes[i].core, s, MOMI_VIEW_PLAIN, &view);
            CHECK_EQ(view.replica, at == NULL ? 0 : at->replica);
            CHECK_EQ(place->current.count, copies);
            CHECK(momi_place_is_settled(place));
            held += at != NULL;
        }
        fewest = held < fewest ? held : fewest;
        most = held > most ? held : most;
    }
    CHECK(most - fewest <= 1);
}

/* --- the ways to open ----------------------------------------------------------------
 */

static void alone_founds_at_once(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.nodes[0].address[0] = 0;
    rig_start(&rig, 0);
    rig_run(&rig, 100 * MOMI_MS);
    check_ready(&rig, 1);
    CHECK_EQ(rig.nodes[0].notices[MOMI_NOTICE_FOUNDED], 1);
    CHECK_EQ(rig.nodes[0].notices[MOMI_NOTICE_JOINED], 1);
    CHECK_EQ(rig.nodes[0].notices[MOMI_NOTICE_READY], 1);
    CHECK_EQ(rig.nodes[0].dials, 0);
    check_settled(&rig, 1, 1);
    CHECK_STR(rig_waiting(&rig, 0), "");
    rig_free(&rig);
}

static void a_restart_takes_up_what_was_there(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig, 0);
    rig_run(&rig, 100 * MOMI_MS);
    struct momi_mesh_id mesh = rig.nodes[0].mesh;
    for (int round = 0; round < 3; round++) {
        rig_kill(&rig, 0);
        snprintf(rig.nodes[0].address, sizeof rig.nodes[0].address, "ipc:///x%d", round);
        rig_start(&rig, 0);
        rig_run(&rig, 2 * MOMI_S);
        check_ready(&rig, 1);
        CHECK(memcmp(&mesh, &rig.nodes[0].mesh, sizeof mesh) == 0);
        const struct momi_member *own =
            momi_registry_member(map_of(&rig, 0), rig.nodes[0].id);
        CHECK_EQ(own->incarnation, rig.nodes[0].incarnation);
        CHECK(momi_slice_equal(own->address, momi_slice_str(rig.nodes[0].address)));
    }
    CHECK_EQ(rig.nodes[0].notices[MOMI_NOTICE_FOUNDED], 1);
    rig_free(&rig);
}

/* A crash at any moment of the founding: it is gone on with, and there is one mesh. */
static void a_crash_while_founding_is_gone_on_with(void **state) {
    (void)state;
    for (uint64_t at_us = 0; at_us < 6 * MOMI_MS; at_us += 100) {
        struct rig rig;
        rig_init(&rig);
        rig_start(&rig, 0);
        rig_run(&rig, at_us);
        struct momi_mesh_id before = rig.nodes[0].mesh;
        rig_kill(&rig, 0);
        rig_start(&rig, 0);
        rig_run(&rig, 3 * MOMI_S);
        check_ready(&rig, 1);
        CHECK(momi_mesh_id_is_none(&before) ||
              memcmp(&before, &rig.nodes[0].mesh, sizeof before) == 0);
        rig_free(&rig);
    }
}

static void an_identity_that_cannot_be_stored_is_tried_again(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig.nodes[0].fail_identity = true;
    rig_start(&rig, 0);
    rig_run(&rig, 3 * MOMI_S);
    CHECK(!rig_state(&rig, 0).is_member);
    CHECK(rig.nodes[0].notices[MOMI_NOTICE_STORE_FAILED] >= 2);
    rig.nodes[0].fail_identity = false;
    rig_run(&rig, 3 * MOMI_S);
    check_ready(&rig, 1);
    rig_free(&rig);
}

static void who_joined_never_founds(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig, 0);
    rig_run(&rig, MOMI_S);
    join_by(&rig, 1, 0);
    rig_start(&rig, 1);
    while (momi_mesh_id_is_none(&rig.nodes[1].mesh)) {
        rig_run(&rig, 100);
    }
    rig_kill(&rig, 1); /* it knows its mesh and nothing else */
    rig_kill(&rig, 0);
    rig.nodes[1].join_count = 0;
    rig_start(&rig, 1);
    rig_run(&rig, 5 * MOMI_S);
    CHECK(!rig_state(&rig, 1).is_member);
    CHECK_EQ(rig.nodes[1].notices[MOMI_NOTICE_FOUNDED], 0);
    CHECK(strstr(rig_waiting(&rig, 1), "give an address") != NULL);
    rig_free(&rig);
}

static void nodes_join_and_take_their_share(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig, 0);
    rig_run(&rig, MOMI_S);
    for (int i = 1; i < 5; i++) {
        join_by(&rig, i, 0);
        rig_start(&rig, i);
        rig_run(&rig, 10 * MOMI_S);
        check_ready(&rig, i + 1);
        check_settled(&rig, i + 1, i + 1 < 3 ? (uint32_t)i + 1 : 3);
        CHECK_EQ(rig.nodes[i].notices[MOMI_NOTICE_JOINED], 1);
        CHECK_EQ(rig.nodes[i].notices[MOMI_NOTICE_REFUSED], 0);
    }
    CHECK_EQ(map_of(&rig, 0)->places[0].current.count, 5);
    CHECK_EQ(rig.nodes[0].notices[MOMI_NOTICE_TWO_COPIES], 1);
    /* One lane for each pair. */
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 5; j++) {
            CHECK(i == j || rig.nodes[i].lanes[j] != 0);
        }
    }
    rig_free(&rig);
}

static void joining_waits_for_an_answer(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    join_by(&rig, 1, 0);
    join_by(&rig, 1, 2);
    rig_start(&rig, 1);
    rig_run(&rig, 60 * MOMI_S);
    CHECK(!rig_state(&rig, 1).is_member);
    CHECK_EQ(rig.nodes[1].notices[MOMI_NOTICE_FOUNDED], 0);
    CHECK(strstr(rig_waiting(&rig, 1), "ipc:///n0 (UNAVAILABLE), ipc:///n2") != NULL);
    CHECK(rig.nodes[1].dials < 100); /* back-off up to 10 s */
    rig_start(&rig, 0);
    rig_run(&rig, 30 * MOMI_S);
    check_ready(&rig, 2);
    rig_free(&rig);
}

static void founders_form_one_mesh(void **state) {
    (void)state;
    for (int first = 0; first < 3; first++) {
        struct rig rig;
        rig_init(&rig);
        form_with(&rig, 3);
        rig_start(&rig, first);
        rig_run(&rig, 3 * MOMI_S);
        CHECK(!rig_state(&rig, first).is_member);
        CHECK(strstr(rig_waiting(&rig, first), " waits for node") != NULL);
        rig_start(&rig, (first + 1) % 3);
        rig_run(&rig, 20 * MOMI_S);
        CHECK(momi_mesh_id_is_none(&rig.nodes[first].mesh)); /* not without the third */
        rig_start(&rig, (first + 2) % 3);
        rig_run(&rig, 20 * MOMI_S);
        check_ready(&rig, 3);
        check_settled(&rig, 3, 3);
        CHECK_EQ(rig.nodes[0].notices[MOMI_NOTICE_FOUNDED], 1);
        CHECK_EQ(rig.nodes[1].notices[MOMI_NOTICE_FOUNDED], 0);
        CHECK_EQ(rig.nodes[2].notices[MOMI_NOTICE_FOUNDED], 0);
        /* Genesis waited for all of them: nothing had to move. */
        for (uint32_t s = 1; s <= 4; s++) {
            CHECK_EQ(map_of(&rig, 0)->places[s].genesis.count, 3);
        }
        rig_free(&rig);
    }
}

static void another_list_of_founders_is_told(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 2);
    rig.nodes[1].form_count = 3;
    rig.nodes[1].form[2] = (struct momi_founder){.name = momi_slice_str("zzz"),
                                                 .address = momi_slice_str("ipc:///z")};
    rig_start(&rig, 0);
    rig_start(&rig, 1);
    rig_run(&rig, 20 * MOMI_S);
    CHECK(momi_mesh_id_is_none(&rig.nodes[0].mesh));
    CHECK(strstr(rig_waiting(&rig, 0), "another list") != NULL);
    rig_free(&rig);
}

static void a_founder_that_finds_a_mesh_joins_it(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    /* The second in the list is in a mesh already. */
    size_t count = rig.nodes[1].form_count;
    rig.nodes[1].form_count = 0;
    rig_start(&rig, 1);
    rig_run(&rig, MOMI_S);
    rig_kill(&rig, 1);
    rig.nodes[1].form_count = count;
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 30 * MOMI_S);
    CHECK_EQ(rig.nodes[0].notices[MOMI_NOTICE_FOUNDED], 0);
    check_ready(&rig, 3);
    rig_free(&rig);
}

static void genesis_goes_on_with_a_majority(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    while (momi_mesh_id_is_none(&rig.nodes[0].mesh)) {
        rig_run(&rig, 100);
    }
    rig_kill(&rig, 2); /* before it has joined */
    rig_run(&rig, 5 * MOMI_S);
    CHECK(!map_of(&rig, 0)->places[1].is_founded);
    CHECK(strstr(rig_waiting(&rig, 0), "founders are missing") != NULL);
    rig_run(&rig, 10 * MOMI_S);
    check_ready(&rig, 2);
    CHECK_EQ(map_of(&rig, 0)->places[1].genesis.count, 2);
    rig_start(&rig, 2);
    rig_run(&rig, 30 * MOMI_S);
    check_ready(&rig, 3);
    check_settled(&rig, 3, 3);
    rig_free(&rig);
}

/* --- clients -------------------------------------------------------------------------
 */

static void clients_follow_the_map(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 10 * MOMI_S);
    rig.nodes[5].role = MOMI_ROLE_CLIENT;
    rig.nodes[5].address[0] = 0;
    join_by(&rig, 5, 1);
    rig_start(&rig, 5);
    rig_run(&rig, 2 * MOMI_S);
    CHECK(rig_state(&rig, 5).is_ready);
    CHECK(momi_mesh_id_is_none(&rig.nodes[5].mesh)); /* it stores nothing */
    CHECK(momi_registry_member(map_of(&rig, 0), rig.nodes[5].id) == NULL);
    /* The node it came by dies: it goes to another, and learns the new leaders. */
    uint64_t gone = rig.nodes[1].id;
    rig_kill(&rig, 1);
    rig_run(&rig, 5 * MOMI_S);
    CHECK(rig_state(&rig, 5).is_ready);
    for (uint32_t s = 0; s <= 4; s++) {
        uint64_t leader = momi_mesh_leader(rig.nodes[5].core, s);
        CHECK(leader != gone);
        CHECK_EQ(leader, momi_mesh_leader(rig.nodes[0].core, s));
    }
    rig_free(&rig);
}

static void a_wanted_lane_is_made_and_kept(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 10 * MOMI_S);
    rig.nodes[5].role = MOMI_ROLE_CLIENT;
    rig.nodes[5].address[0] = 0;
    join_by(&rig, 5, 0);
    rig_start(&rig, 5);
    rig_run(&rig, 2 * MOMI_S);
    momi_mesh_want_lane(rig.nodes[5].core, rig.nodes[2].id);
    CHECK_EQ(rig.nodes[5].lanes[2], 0);
    rig_run(&rig, MOMI_S);
    CHECK(rig.nodes[5].lanes[2] != 0);
    rig_lane_close(&rig, 5, 2, MOMI_DOWN_CLOSED);
    rig_run(&rig, 500 * MOMI_MS);
    CHECK(rig.nodes[5].lanes[2] != 0);
    /* Away for a minute without being wanted again, it is given up. */
    rig_kill(&rig, 2);
    rig_run(&rig, 70 * MOMI_S);
    uint64_t dials = rig.nodes[5].dials;
    rig_run(&rig, 60 * MOMI_S);
    CHECK_EQ(rig.nodes[5].dials, dials);
    rig_free(&rig);
}

/* --- refusals ------------------------------------------------------------------------
 */

static void a_name_in_use_is_refused(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig, 0);
    rig_run(&rig, MOMI_S);
    join_by(&rig, 1, 0);
    snprintf(rig.nodes[1].name, sizeof rig.nodes[1].name, "node0");
    rig_start(&rig, 1);
    rig_run(&rig, 20 * MOMI_S);
    CHECK(!rig_state(&rig, 1).is_member);
    CHECK(strstr(rig_waiting(&rig, 1), "the name node0 is in use by node") != NULL);
    CHECK_EQ(rig.nodes[1].notices[MOMI_NOTICE_REFUSED], 1); /* said once */
    rig_kill(&rig, 1);
    snprintf(rig.nodes[1].name, sizeof rig.nodes[1].name, "other");
    rig_start(&rig, 1);
    rig_run(&rig, 10 * MOMI_S);
    check_ready(&rig, 2);
    rig_free(&rig);
}

static void a_wiped_directory_takes_its_name_again(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 10 * MOMI_S);
    rig_kill(&rig, 2);
    rig_wipe(&rig.nodes[2]);
    rig.nodes[2].id = 5000; /* another key: a new node */
    rig.nodes[2].incarnation = 0;
    rig_run(&rig, 3 * MOMI_S);
    rig_start(&rig, 2);
    rig_run(&rig, 10 * MOMI_S);
    check_ready(&rig, 3);
    const struct momi_registry *map = map_of(&rig, 0);
    CHECK_EQ(map->members_count, 4);
    CHECK_EQ(momi_registry_named(map, momi_slice_str("node2"))->node, 5000);
    rig_free(&rig);
}

static void a_node_without_directory_cannot_store_in_a_durable_mesh(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig, 0);
    rig_run(&rig, MOMI_S);
    join_by(&rig, 1, 0);
    rig.nodes[1].durable = false;
    rig_start(&rig, 1);
    rig_run(&rig, 10 * MOMI_S);
    CHECK(!rig_state(&rig, 1).is_member);
    CHECK(strstr(rig_waiting(&rig, 1), "can only be a client") != NULL);
    rig_free(&rig);
}

static void another_mesh_is_refused(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig, 0);
    rig_start(&rig, 1);
    rig_run(&rig, MOMI_S);
    rig_kill(&rig, 1);
    join_by(&rig, 1, 0);
    rig_start(&rig, 1);
    rig_run(&rig, 5 * MOMI_S);
    CHECK(memcmp(&rig.nodes[0].mesh, &rig.nodes[1].mesh, sizeof rig.nodes[0].mesh) != 0);
    CHECK_EQ(rig.nodes[0].lanes[1], 0);
    CHECK_EQ(map_of(&rig, 0)->members_count, 1);
    rig_free(&rig);
}

/* D1: what comes back with a lower incarnation has lost promises. */
static void an_older_copy_of_a_directory_is_refused(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 10 * MOMI_S);
    rig_kill(&rig, 2);
    rig_start(&rig, 2);
    rig_run(&rig, 5 * MOMI_S);
    check_ready(&rig, 3);
    rig_kill(&rig, 2);
    rig.nodes[2].incarnation = 0;
    rig_start(&rig, 2);
    rig_run(&rig, 5 * MOMI_S);
    CHECK_EQ(rig.nodes[0].lanes[2], 0);
    CHECK(strstr(rig.nodes[0].refused, "older than it was") != NULL);
    CHECK(rig_state(&rig, 0).is_ready);
    rig_free(&rig);
}

/* --- lanes ---------------------------------------------------------------------------
 */

/* D1: also when the one who remembers was started again, and the registry has not heard.
 */
static void incarnations_of_peers_are_remembered_by_the_store(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    join_by(&rig, 1, 0);
    rig.nodes[2].role = MOMI_ROLE_CLIENT;
    rig.nodes[2].address[0] = 0;
    join_by(&rig, 2, 0);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
        rig_run(&rig, 5 * MOMI_S);
    }
    rig_kill(&rig, 1);
    rig_kill(&rig, 2);
    rig.nodes[1].incarnation = 6;
    rig_start(&rig, 1);
    rig_run(&rig, 5 * MOMI_S);
    rig_kill(&rig, 0);
    rig_kill(&rig, 1);
    struct momi_key key = momi_key_peer(rig.nodes[1].id);
    size_t at = rig_find(&rig.nodes[0], MOMI_FAMILY_NODE, momi_key_slice(&key));
    CHECK(at < rig.nodes[0].items_count);
    uint64_t incarnation = 0;
    CHECK(momi_number_decode(momi_buf_slice(rig.nodes[0].items[at].value), &incarnation));
    CHECK_EQ(incarnation, 7);
    rig_start(&rig, 0);
    const struct momi_peer *peer =
        momi_mesh_peer(rig.nodes[0].core->mesh, rig.nodes[1].id);
    CHECK(peer != NULL);
    CHECK_EQ(peer->incarnation_seen, 7);
    CHECK(momi_mesh_peer(rig.nodes[0].core->mesh, rig.nodes[2].id) == NULL);
    rig.nodes[1].incarnation = 3; /* an older copy of its directory */
    rig_start(&rig, 1);
    rig_run(&rig, 5 * MOMI_S);
    CHECK(!momi_mesh_lane_is_up(rig.nodes[0].core, rig.nodes[1].id));
    CHECK(strstr(rig.nodes[0].refused, "older") != NULL);
    rig_free(&rig);
}

static void a_silent_lane_is_hung_up(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 10 * MOMI_S);
    rig_run(&rig, 20 * MOMI_S); /* pings keep idle lanes */
    uint64_t lane = rig.nodes[0].lanes[2];
    CHECK(lane != 0);
    rig_cut(&rig, 0, 2, true);
    rig_cut(&rig, 1, 2, true);
    rig_run(&rig, 3 * MOMI_S);
    CHECK_EQ(rig.nodes[0].lanes[2], 0);
    CHECK_EQ(rig.nodes[2].lanes[0], 0);
    CHECK(rig_state(&rig, 0).is_ready);
    CHECK(!rig_state(&rig, 2).is_ready);
    CHECK(strstr(rig_waiting(&rig, 2), "not reached: node0, node1") != NULL ||
          strstr(rig_waiting(&rig, 2), "not reached: node1, node0") != NULL);
    rig_cut(&rig, 0, 2, false);
    rig_cut(&rig, 1, 2, false);
    rig_run(&rig, 5 * MOMI_S);
    check_ready(&rig, 3);
    check_settled(&rig, 3, 3);
    rig_free(&rig);
}

static void all_restart_in_another_order(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 5);
    for (int i = 0; i < 5; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 15 * MOMI_S);
    check_ready(&rig, 5);
    check_settled(&rig, 5, 3);
    for (int i = 0; i < 5; i++) {
        rig_kill(&rig, i);
    }
    for (int i = 4; i >= 0; i--) {
        rig_start(&rig, i);
        rig_run(&rig, 100 * MOMI_MS);
    }
    rig_run(&rig, 10 * MOMI_S);
    check_ready(&rig, 5);
    check_settled(&rig, 5, 3);
    rig_free(&rig);
}

/* Nodes that hold no registry are told by those who do, whatever they were given. */
static void a_node_without_addresses_is_found_again(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig, 0);
    rig_run(&rig, MOMI_S);
    for (int i = 1; i < 7; i++) {
        join_by(&rig, i, 0);
        rig_start(&rig, i);
        rig_run(&rig, 5 * MOMI_S);
    }
    rig_run(&rig, 10 * MOMI_S);
    check_ready(&rig, 7);
    check_settled(&rig, 7, 3);
    for (int i = 5; i < 7; i++) {
        CHECK(momi_shard_registry(rig.nodes[i].core) == NULL);
        rig_kill(&rig, i);
        rig.nodes[i].join_count = 0;
        rig_run(&rig, 3 * MOMI_S);
        rig_start(&rig, i);
        rig_run(&rig, 10 * MOMI_S);
        check_ready(&rig, 7);
    }
    check_settled(&rig, 7, 3);
    rig_free(&rig);
}

/* A replica that has more than the leader's checkpoint follows the log. */
static void a_restart_costs_no_snapshots(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 10 * MOMI_S);
    for (int i = 0; i < 3; i++) {
        uint64_t before = 0;
        uint64_t after = 0;
        rig_kill(&rig, i);
        for (int j = 0; j < 3; j++) {
            before += j == i ? 0 : momi_core_counters(rig.nodes[j].core)->snapshots_sent;
        }
        rig_run(&rig, MOMI_S);
        rig_start(&rig, i);
        rig_run(&rig, 10 * MOMI_S);
        for (int j = 0; j < 3; j++) {
            after += j == i ? 0 : momi_core_counters(rig.nodes[j].core)->snapshots_sent;
        }
        CHECK_EQ(after, before);
        check_ready(&rig, 3);
    }
    rig_free(&rig);
}

static void leaders_are_spread(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    rig_start(&rig, 0);
    rig_run(&rig, MOMI_S);
    for (int i = 1; i < 4; i++) {
        join_by(&rig, i, 0);
        rig_start(&rig, i);
    }
    rig_run(&rig, 30 * MOMI_S);
    check_settled(&rig, 4, 3);
    unsigned leads[4] = {0};
    for (uint32_t s = 1; s <= 4; s++) {
        leads[rig_index(&rig, momi_mesh_leader(rig.nodes[0].core, s))]++;
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(leads[i], 1);
    }
    rig_free(&rig);
}

/* --- the status ----------------------------------------------------------------------
 */

static void the_status_tells_it_all(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 10 * MOMI_S);
    rig_kill(&rig, 2);
    rig_run(&rig, 3 * MOMI_S);
    struct momi_bytes bytes = {.data = NULL};
    struct momi_arena arena = {0};
    struct momi_status status;
    momi_mesh_status(rig.nodes[0].core, &bytes);
    CHECK_OK(momi_status_decode(momi_bytes_slice(&bytes), &arena, &status));
    CHECK_EQ(status.members_count, 3);
    CHECK_EQ(status.shards_count, 4);
    CHECK_EQ(status.shards_listed, 5);
    CHECK(status.is_durable);
    for (uint32_t i = 0; i < status.members_count; i++) {
        CHECK_EQ(status.members[i].is_alive, status.members[i].node != rig.nodes[2].id);
    }
    for (uint32_t s = 0; s < status.shards_listed; s++) {
        CHECK_EQ(status.shards[s].replicas_count, 3);
        CHECK(status.shards[s].leader != 0);
    }
    momi_arena_free(&arena);
    momi_bytes_free(&bytes);
    rig_free(&rig);
}

static void deliver(struct rig *rig, int node, int from, struct momi_frame *frame) {
    struct momi_event event = {
        .type = EV_FRAME, .node = rig->nodes[from].id, .frame = frame};
    rig_step(rig, node, &event);
}

/* Whatever a peer sends, nothing changes that the sender may not change. */
static void hostile_frames_change_nothing(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 10 * MOMI_S);
    int leader = rig_index(&rig, momi_mesh_leader(rig.nodes[0].core, 0));
    int other = (leader + 1) % 3;
    uint64_t version = map_of(&rig, leader)->version;
    struct momi_mesh_id mesh = rig.nodes[leader].mesh;
    uint8_t junk[200];
    uint64_t random = 12345;
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof junk; i++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            junk[i] = (uint8_t)(random >> 56);
        }
        struct momi_heartbeat_line line = {.shard = MOMI_SHARDS_MAX, .from_replica = 9};
        struct momi_frame frame = {.type = FRAME_MAP_REQUEST +
                                           (enum momi_frame_type)(round % 5),
                                   .shard = (uint32_t)(random % (MOMI_SHARDS_MAX + 1)),
                                   .number = random >> 32,
                                   .counter = random >> 20,
                                   .index = random >> 10,
                                   .lines = &line,
                                   .lines_count = 1,
                                   .name = momi_slice(junk, random % sizeof junk),
                                   .payload = momi_slice(junk, random % sizeof junk)};
        deliver(&rig, leader, other, &frame);
    }
    /* A record of somebody else. */
    struct momi_member_record record = {.node = 77,
                                        .incarnation = 1,
                                        .role = MOMI_ROLE_STORE,
                                        .is_durable = true,
                                        .address = momi_slice_str("ipc:///evil")};
    struct momi_bytes bytes = {.data = NULL};
    momi_member_record_put(&bytes, &record);
    struct momi_frame join = {
        .type = FRAME_JOIN, .counter = 1, .name = momi_bytes_slice(&bytes)};
    deliver(&rig, leader, other, &join);
    momi_bytes_free(&bytes);
    /* The map of another mesh, of a high version: the lane is closed over it. */
    struct momi_registry evil;
    momi_registry_init(&evil);
    momi_registry_encode(map_of(&rig, leader), &bytes);
    CHECK(momi_registry_decode(&evil, momi_bytes_slice(&bytes)));
    evil.mesh.bytes[0] ^= 1;
    evil.version += 1000;
    momi_bytes_clear(&bytes);
    momi_registry_encode(&evil, &bytes);
    struct momi_frame map = {
        .type = FRAME_MAP, .number = evil.version, .payload = momi_bytes_slice(&bytes)};
    deliver(&rig, leader, other, &map);
    CHECK_EQ(rig.nodes[leader].lanes[other], 0);
    momi_bytes_free(&bytes);
    momi_registry_free(&evil);
    rig_run(&rig, 5 * MOMI_S);
    CHECK_EQ(map_of(&rig, leader)->version, version);
    struct momi_core_state now = rig_state(&rig, leader);
    CHECK(memcmp(&mesh, &now.mesh, sizeof mesh) == 0);
    CHECK(momi_registry_member(map_of(&rig, leader), 77) == NULL);
    check_ready(&rig, 3);
    rig_free(&rig);
}

static void hint(struct rig *rig, int node, int other, const char *address) {
    struct momi_lane_info info = {.node = rig->nodes[other].id,
                                  .address = momi_slice_str(address)};
    struct momi_event event = {.type = EV_PEER_HINT, .lane = &info};
    rig_step(rig, node, &event);
}

/* All come back at other addresses, and no list leads to them: nobody finds anybody,
 * until somebody says where one of them is. */
static void a_member_is_found_where_others_say(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 5 * MOMI_S);
    check_ready(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_kill(&rig, i);
        rig.nodes[i].form_count = 0;
        snprintf(rig.nodes[i].address, sizeof rig.nodes[i].address, "ipc:///other%d", i);
    }
    rig_start(&rig, 0);
    rig_start(&rig, 1);
    rig_run(&rig, 30 * MOMI_S);
    CHECK(!momi_mesh_lane_is_up(rig.nodes[0].core, rig.nodes[1].id));
    hint(&rig, 0, 1, "ipc:///other1");
    rig_run(&rig, 30 * MOMI_S);
    CHECK(momi_mesh_lane_is_up(rig.nodes[0].core, rig.nodes[1].id));
    check_ready(&rig, 2);
    rig_free(&rig);
}

/* Wrong hints cost attempts and nothing else; strangers are not even tried. */
static void wrong_hints_change_nothing(void **state) {
    (void)state;
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 5 * MOMI_S);
    uint64_t version = map_of(&rig, 0)->version;
    uint64_t dials = rig.nodes[0].dials;
    hint(&rig, 0, 0, "ipc:///self");
    hint(&rig, 0, 1, "ipc:///liar"); /* its lane is up */
    hint(&rig, 0, 5, "ipc:///n5");   /* no member, though somebody is there */
    rig_start(&rig, 5);
    rig_run(&rig, 5 * MOMI_S);
    CHECK_EQ(rig.nodes[0].dials, dials);
    CHECK_EQ(map_of(&rig, 0)->version, version);
    rig_kill(&rig, 1);
    rig_run(&rig, 100 * MOMI_MS);
    for (int i = 0; i < 20; i++) {
        hint(&rig, 0, 1, i % 2 == 0 ? "ipc:///n2" : "ipc:///nowhere");
        hint(&rig, 2, 1, "ipc:///n0");
        rig_run(&rig, 100 * MOMI_MS);
    }
    rig_start(&rig, 1);
    rig_run(&rig, 10 * MOMI_S);
    check_ready(&rig, 3);
    CHECK(momi_mesh_lane_is_up(rig.nodes[0].core, rig.nodes[1].id));
    CHECK(momi_mesh_lane_is_up(rig.nodes[2].core, rig.nodes[1].id));
    rig_free(&rig);
}

static void nothing_leaks(void **state) {
    (void)state;
    int64_t live = momi_mem_live();
    struct rig rig;
    rig_init(&rig);
    form_with(&rig, 3);
    for (int i = 0; i < 3; i++) {
        rig_start(&rig, i);
    }
    rig_run(&rig, 5 * MOMI_S);
    rig_free(&rig);
    CHECK_EQ(momi_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(alone_founds_at_once),
        TEST(a_restart_takes_up_what_was_there),
        TEST(a_crash_while_founding_is_gone_on_with),
        TEST(an_identity_that_cannot_be_stored_is_tried_again),
        TEST(who_joined_never_founds),
        TEST(nodes_join_and_take_their_share),
        TEST(joining_waits_for_an_answer),
        TEST(founders_form_one_mesh),
        TEST(another_list_of_founders_is_told),
        TEST(a_founder_that_finds_a_mesh_joins_it),
        TEST(genesis_goes_on_with_a_majority),
        TEST(clients_follow_the_map),
        TEST(a_wanted_lane_is_made_and_kept),
        TEST(a_name_in_use_is_refused),
        TEST(a_wiped_directory_takes_its_name_again),
        TEST(a_node_without_directory_cannot_store_in_a_durable_mesh),
        TEST(another_mesh_is_refused),
        TEST(an_older_copy_of_a_directory_is_refused),
        TEST(incarnations_of_peers_are_remembered_by_the_store),
        TEST(a_silent_lane_is_hung_up),
        TEST(all_restart_in_another_order),
        TEST(a_node_without_addresses_is_found_again),
        TEST(a_restart_costs_no_snapshots),
        TEST(leaders_are_spread),
        TEST(the_status_tells_it_all),
        TEST(hostile_frames_change_nothing),
        TEST(a_member_is_found_where_others_say),
        TEST(wrong_hints_change_nothing),
        TEST(nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
