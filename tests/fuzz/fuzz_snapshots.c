/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole way of a snapshot into a follower: records, entries, the switch, and the
 * start from what was written. The input is a row of steps; each begins with a byte:
 *
 *   0  records: number, flags, u16 size, payload
 *   1  entries: number, count, u16 size, payload; their checksums are made right
 *   2  appended entries: index above the follower's commit, count, u16 size, payload
 *   3  a heartbeat: term, commit
 *   4  time passes: tenths of a second
 *   5  the follower is killed and started from its store
 *   6  any frame: u16 size, its bytes; its checksum is made right
 *
 * Whatever is sent, the follower's machine stays sound, and its store can be opened.
 */
#include "fuzz/snapshot_rig.h"

#include "fuzz/fuzz.h"

static struct snapshot_rig base;
static bool is_ready;

struct scene {
    struct rig rig;
    struct momi_reader in;
    uint32_t shard;
};

static void check_state(const struct rig *rig) {
    const struct momi_core *core = rig->nodes[FOLLOWER].core;
    for (uint32_t s = 0; s <= DATA_SHARD; s++) {
        struct momi_shard_view view;
        if (!momi_core_shard_view(core, s, MOMI_VIEW_HASH, &view)) {
            continue;
        }
        MOMI_ASSERT(view.applied <= view.commit);
        MOMI_ASSERT(view.commit + 1 >= view.first_index);
        if (s == DATA_SHARD) {
            momi_machine_check(core->shards[s]->machine);
        }
    }
}

/* Through the codec, as from a lane; what it refuses never arrives. */
static void deliver_bytes(struct scene *scene, struct momi_slice bytes) {
    struct momi_arena arena = {0};
    struct momi_frame frame;
    struct momi_buf *chunk = momi_buf_copy(bytes);
    if (momi_codec_decode(momi_buf_slice(chunk), chunk, &arena, &frame) == MOM_OK) {
        struct momi_event event = {
            .type = EV_FRAME, .node = scene->rig.nodes[LEADER].id, .frame = &frame};
        rig_step(&scene->rig, FOLLOWER, &event);
    }
    momi_buf_release(chunk);
    momi_arena_free(&arena);
}

static void deliver(struct scene *scene, struct momi_frame *frame,
                    struct momi_slice payload) {
    struct momi_arena arena = {0};
    struct momi_part part = {.bytes = payload};
    struct momi_slice head;
    frame->parts = &part;
    frame->parts_count = payload.size > 0;
    if (momi_codec_encode(frame, &arena, &head) == MOM_OK) {
        struct momi_bytes bytes = {.data = NULL};
        momi_bytes_append(&bytes, head.data, head.size);
        momi_bytes_append(&bytes, payload.data, payload.size);
        deliver_bytes(scene, momi_bytes_slice(&bytes));
        momi_bytes_free(&bytes);
    }
    momi_arena_free(&arena);
}

static struct momi_frame frame_of(const struct scene *scene, enum momi_frame_type type) {
    uint32_t shard = scene->shard;
    return (struct momi_frame){.type = type,
                               .shard = shard,
                               .from_replica = base.leader_replica[shard],
                               .to_replica = base.follower_replica[shard],
                               .term = base.term[shard]};
}

/* (u32 size, `skip` bytes, entry) each. */
static void repair_entries(uint8_t *bytes, size_t size, size_t skip) {
    for (size_t at = 0; at + 4 <= size;) {
        size_t piece = momi_load_le32(bytes + at);
        at += 4;
        if (piece < skip || piece > size - at) {
            return;
        }
        fuzz_repair_sum(bytes + at + skip, piece - skip, 0, FUZZ_SUM_WITHOUT);
        at += piece;
    }
}

static void step_records(struct scene *scene) {
    struct momi_frame frame = frame_of(scene, FRAME_SNAPSHOT_RECORDS);
    frame.counter = 9;
    frame.number = momi_get_u8(&scene->in);
    frame.flags = momi_get_u8(&scene->in);
    deliver(scene, &frame, momi_get_bytes(&scene->in, momi_get_u16(&scene->in)));
}

static void step_entries(struct scene *scene, enum momi_frame_type type) {
    struct momi_frame frame = frame_of(scene, type);
    uint8_t number = momi_get_u8(&scene->in);
    frame.count = momi_get_u8(&scene->in);
    struct momi_slice payload = momi_get_bytes(&scene->in, momi_get_u16(&scene->in));
    uint8_t *bytes = fuzz_copy(payload);
    if (type == FRAME_ENTRIES) {
        frame.counter = 9;
        frame.index = 1;
        frame.number = number;
        repair_entries(bytes, payload.size, sizeof(uint64_t));
    } else {
        frame.index = base.commit[scene->shard] + number;
        frame.log_term = base.term[scene->shard];
        frame.commit = frame.index + frame.count;
        repair_entries(bytes, payload.size, 0);
    }
    deliver(scene, &frame, momi_slice(bytes, payload.size));
    momi_free(bytes);
}

static void step_heartbeat(struct scene *scene) {
    struct momi_frame frame = {.type = FRAME_HEARTBEAT, .counter = 1};
    struct momi_heartbeat_line line = {.shard = scene->shard,
                                       .from_replica = base.leader_replica[scene->shard],
                                       .to_replica = base.follower_replica[scene->shard],
                                       .term = base.term[scene->shard] +
                                               momi_get_u8(&scene->in) % 3,
                                       .commit = momi_get_u8(&scene->in)};
    frame.lines = &line;
    frame.lines_count = 1;
    deliver(scene, &frame, momi_slice(NULL, 0));
}

static void step_frame(struct scene *scene) {
    struct momi_slice bytes = momi_get_bytes(&scene->in, momi_get_u16(&scene->in));
    uint8_t *copy = fuzz_copy(bytes);
    fuzz_repair_sum(copy, bytes.size, 12, FUZZ_SUM_AS_ZERO);
    deliver_bytes(scene, momi_slice(copy, bytes.size));
    momi_free(copy);
}

static void step(struct scene *scene) {
    uint8_t what = momi_get_u8(&scene->in);
    scene->shard = (what & 0x80) != 0 ? 0 : DATA_SHARD;
    switch ((what & 0x7f) % 7) {
    case 0:
        step_records(scene);
        break;
    case 1:
        step_entries(scene, FRAME_ENTRIES);
        break;
    case 2:
        step_entries(scene, FRAME_APPEND);
        break;
    case 3:
        step_heartbeat(scene);
        break;
    case 4:
        rig_run(&scene->rig, momi_get_u8(&scene->in) % 32 * 100 * MOMI_MS);
        break;
    case 5:
        rig_kill(&scene->rig, FOLLOWER);
        snapshot_rig_up(&scene->rig);
        break;
    default:
        step_frame(scene);
        break;
    }
}

void fuzz_end(void) {
    if (is_ready) {
        snapshot_rig_free(&base);
        is_ready = false;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { STEPS_MAX = 64 };
    static struct scene scene;
    if (!is_ready) {
        snapshot_rig_init(&base);
        is_ready = true;
    }
    uint8_t *bytes = fuzz_copy(momi_slice(data, size));
    scene.in = momi_reader(momi_slice(bytes, size));
    snapshot_rig_begin(&base, &scene.rig);
    snapshot_rig_up(&scene.rig);
    for (int i = 0; i < STEPS_MAX && momi_reader_left(&scene.in) > 0; i++) {
        step(&scene);
        check_state(&scene.rig);
    }
    rig_run(&scene.rig, MOMI_S);
    check_state(&scene.rig);
    rig_kill(&scene.rig, FOLLOWER);
    rig_start(&scene.rig, FOLLOWER);
    check_state(&scene.rig);
    rig_free(&scene.rig);
    momi_free(bytes);
    return 0;
}
