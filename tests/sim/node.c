/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated node: the production core, fed and obeyed as the shell does it, with a disk
 * that takes time and forgets.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/keys.h"
#include "world.h"

bool sim_node_is_up(const struct sim_world *world, uint32_t node) {
    return world->nodes[node].core != NULL;
}

/* --- clocks
 * -------------------------------------------------------------------------------- */

static uint64_t own_now(struct sim_world *world, struct sim_node *node) {
    int64_t drift = (int64_t)(world->now_us / 1000) * node->drift_ppm / 1000;
    uint64_t now_us = (uint64_t)((int64_t)(world->now_us + node->offset_us) + drift);
    if (now_us < node->now_floor_us) {
        now_us = node->now_floor_us;
    }
    node->now_floor_us = now_us;
    return now_us;
}

/* World time until the node's clock shows `due_us`, a little late rather than early. */
static uint64_t delay_until(struct sim_world *world, struct sim_node *node,
                            uint64_t due_us) {
    uint64_t now_us = own_now(world, node);
    if (due_us <= now_us) {
        return 0;
    }
    uint64_t left_us = due_us - now_us;
    return left_us > 3600 * MOMI_S ? 3600 * MOMI_S : left_us + left_us / 1000 + 1;
}

/* --- effects
 * ------------------------------------------------------------------------------- */

static void start_journal(struct sim_world *world, uint32_t index);

static void queue_write(struct sim_world *world, uint32_t index, bool sync) {
    struct sim_node *node = &world->nodes[index];
    if (node->queue_count == node->queue_room) {
        node->queue_room = node->queue_room == 0 ? 8 : node->queue_room * 2;
        node->queue =
            momi_must_realloc(node->queue, node->queue_room * sizeof *node->queue);
        node->queue_sync = momi_must_realloc(node->queue_sync,
                                             node->queue_room * sizeof *node->queue_sync);
    }
    if (node->has_failed_disk) {
        momi_batch_free(&node->effects.batch);
        return;
    }
    node->queue[node->queue_count] = node->effects.batch;
    node->queue_sync[node->queue_count] = sync;
    node->queue_count++;
    memset(&node->effects.batch, 0, sizeof node->effects.batch);
    start_journal(world, index);
}

struct read_answer {
    struct momi_buf *buf;
    struct momi_scan_item *items;
    size_t items_count;
    struct sim_table table; /* holds what items point to */
    int error;
    bool finished;
};

static void free_answer(void *data) {
    struct read_answer *answer = data;
    momi_buf_release(answer->buf);
    momi_free(answer->items);
    sim_table_free(&answer->table);
    momi_free(answer);
}

static void post_read(struct sim_world *world, uint32_t index,
                      const struct momi_effect *effect, struct read_answer *answer) {
    uint64_t delay_us = sim_draw(&world->rng_disk, 20, world->options.sync_max_us);
    struct sim_task *task = sim_task_add(world, delay_us, TASK_READ, index,
                                         world->nodes[index].life, effect->token);
    task->d = effect->type;
    task->data = answer;
    task->free_data = free_answer;
}

static void read_entry(struct sim_world *world, uint32_t index,
                       const struct momi_effect *effect) {
    struct read_answer *answer = momi_must_calloc(1, sizeof *answer);
    struct momi_key key = momi_key_entry(effect->shard, effect->index);
    struct momi_buf *buf =
        sim_disk_get(&world->nodes[index].disk, MOMI_FAMILY_LOG, momi_key_slice(&key));
    bool is_damaged = sim_disk_is_damaged(&world->nodes[index].disk, buf);
    answer->error = buf == NULL ? MOM_NOT_FOUND : is_damaged ? MOM_CORRUPT : MOM_OK;
    answer->buf = answer->error != MOM_OK ? NULL : momi_buf_ref(buf);
    post_read(world, index, effect, answer);
}

static struct sim_table *scan_table(struct sim_node *node, uint64_t session) {
    enum { SCANS = sizeof node->scans / sizeof node->scans[0] };
    size_t free_slot = SCANS;
    for (size_t i = 0; i < SCANS; i++) {
        if (node->scans[i].session == session) {
            return &node->scans[i].table;
        }
        if (node->scans[i].session == 0) {
            free_slot = i;
        }
    }
    MOMI_ASSERT(free_slot < SCANS);
    node->scans[free_slot].session = session;
    sim_table_copy(&node->scans[free_slot].table, &node->disk.written[MOMI_FAMILY_STATE]);
    return &node->scans[free_slot].table;
}

static void end_scan(struct sim_node *node, uint64_t session) {
    for (size_t i = 0; i < sizeof node->scans / sizeof node->scans[0]; i++) {
        if (node->scans[i].session == session) {
            sim_table_free(&node->scans[i].table);
            node->scans[i].session = 0;
        }
    }
}

static void scan(struct sim_world *world, uint32_t index,
                 const struct momi_effect *effect) {
    enum { PREFIX = 5 };
    struct read_answer *answer = momi_must_calloc(1, sizeof *answer);
    sim_table_copy(&answer->table, scan_table(&world->nodes[index], effect->session));
    struct momi_key from = momi_key_record(effect->shard, effect->side, effect->from);
    struct momi_key end = momi_key_record(effect->shard, (uint8_t)(effect->side + 1),
                                          (struct momi_slice){0});
    size_t at = sim_table_seek(&answer->table, momi_key_slice(&from));
    size_t last = sim_table_seek(&answer->table, momi_key_slice(&end));
    if (effect->from.size > 0 && at < last &&
        momi_slice_equal(momi_buf_slice(answer->table.items[at].key),
                         momi_key_slice(&from))) {
        at++;
    }
    answer->items = momi_must_calloc(last - at + 1, sizeof *answer->items);
    size_t bytes = 0;
    for (; at < last && bytes < effect->value; at++) {
        struct momi_slice key = momi_buf_slice(answer->table.items[at].key);
        if (sim_disk_is_damaged(&world->nodes[index].disk,
                                answer->table.items[at].value)) {
            answer->error = MOM_CORRUPT;
            answer->items_count = 0;
            break;
        }
        struct momi_scan_item *item = &answer->items[answer->items_count++];
        item->key = momi_slice(key.data + PREFIX, key.size - PREFIX);
        item->value = momi_buf_slice(answer->table.items[at].value);
        bytes += item->key.size + item->value.size;
    }
    answer->finished = at == last;
    post_read(world, index, effect, answer);
}

static void run_effect(struct sim_world *world, uint32_t index,
                       struct momi_effect *effect) {
    struct sim_node *node = &world->nodes[index];
    switch (effect->type) {
    case FX_SEND:
        sim_rules_sent(world, index, effect->frame);
        sim_net_send(world, index, effect);
        break;
    case FX_WRITE:
        queue_write(world, index, effect->sync);
        break;
    case FX_READ:
        read_entry(world, index, effect);
        break;
    case FX_SCAN:
        scan(world, index, effect);
        break;
    case FX_SCAN_END:
        end_scan(node, effect->token);
        break;
    case FX_DIAL:
        sim_net_dial(world, index, effect);
        break;
    case FX_HANGUP:
        sim_net_hangup(world, index, effect->node);
        break;
    case FX_IDENTITY:
        node->disk.mesh = effect->mesh;
        sim_task_add(world, sim_draw(&world->rng_disk, 100, 2000), TASK_IDENTITY, index,
                     node->life, 0);
        break;
    case FX_COMPLETE:
        sim_programs_completed(world, index, effect);
        break;
    case FX_MESSAGES:
        sim_programs_messages(world, index, effect);
        break;
    case FX_CONSUMER_ENDED:
        sim_programs_ended(world, index, effect);
        break;
    case FX_NOTICE:
        sim_say(world, "n%u notice %d shard %u %.*s", index, (int)effect->notice,
                effect->shard, (int)(effect->text.size > 60 ? 60 : effect->text.size),
                (const char *)effect->text.data);
        if (effect->notice == MOMI_NOTICE_STORE_FAILED && !node->has_failed_disk) {
            sim_fail(world, "n%u says that its store failed, and it did not", index);
        }
        break;
    case FX_CLOSED:
        node->is_closing = false;
        sim_say(world, "n%u closed", index);
        sim_task_add(world, 0, TASK_RESTART, index, node->life, 1);
        break;
    }
}

/* The contract says that the effects of a turn are independent: any order must do. */
static void shuffle(struct sim_world *world, struct momi_effects *effects) {
    for (size_t i = effects->count; i > 1; i--) {
        size_t other = sim_draw(&world->rng_node, 0, i - 1);
        struct momi_effect kept = effects->list[i - 1];
        effects->list[i - 1] = effects->list[other];
        effects->list[other] = kept;
    }
}

static void wake_later(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    uint64_t due_us = momi_core_deadline(node->core);
    node->time_generation++;
    if (due_us != MOMI_NEVER) {
        sim_task_add(world, delay_until(world, node, due_us), TASK_NODE_TIME, index,
                     node->time_generation, node->life);
    }
}

void sim_node_event(struct sim_world *world, uint32_t index, struct momi_event *event) {
    struct sim_node *node = &world->nodes[index];
    if (node->core == NULL || world->has_failed) {
        return;
    }
    event->now_us = own_now(world, node);
    event->wall_us =
        (uint64_t)((int64_t)(world->now_us + SIM_WALL_US) + node->wall_offset_us);
    uint64_t life = node->life;
    struct momi_effects effects = node->effects;
    memset(&node->effects, 0, sizeof node->effects);
    sim_rules_before(world, index, event);
    momi_core_step(node->core, event, &effects);
    sim_rules_stepped(world, index, event, &effects);
    momi_core_turn_end(node->core, &effects);
    sim_rules_after(world, index, &effects);
    sim_checks_step(world, index);
    shuffle(world, &effects);
    node->effects.batch = effects.batch;
    memset(&effects.batch, 0, sizeof effects.batch);
    for (size_t i = 0; i < effects.count && node->life == life && !world->has_failed;
         i++) {
        run_effect(world, index, &effects.list[i]);
    }
    momi_effects_clear(&effects);
    if (node->life != life || node->core == NULL) {
        momi_effects_free(&effects);
        return;
    }
    effects.batch = node->effects.batch;
    momi_batch_clear(&effects.batch);
    node->effects = effects;
    wake_later(world, index);
}

/* --- journal
 * ------------------------------------------------------------------------------- */

static void drop_queue(struct sim_node *node) {
    for (size_t i = 0; i < node->queue_count; i++) {
        momi_batch_free(&node->queue[i]);
    }
    node->queue_count = 0;
    node->is_writing = false;
}

/* Nothing is written from here on (R7); what was written and not synced may be there or
 * not when the node comes back. */
static void fail_disk(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    node->has_failed_disk = true;
    uint64_t number = node->queue_count > 0 ? node->queue[node->queue_count - 1].number
                                            : node->writing_number;
    drop_queue(node);
    sim_say(world, "n%u: a %s fails", index,
            node->disk_failure == DISK_FAILS_SYNC ? "sync" : "write");
    world->totals.disk_failures++;
    struct sim_task *told = sim_task_add(world, sim_draw(&world->rng_disk, 10, 20000),
                                         TASK_WRITTEN, index, node->life, number);
    told->d = 1;
    /* Somebody restarts it. */
    sim_task_add(world, sim_draw(&world->rng_fault, 50 * MOMI_MS, 4 * MOMI_S),
                 TASK_RESTART, index, node->life, 2);
}

static uint64_t draw_sync(struct sim_world *world, const struct sim_node *node) {
    const struct sim_options *options = &world->options;
    uint64_t delay_us =
        sim_draw(&world->rng_disk, options->sync_min_us, options->sync_max_us);
    if (!world->is_calm && momi_rng_chance(&world->rng_disk, options->slow_sync_ppm)) {
        delay_us *= sim_draw(&world->rng_disk, 10, 300);
    }
    return delay_us * node->sync_factor;
}

/* As the journal thread does it: everything that waits is written, then one sync. */
static void start_journal(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    if (node->is_writing || node->queue_count == 0) {
        return;
    }
    if (node->disk_failure == DISK_FAILS_WRITE) {
        fail_disk(world, index);
        return;
    }
    node->writing_sync = false;
    for (size_t i = 0; i < node->queue_count; i++) {
        sim_disk_write(&node->disk, &node->queue[i]);
        node->writing_number = node->queue[i].number;
        node->writing_sync = node->writing_sync || node->queue_sync[i];
        momi_batch_free(&node->queue[i]);
    }
    node->queue_count = 0;
    node->is_writing = true;
    uint64_t delay_us = node->writing_sync ? draw_sync(world, node) : 10;
    sim_task_add(world, delay_us, TASK_DISK, index, node->life, 0);
}

/* The loop hears of it at once, or a while later. */
static void post_written(struct sim_world *world, uint32_t index, uint64_t number) {
    struct sim_node *node = &world->nodes[index];
    uint64_t delay_us = 0;
    if (!world->is_calm &&
        momi_rng_chance(&world->rng_disk, world->options.late_completion_ppm)) {
        delay_us = sim_draw(&world->rng_disk, 100, 50 * MOMI_MS);
    }
    uint64_t due_us = world->now_us + delay_us;
    if (due_us < node->written_due_us) {
        due_us = node->written_due_us;
    }
    node->written_due_us = due_us;
    sim_task_add(world, due_us - world->now_us, TASK_WRITTEN, index, node->life, number);
}

static void journal_done(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    if (node->has_failed_disk) {
        return;
    }
    if (node->writing_sync && node->disk_failure == DISK_FAILS_SYNC) {
        fail_disk(world, index);
        return;
    }
    node->is_writing = false;
    if (node->writing_sync) {
        sim_disk_sync(&node->disk);
        sim_rules_synced(world, index);
    }
    post_written(world, index, node->writing_number);
    start_journal(world, index);
}

static void written(struct sim_world *world, const struct sim_task *task) {
    struct momi_event event = {
        .type = EV_WRITTEN, .token = task->c, .error = task->d != 0 ? MOM_IO : MOM_OK};
    sim_node_event(world, (uint32_t)task->a, &event);
}

/* --- life
 * ---------------------------------------------------------------------------------- */

/* Some entries and records of one store cannot be read any more. Its own stream of random
 * numbers: a seed without damage is what it was. */
static void damage(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    struct momi_rng rng;
    momi_rng_seed(&rng, world->options.seed * 4096 + node->life);
    if (world->is_calm || node->disk.unsynced_count > 0 ||
        index != world->options.damage_node ||
        !momi_rng_chance(&rng, world->options.damage_ppm) ||
        !sim_faults_may_damage(world, index)) {
        return;
    }
    uint64_t count = sim_draw(&rng, 1, 4);
    for (uint64_t i = 0; i < count; i++) {
        enum momi_family family =
            sim_draw(&rng, 0, 3) == 0 ? MOMI_FAMILY_STATE : MOMI_FAMILY_LOG;
        size_t items = node->disk.written[family].count;
        if (items > 0) {
            sim_disk_damage(&node->disk, family, (size_t)sim_draw(&rng, 0, items - 1));
            world->totals.damages++;
        }
    }
}

static void restore(struct sim_node *node) {
    struct momi_restore_range range;
    while (momi_core_restore_next(node->core, &range)) {
        const struct sim_table *table = &node->disk.written[range.family];
        for (size_t at = sim_table_seek(table, range.from); at < table->count; at++) {
            struct momi_slice key = momi_buf_slice(table->items[at].key);
            if (momi_slice_compare(key, range.to) >= 0) {
                break;
            }
            if (sim_disk_is_damaged(&node->disk, table->items[at].value)) {
                momi_core_restore_damaged(node->core);
                break;
            }
            momi_core_restore_item(node->core, key,
                                   momi_buf_slice(table->items[at].value));
        }
    }
}

static void trace(void *user, uint64_t now_us, const char *point, uint32_t shard,
                  uint64_t a, uint64_t b) {
    struct sim_world *world = user;
    (void)now_us;
    sim_say(world, "    %s s%u %llu %llu", point, shard, (unsigned long long)a,
            (unsigned long long)b);
}

static void start_core(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    const struct sim_options *options = &world->options;
    char addresses[SIM_NODES_MAX][8];
    char names[SIM_NODES_MAX][8];
    struct momi_slice join[SIM_NODES_MAX];
    struct momi_founder form[SIM_NODES_MAX];
    size_t join_count = 0;
    size_t form_count = 0;
    for (uint32_t i = 0; i < options->stores; i++) {
        memcpy(addresses[i], "sim:", 4);
        addresses[i][4] = (char)('a' + i);
        names[i][0] = 'n';
        names[i][1] = (char)('a' + i);
        /* Where some stores go for ever, a program is told of all: of those that it was
         * told of one must be left. */
        bool is_told =
            !world->nodes[i].is_late || (index >= options->stores && options->liveness);
        if (i != index && is_told) {
            join[join_count++] = momi_slice(addresses[i], 5);
        }
        if (!world->nodes[i].is_late) {
            form[form_count++] = (struct momi_founder){momi_slice(names[i], 2),
                                                       momi_slice(addresses[i], 5)};
        }
    }
    char own_name[2] = {'n', (char)('a' + index)};
    char own_address[5] = {'s', 'i', 'm', ':', (char)('a' + index)};
    bool is_store = node->role == MOMI_ROLE_STORE;
    bool forms = options->form && is_store && !node->is_late;
    bool is_alone = !options->form && index == 0;
    struct momi_core_config config = {
        .node = node->id,
        .incarnation = is_store ? node->disk.incarnation : node->life,
        .role = node->role,
        .name = momi_slice(own_name, 2),
        .address = is_store ? momi_slice(own_address, 5) : (struct momi_slice){0},
        .mesh = is_store ? node->disk.mesh : (struct momi_mesh_id){{0}},
        .durable = true,
        .batch_next = node->disk.last_number + 1,
        .seed = momi_rng_next(&world->rng_node),
        .join = join,
        .join_count = forms || is_alone ? 0 : join_count,
        .form = form,
        .form_count = forms ? form_count : 0,
        .shards_count = options->shards,
        .copies_count = options->copies,
        .checkpoint_log_bytes = options->checkpoint_log_bytes,
        .log_behind_bytes = options->log_behind_bytes,
        .trace = trace,
        .trace_user = world,
    };
    config.mesh_candidate.bytes[0] = (uint8_t)(index + 1);
    config.mesh_candidate.bytes[1] = (uint8_t)node->life;
    node->founders_hash = forms ? momi_founders_hash(form, form_count) : 0;
    node->core = momi_core_new(&config);
    MOMI_ASSERT(node->core != NULL);
}

void sim_node_start(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    if (node->core != NULL || node->is_dead) {
        return;
    }
    node->life++;
    node->is_paused = false;
    node->is_closing = false;
    node->written_due_us = 0;
    node->disk_failure = DISK_SOUND;
    node->has_failed_disk = false;
    if (node->role == MOMI_ROLE_STORE) {
        node->disk.incarnation++;
        node->id = 100 + index;
    } else {
        node->id = 1000 * (index + 1) + node->life;
    }
    momi_effects_init(&node->effects);
    start_core(world, index);
    damage(world, index);
    restore(node);
    sim_say(world, "n%u starts, life %llu", index, (unsigned long long)node->life);
    struct momi_event event = {.type = EV_TIME};
    sim_node_event(world, index, &event);
    sim_programs_node_up(world, index);
}

void sim_node_count(struct sim_world *world, uint32_t index) {
    const struct momi_core_counters *counters =
        momi_core_counters(world->nodes[index].core);
    struct sim_totals *totals = &world->totals;
    totals->elections += counters->elections;
    totals->leader_changes += counters->leader_changes;
    totals->truncations += counters->truncations;
    totals->snapshots += counters->snapshots_installed;
    totals->repairs += counters->entries_repaired + counters->damages_found;
    totals->redeliveries += counters->redeliveries;
    totals->config_changes += counters->config_changes;
    totals->checkpoints += counters->checkpoints;
    totals->expired += counters->leases_expired;
    totals->hollowed += counters->entries_hollowed;
    totals->deleted += counters->entries_deleted;
}

static void stop(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    sim_node_count(world, index);
    node->life++;
    node->is_paused = false;
    momi_core_free(node->core);
    node->core = NULL;
    momi_effects_free(&node->effects);
    memset(&node->effects, 0, sizeof node->effects);
    for (size_t i = 0; i < sizeof node->scans / sizeof node->scans[0]; i++) {
        sim_table_free(&node->scans[i].table);
        node->scans[i].session = 0;
    }
    sim_net_node_down(world, index);
    sim_programs_node_down(world, index);
}

void sim_node_crash(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    if (node->core == NULL) {
        return;
    }
    sim_say(world, "n%u crashes", index);
    world->totals.crashes++;
    drop_queue(node);
    stop(world, index);
    sim_disk_crash(&node->disk, &world->rng_disk, world->options.survive_ppm);
    sim_rules_synced(world, index);
}

/* After FX_CLOSED the shell syncs and closes the store. */
static void finish_close(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    if (node->has_failed_disk) {
        stop(world, index);
        sim_disk_crash(&node->disk, &world->rng_disk, world->options.survive_ppm);
        return;
    }
    for (size_t i = 0; i < node->queue_count; i++) {
        sim_disk_write(&node->disk, &node->queue[i]);
    }
    drop_queue(node);
    sim_disk_sync(&node->disk);
    sim_rules_synced(world, index);
    stop(world, index);
    world->totals.closes++;
}

void sim_node_close(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    if (node->core == NULL || node->is_closing || node->is_paused) {
        return;
    }
    sim_say(world, "n%u is told to close", index);
    node->is_closing = true;
    struct momi_event event = {.type = EV_CLOSE};
    sim_node_event(world, index, &event);
}

void sim_node_pause(struct sim_world *world, uint32_t index, uint64_t pause_us) {
    struct sim_node *node = &world->nodes[index];
    if (node->core == NULL || node->is_paused) {
        return;
    }
    sim_say(world, "n%u pauses for %llu ms", index,
            (unsigned long long)(pause_us / 1000));
    world->totals.pauses++;
    node->is_paused = true;
    node->resume_us = world->now_us + pause_us;
    sim_task_add(world, pause_us, TASK_RESUME, index, node->life, 0);
}

static void resume(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    node->is_paused = false;
    sim_say(world, "n%u resumes", index);
    /* Else what has come in meanwhile is looked at before the time is. */
    if (momi_rng_chance(&world->rng_node, 500000)) {
        struct momi_event event = {.type = EV_TIME};
        sim_node_event(world, index, &event);
    }
}

static void answer_read(struct sim_world *world, uint32_t index, struct sim_task *task) {
    struct read_answer *answer = task->data;
    struct momi_event event = {.type = task->d == FX_READ ? EV_READ : EV_SCANNED,
                               .token = task->c,
                               .error = answer->error,
                               .buf = answer->buf,
                               .items = answer->items,
                               .items_count = answer->items_count,
                               .finished = answer->finished};
    sim_node_event(world, index, &event);
}

void sim_node_task(struct sim_world *world, struct sim_task *task) {
    uint32_t index = (uint32_t)task->a;
    struct sim_node *node = &world->nodes[index];
    struct momi_event event = {0};
    switch (task->type) {
    case TASK_NODE_TIME:
        if (node->time_generation == task->b && node->life == task->c) {
            event.type = EV_TIME;
            sim_node_event(world, index, &event);
        }
        break;
    case TASK_DISK:
        if (node->life == task->b && node->core != NULL) {
            journal_done(world, index);
        }
        break;
    case TASK_WRITTEN:
        if (node->life == task->b && node->core != NULL) {
            written(world, task);
        }
        break;
    case TASK_READ:
        if (node->life == task->b) {
            answer_read(world, index, task);
        }
        break;
    case TASK_IDENTITY:
        if (node->life == task->b) {
            event.type = EV_IDENTITY;
            sim_node_event(world, index, &event);
        }
        break;
    case TASK_RESUME:
        if (node->life == task->b && node->core != NULL) {
            resume(world, index);
        }
        break;
    case TASK_RESTART:
        if (task->c == 1 && node->core != NULL && node->life == task->b) {
            finish_close(world, index);
            sim_task_add(world,
                         sim_draw(&world->rng_fault, 1000, world->options.restart_max_us),
                         TASK_RESTART, index, 0, 0);
        } else if (task->c == 2 && node->core != NULL && node->life == task->b) {
            sim_node_crash(world, index);
            sim_task_add(world,
                         sim_draw(&world->rng_fault, 1000, world->options.restart_max_us),
                         TASK_RESTART, index, 0, 0);
        } else if (task->c == 0) {
            sim_node_start(world, index);
        }
        break;
    default:
        break;
    }
}

void sim_node_free(struct sim_world *world, uint32_t index) {
    struct sim_node *node = &world->nodes[index];
    if (node->core != NULL) {
        drop_queue(node);
        stop(world, index);
    }
    momi_free(node->queue);
    momi_free(node->queue_sync);
    sim_disk_free(&node->disk);
}
