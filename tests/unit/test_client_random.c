/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client half against leaders that change, lanes that break, frames that are lost and
 * sessions that expire, drawn from a seed. Whatever happens, each call completes once,
 * and what it is told is true:
 *
 *   OK: applied once, with these sequences    UNKNOWN_OUTCOME: applied at most once
 *   any other error: never applied            order within a stream: order of the calls
 *
 *   test_client_random [SEED]     replays one
 */
#include "client_fake.h"

enum {
    SEEDS = 400,
    STEPS = 400,
    SHARDS = 2,
    STREAMS = 5,
    NODE_FIRST = 2,
    NODE_LAST = 4,
    FLIGHT_MAX = 512,
    CALLS_MAX = 8192,
    RESULTS_MAX = 8192,
    APPLIED_MAX = 65536
};

/* A frame on its way, either direction. */
struct flight {
    uint64_t node;
    bool to_client;
    struct momi_frame frame;
    uint8_t *payload; /* owned */
};

struct applied {
    uint64_t id;
    uint32_t place;
    uint32_t stream;
    uint64_t sequence;
};

/* What a shard's majority knows, whoever leads it. */
struct shard_model {
    uint64_t leader;
    uint64_t term;
    struct momi_session_id session; /* none: expired, or never opened */
    uint64_t opening;
    uint64_t last;
    uint64_t answered;
    struct fake_result results[RESULTS_MAX]; /* by number */
};

struct call_model {
    bool is_made;
    bool is_forever; /* no deadline, never cancelled */
    uint32_t count;
    uint32_t applied; /* messages of it */
    uint64_t first;   /* sequence of the first */
    uint32_t completions;
    int error;
    uint64_t sequence;
};

static struct {
    struct momi_rng rng;
    struct flight flights[FLIGHT_MAX];
    size_t flights_count;
    struct shard_model shards[SHARDS + 1];
    uint64_t session_next;
    uint64_t sequences[STREAMS];
    uint64_t last_id[STREAMS]; /* applied last */
    struct call_model calls[CALLS_MAX];
    uint64_t id_next;
    size_t seen; /* completions looked at */
    const char *broken;
} model;

static uint64_t draw(uint64_t low, uint64_t high) {
    return momi_rng_between(&model.rng, low, high);
}
static bool chance(uint32_t percent) {
    return momi_rng_chance(&model.rng, percent * 10000);
}
static void broken(const char *what) {
    if (model.broken == NULL) {
        model.broken = what;
    }
}

/* --- the network ---------------------------------------------------------------- */

static void fly(uint64_t node, bool to_client, const struct momi_frame *frame,
                struct momi_slice payload) {
    if (model.flights_count == FLIGHT_MAX || !fake.is_up[node]) {
        return; /* lost */
    }
    struct flight *flight = &model.flights[model.flights_count++];
    flight->node = node;
    flight->to_client = to_client;
    flight->frame = *frame;
    flight->payload = momi_alloc(payload.size);
    if (payload.size > 0) {
        memcpy(flight->payload, payload.data, payload.size);
    }
    flight->frame.parts = NULL;
    flight->frame.parts_count = 0;
    flight->frame.payload = momi_slice(flight->payload, payload.size);
}

static void land(size_t index) {
    momi_free(model.flights[index].payload);
    memmove(&model.flights[index], &model.flights[index + 1],
            (--model.flights_count - index) * sizeof model.flights[0]);
}

static void lose_lane(uint64_t node) {
    for (size_t i = 0; i < model.flights_count;) {
        if (model.flights[i].node == node) {
            land(i);
        } else {
            i++;
        }
    }
}

/* Puts what the turn sent on its way, and looks at what it completed. */
static void after_turn(void) {
    for (size_t i = 0; i < fake.sent_count; i++) {
        const struct momi_frame *frame = fake.sent[i].frame;
        fly(fake.sent[i].node, false, frame, fake_payload(frame));
    }
    for (; model.seen < fake.done_count; model.seen++) {
        const struct fake_done *done = &fake.done[model.seen];
        struct call_model *call = &model.calls[done->id];
        if (!call->is_made || ++call->completions > 1) {
            broken("a call completed twice, or was never made");
        }
        call->error = done->error;
        call->sequence = done->sequence;
    }
    fake_begin();
}
static void turn(void) {
    fake_end();
    after_turn();
}

/* --- leaders -------------------------------------------------------------------- */

static void apply_publish(const struct momi_command *command,
                          struct fake_result *result) {
    struct momi_publish publish;
    if (!momi_publish_parse(command->body, &publish)) {
        broken("a publish that does not parse");
        return;
    }
    uint32_t stream = publish.name.data[0] - 'a';
    *result = (struct fake_result){MOM_OK, model.sequences[stream] + 1};
    for (uint32_t i = 0; i < publish.count; i++) {
        struct momi_record record;
        (void)momi_record_read(publish.records, &record);
        if (!momi_record_check(&record)) {
            broken("a record is damaged");
        }
        publish.records = momi_slice(publish.records.data + record.whole.size,
                                     publish.records.size - record.whole.size);
        uint64_t id = momi_load_le64(record.body.data);
        uint32_t place = momi_load_le32(record.body.data + 8);
        struct call_model *call = &model.calls[id];
        uint64_t sequence = ++model.sequences[stream];
        if (place != call->applied) {
            broken("a message applied twice, or out of its place");
        }
        if (place == 0) {
            call->first = sequence;
            if (id <= model.last_id[stream]) {
                broken("order within a stream");
            }
            model.last_id[stream] = id;
        }
        call->applied++;
    }
}

static void send_results(struct shard_model *shard, uint32_t id, uint64_t from) {
    struct momi_bytes bytes = {0};
    for (uint64_t n = from; n <= shard->last; n++) {
        momi_put_varint(&bytes, (uint64_t)-shard->results[n].error);
        momi_put_varint(&bytes, shard->results[n].value);
    }
    struct momi_frame frame = {.type = FRAME_RESULTS,
                               .shard = id,
                               .session = shard->session,
                               .number = from,
                               .count = (uint32_t)(shard->last - from + 1)};
    if (shard->last >= from) {
        fly(shard->leader, true, &frame, momi_bytes_slice(&bytes));
    }
    momi_bytes_free(&bytes);
}

static void take_commands(struct shard_model *shard, const struct momi_frame *frame) {
    struct momi_command_reader reader = momi_command_reader(frame->payload);
    struct momi_command command;
    uint64_t before = shard->last;
    while (momi_command_next(&reader, &command)) {
        if (!momi_session_id_equal(command.session, shard->session) ||
            command.number > shard->last + 1) {
            break; /* S2: a gap changes nothing */
        }
        shard->answered =
            command.answered > shard->answered ? command.answered : shard->answered;
        if (shard->answered > shard->last) {
            broken("answered before it was applied");
        }
        if (command.number <= shard->last) {
            continue;
        }
        struct fake_result result = {MOM_FULL, 0};
        if (!chance(10)) {
            apply_publish(&command, &result);
        }
        shard->last++;
        shard->results[shard->last] = result;
        if (shard->last - shard->answered > MOMI_SESSION_WINDOW) {
            broken("more in flight than the window");
        }
    }
    if (reader.failed) {
        broken("commands that do not parse");
    }
    send_results(shard, frame->shard,
                 before == shard->last ? shard->answered + 1 : before + 1);
}

static void leader_frame(uint64_t node, const struct momi_frame *frame) {
    if (frame->type == FRAME_SESSION_PING) {
        return;
    }
    struct shard_model *shard = &model.shards[frame->shard];
    if (node != shard->leader) {
        uint64_t hint = chance(60) ? shard->leader : chance(50) ? 0 : draw(2, 4);
        struct momi_frame answer = {.type = FRAME_NOT_LEADER,
                                    .shard = frame->shard,
                                    .index = hint == node ? 0 : hint,
                                    .term = shard->term};
        fly(node, true, &answer, momi_slice(NULL, 0));
        return;
    }
    if (chance(3)) {
        return; /* overloaded */
    }
    if (frame->type == FRAME_SESSION_OPEN) {
        struct momi_frame answer = {.type = FRAME_SESSION_OPENED,
                                    .shard = frame->shard,
                                    .counter = frame->counter};
        if (frame->number < shard->opening) {
            answer.error = MOM_CONFLICT;
        } else if (frame->number > shard->opening ||
                   momi_session_id_is_none(shard->session)) {
            shard->opening = frame->number;
            shard->session =
                (struct momi_session_id){.index = ++model.session_next, .place = 1};
            shard->last = shard->answered = 0;
        }
        answer.session = shard->session;
        fly(node, true, &answer, momi_slice(NULL, 0));
    } else if (frame->type == FRAME_COMMANDS) {
        if (!momi_session_id_equal(frame->session, shard->session)) {
            struct momi_frame answer = {.type = FRAME_RESULTS,
                                        .shard = frame->shard,
                                        .session = frame->session,
                                        .error = MOM_NOT_FOUND};
            fly(node, true, &answer, momi_slice(NULL, 0));
            return;
        }
        take_commands(shard, frame);
    }
}

/* --- steps ---------------------------------------------------------------------- */

/* The oldest frame of a drawn lane arrives. */
static void deliver_one(void) {
    if (model.flights_count == 0) {
        return;
    }
    uint64_t node = model.flights[draw(0, model.flights_count - 1)].node;
    bool to_client = chance(50);
    for (size_t i = 0; i < model.flights_count; i++) {
        struct flight *flight = &model.flights[i];
        if (flight->node == node && flight->to_client == to_client) {
            struct flight taken = *flight;
            flight->payload = NULL;
            land(i);
            if (to_client) {
                fake_frame(node, &taken.frame);
                turn();
            } else {
                leader_frame(node, &taken.frame);
            }
            momi_free(taken.payload);
            return;
        }
    }
}

static void publish_some(void) {
    uint64_t id = ++model.id_next;
    char name[2] = {(char)('a' + draw(0, STREAMS - 1)), 0};
    uint32_t count = chance(80) ? 1 : (uint32_t)draw(2, 20);
    size_t size = chance(90) ? 40 : (size_t)draw(100, 40000);
    bool is_forever = chance(50);
    uint64_t deadline_us = is_forever  ? MOMI_NEVER
                           : chance(5) ? fake.core.now_us
                                       : fake.core.now_us + draw(1, 3 * MOMI_S);
    model.calls[id] =
        (struct call_model){.is_made = true, .is_forever = is_forever, .count = count};
    fake_publish_many(id, name, count, size, deadline_us);
}

static void pass_time(uint64_t until_us) {
    uint64_t due_us = momi_client_deadline(&fake.core);
    uint64_t at_us = due_us < until_us ? due_us : until_us;
    fake.core.now_us = at_us > fake.core.now_us ? at_us : fake.core.now_us;
    momi_client_time(&fake.core);
    turn();
}

static void change_lane(uint64_t node) {
    bool is_up = !fake.is_up[node];
    lose_lane(node);
    fake.is_up[node] = is_up;
    struct momi_lane_info info = {.node = node};
    struct momi_event event = {.type = is_up ? EV_LANE_UP : EV_LANE_DOWN,
                               .now_us = fake.core.now_us,
                               .node = node,
                               .lane = &info};
    momi_client_event(&fake.core, &event);
    turn();
}

static void change_leader(uint32_t id) {
    struct shard_model *shard = &model.shards[id];
    shard->leader = draw(NODE_FIRST, NODE_LAST);
    shard->term++;
    if (chance(30)) {
        fake.leaders[id] = shard->leader;
        momi_client_routes_changed(&fake.core, id);
        turn();
    }
}

static void step(void) {
    uint64_t what = draw(0, 99);
    if (what < 30) {
        for (uint64_t n = draw(1, 6); n > 0; n--) {
            publish_some();
        }
        turn();
    } else if (what < 75) {
        deliver_one();
    } else if (what < 88) {
        pass_time(fake.core.now_us + draw(1, 200 * MOMI_MS));
    } else if (what < 91) {
        change_leader((uint32_t)draw(1, SHARDS));
    } else if (what < 94) {
        change_lane(draw(NODE_FIRST, NODE_LAST));
    } else if (what < 95) {
        uint32_t shard = (uint32_t)draw(1, SHARDS);
        fake.leaders[shard] = chance(50) ? 0 : draw(NODE_FIRST, NODE_LAST);
    } else if (what < 98) {
        if (model.id_next > 0) {
            uint64_t id = draw(1, model.id_next);
            model.calls[id].is_forever = false;
            fake_cancel(id);
            turn();
        }
    } else if (chance(10)) {
        model.shards[draw(1, SHARDS)].session = (struct momi_session_id){0};
    }
}

static bool is_all_done(void) {
    for (uint64_t id = 1; id <= model.id_next; id++) {
        if (model.calls[id].completions == 0) {
            return false;
        }
    }
    return fake.core.client->inflight_bytes == 0;
}

/* Everything works again: every call has to come to its end. */
static void heal(void) {
    for (uint64_t node = NODE_FIRST; node <= NODE_LAST; node++) {
        if (!fake.is_up[node]) {
            change_lane(node);
        }
    }
    uint64_t until_us = fake.core.now_us + 120 * MOMI_S;
    while (fake.core.now_us < until_us && model.broken == NULL && !is_all_done()) {
        while (model.flights_count > 0) {
            deliver_one();
        }
        for (uint32_t id = 1; id <= SHARDS; id++) {
            if (fake.leaders[id] == 0) {
                fake.leaders[id] = model.shards[id].leader;
            }
        }
        pass_time(fake.core.now_us + 50 * MOMI_MS);
    }
}

static void judge(void) {
    for (uint64_t id = 1; id <= model.id_next && model.broken == NULL; id++) {
        const struct call_model *call = &model.calls[id];
        if (call->completions == 0) {
            broken("a call never completed");
        } else if (call->error == MOM_OK) {
            if (call->applied != call->count || call->sequence != call->first) {
                broken("OK, but not applied as told");
            }
        } else if (call->error == MOM_UNKNOWN_OUTCOME) {
            if (call->applied != 0 && call->applied != call->count) {
                broken("applied in part");
            }
        } else if (call->applied != 0) {
            broken("refused, but applied");
        }
    }
    if (model.broken == NULL && fake.core.client->inflight_bytes != 0) {
        broken("the window is not empty at the end");
    }
}

/* NULL: all is well. */
static const char *run_seed(uint64_t seed) {
    memset(&model, 0, sizeof model);
    momi_rng_seed(&model.rng, seed);
    fake_open(chance(30) ? 60000 : 4 << 20);
    fake.shards_count = SHARDS;
    fake.forgets = true;
    momi_rng_seed(&fake.core.rng, seed + 1);
    for (uint32_t id = 1; id <= SHARDS; id++) {
        model.shards[id].leader = fake.leaders[id] = draw(NODE_FIRST, NODE_LAST);
        model.shards[id].term = 1;
    }
    for (int i = 0; i < STEPS && model.broken == NULL; i++) {
        step();
    }
    heal();
    judge();
    while (model.flights_count > 0) {
        land(0);
    }
    fake_shut();
    return model.broken;
}

static void what_calls_are_told_is_true(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        const char *what = run_seed(seed);
        if (what != NULL) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, what);
        }
    }
}

int main(int argc, char **argv) {
    if (argc > 1) {
        const char *what = run_seed(strtoull(argv[1], NULL, 10));
        printf("%s\n", what == NULL ? "all is well" : what);
        return what != NULL;
    }
    const struct CMUnitTest tests[] = {TEST(what_calls_are_told_is_true)};
    return cmocka_run_group_tests_name("client, random", tests, NULL, NULL);
}
