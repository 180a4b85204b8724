/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publish calls: gathered into few commands, bounded by the window (S5).
 *
 * The records of a call are copied once, into the buffer of the command that will carry
 * them; the same bytes become frame, log entry and delivery. A call is an element of a
 * ring, so in a steady state a message costs no allocation. A command is open while more
 * may join it: until another stream or another command comes, or it is sent.
 *
 * The window is shared by a dynamic threshold (Choudhury and Hahne, "Dynamic queue length
 * thresholds", 1998): one shard may hold up to twice what is still free, so that a shard
 * without a leader never takes all of it from the others.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "core/client_internal.h"
#include "core/filter.h"
#include "core/mutant.h"

/* --- buffers -------------------------------------------------------------------- */

static const size_t class_bytes[CLIENT_BUF_CLASSES] = {1024, 4096, 16384, 65536,
                                                       MOMI_ENTRY_BYTES_TARGET + 1024};

struct momi_buf *momi_client_buf_get(struct momi_client *client, size_t size) {
    size_t class = 0;
    while (class < CLIENT_BUF_CLASSES && class_bytes[class] < size) {
        class ++;
    }
    struct momi_buf *buf;
    if (class == CLIENT_BUF_CLASSES) {
        buf = momi_buf_new(size); /* a large message: not kept */
    } else if (client->bufs_count[class] > 0) {
        buf = client->bufs[class][--client->bufs_count[class]];
    } else {
        buf = momi_buf_new(class_bytes[class]);
    }
    if (buf != NULL) {
        buf->size = 0;
    }
    return buf;
}

/* Kept for the next command, unless somebody still reads it (a frame that is sent again)
 * or it is of no size that we use. */
void momi_client_buf_put(struct momi_client *client, struct momi_buf *buf) {
    bool is_ours = atomic_load_explicit(&buf->refs, memory_order_acquire) == 1;
    for (size_t class = 0; is_ours && class < CLIENT_BUF_CLASSES; class ++) {
        /* Of the large ones fewer: 64 of the smallest, 4 of the largest. */
        uint32_t kept_max = CLIENT_BUFS_KEPT_MAX >> class;
        if (buf->room == class_bytes[class] && client->bufs_count[class] < kept_max) {
            client->bufs[class][client->bufs_count[class]++] = buf;
            return;
        }
    }
    momi_buf_release(buf);
}

/* Room for `extra` more bytes in an open command. Steps of four: a command that fills up
 * is copied a third of its size. */
static bool grow(struct momi_client *client, struct momi_client_command *command,
                 size_t extra) {
    struct momi_buf *old = command->buf;
    if (extra <= old->room - old->size) {
        return true;
    }
    struct momi_buf *buf = momi_client_buf_get(client, old->size + extra);
    if (buf == NULL) {
        return false;
    }
    memcpy(buf->data, old->data, old->size);
    buf->size = old->size;
    command->buf = buf;
    momi_client_buf_put(client, old);
    return true;
}

/* --- checks --------------------------------------------------------------------- */

static bool is_recent(const struct momi_client *client, struct momi_slice name) {
    const struct momi_client_recent *recent = &client->recent;
    return name.size > 0 && recent->name_bytes == name.size &&
           memcmp(recent->name, name.data, name.size) == 0;
}

uint32_t momi_client_shard_of_name(struct momi_core *core, struct momi_slice name) {
    struct momi_client_recent *recent = &core->client->recent;
    if (!is_recent(core->client, name)) {
        MOMI_ASSERT(name.size <= sizeof recent->name);
        memcpy(recent->name, name.data, name.size);
        recent->name_bytes = name.size;
        recent->shard = momi_name_shard(name, momi_mesh_shards_count(core));
    }
    return recent->shard;
}

int momi_client_publish_check(const struct momi_core *core,
                              const struct momi_call *call) {
    if (call->kind != MOMI_KIND_QUEUE && call->kind != MOMI_KIND_TOPIC) {
        return momi_err(MOM_INVALID, "neither a queue nor a topic");
    }
    if (!is_recent(core->client, call->name)) {
        int error = momi_name_check(MOMI_NAME_STREAM, call->name);
        if (error != MOM_OK) {
            return error;
        }
    }
    if (call->records.size > MOMI_RECORD_BYTES_MAX) {
        return momi_err(MOM_TOO_BIG, "%zu bytes of messages in one call, at most %u",
                        call->records.size, MOMI_RECORD_BYTES_MAX);
    }
    if (call->records_count == 0 || call->records_count > MOMI_COMMAND_MESSAGES_MAX) {
        return momi_err(MOM_INVALID, "%u messages in one call, 1 to %u",
                        call->records_count, MOMI_COMMAND_MESSAGES_MAX);
    }
    struct momi_slice left = call->records;
    for (uint32_t i = 0; i < call->records_count; i++) {
        struct momi_record record;
        if (!momi_record_read(left, &record)) {
            return momi_err(MOM_INVALID, "message %u is not well-formed", i);
        }
        left = momi_slice(left.data + record.whole.size, left.size - record.whole.size);
    }
    if (left.size != 0) {
        return momi_err(MOM_INVALID, "%zu bytes behind the last message", left.size);
    }
    return MOM_OK;
}

/* --- gathering ------------------------------------------------------------------ */

static struct momi_client_command *open_command(const struct momi_client_shard *shard) {
    if (shard->commands.count == 0) {
        return NULL;
    }
    struct momi_client_command *last =
        momi_ring_at(&shard->commands, shard->commands.count - 1);
    return last->is_open ? last : NULL;
}

static bool joins(const struct momi_client_command *command,
                  const struct momi_call *call) {
    const struct momi_buf *buf = command->buf;
    const uint8_t *name = buf->data + command->head_bytes - 4 - command->name_bytes;
    return command->kind == call->kind &&
           command->flags == (call->create ? MOMI_PUBLISH_CREATE : 0) &&
           momi_slice_equal(momi_slice(name, command->name_bytes), call->name) &&
           command->messages_count + call->records_count <= MOMI_COMMAND_MESSAGES_MAX &&
           buf->size + call->records.size <= MOMI_ENTRY_BYTES_TARGET;
}

/* A new open command without messages; NULL: out of memory. */
static struct momi_client_command *begin(struct momi_core *core,
                                         struct momi_client_shard *shard,
                                         const struct momi_call *call) {
    struct momi_client *client = core->client;
    struct momi_bytes *scratch = &client->scratch;
    struct momi_publish head = {.kind = call->kind,
                                .flags = call->create ? MOMI_PUBLISH_CREATE : 0,
                                .publisher = core->config.node,
                                .name = call->name};
    momi_bytes_clear(scratch);
    (void)momi_command_begin(scratch, CMD_PUBLISH, (struct momi_session_id){0}, 0, 0);
    momi_publish_put_head(scratch, &head);
    struct momi_buf *buf =
        scratch->failed ? NULL
                        : momi_client_buf_get(client, scratch->size + call->records.size);
    if (buf == NULL) {
        return NULL;
    }
    struct momi_client_command *command = momi_ring_push(&shard->commands);
    if (command == NULL) {
        momi_client_buf_put(client, buf);
        return NULL;
    }
    memcpy(buf->data, scratch->data, scratch->size);
    buf->size = scratch->size;
    *command = (struct momi_client_command){.buf = buf,
                                            .type = CMD_PUBLISH,
                                            .kind = (uint8_t)call->kind,
                                            .flags = head.flags,
                                            .is_open = true,
                                            .id_min = UINT64_MAX,
                                            .calls_due_us = MOMI_NEVER,
                                            .head_bytes = (uint32_t)scratch->size,
                                            .name_bytes = (uint32_t)call->name.size,
                                            .charge_bytes = CLIENT_COMMAND_COST};
    client->inflight_bytes += CLIENT_COMMAND_COST;
    shard->inflight_bytes += CLIENT_COMMAND_COST;
    return command;
}

void momi_client_publish_close(struct momi_client_shard *shard) {
    struct momi_client_command *command = open_command(shard);
    if (command != NULL) {
        MOMI_ASSERT(command->messages_count > 0);
        momi_store_le32(command->buf->data + command->head_bytes - 4,
                        command->messages_count);
        command->is_open = false;
    }
}

int momi_client_publish_append(struct momi_core *core, struct momi_client_shard *shard,
                               const struct momi_call *call) {
    struct momi_client *client = core->client;
    if (!momi_ring_reserve(&shard->publishes, shard->publishes.count + 1)) {
        return MOM_NO_MEMORY;
    }
    struct momi_client_command *command = open_command(shard);
    if (command != NULL && joins(command, call)) {
        if (!grow(client, command, call->records.size)) {
            return MOM_NO_MEMORY;
        }
    } else {
        if (shard->commands.count >= CLIENT_COMMANDS_MAX) {
            return MOM_FULL;
        }
        momi_client_publish_close(shard);
        command = begin(core, shard, call);
        if (command == NULL) {
            return MOM_NO_MEMORY;
        }
    }
    struct momi_buf *buf = command->buf;
    memcpy(buf->data + buf->size, call->records.data, call->records.size);
    buf->size += call->records.size;
    struct momi_client_publish *publish = momi_ring_push(&shard->publishes);
    MOMI_ASSERT(publish != NULL); /* reserved above */
    *publish = (struct momi_client_publish){.id = call->id,
                                            .deadline_us = call->deadline_us,
                                            .count = call->records_count,
                                            .bytes = (uint32_t)call->records.size};
    command->calls_count++;
    command->messages_count += call->records_count;
    command->charge_bytes += call->records.size;
    command->calls_due_us = momi_earlier(command->calls_due_us, call->deadline_us);
    command->id_min = call->id < command->id_min ? call->id : command->id_min;
    command->id_max = call->id > command->id_max ? call->id : command->id_max;
    shard->calls_due_us = momi_earlier(shard->calls_due_us, call->deadline_us);
    shard->inflight_bytes += call->records.size;
    client->inflight_bytes += call->records.size;
    momi_client_shard_touch(client, shard);
    return MOM_OK;
}

/* --- results, and giving up ----------------------------------------------------- */

void momi_client_publish_result(struct momi_core *core, struct momi_client_shard *shard,
                                const struct momi_client_command *command) {
    uint64_t offset = 0;
    for (uint32_t i = 0; i < command->calls_count; i++) {
        const struct momi_client_publish *publish = momi_ring_at(&shard->publishes, i);
        if (publish->id != 0) {
            struct momi_completion completion = {.error = command->error};
            if (command->error == MOM_OK) {
                completion.sequence = command->value + offset;
                completion.synced_copies = command->synced_copies;
            }
            momi_client_complete(core, publish->id, &completion);
        }
        offset += publish->count;
    }
    momi_ring_pop_front(&shard->publishes, command->calls_count);
}

/* S2: with a number the command goes on, only its calls end. */
static void give_up_numbered(struct momi_core *core, struct momi_client_shard *shard,
                             struct momi_client_command *command, size_t first) {
    command->calls_due_us = MOMI_NEVER;
    command->is_given_up = true;
    for (uint32_t i = 0; i < command->calls_count; i++) {
        struct momi_client_publish *publish = momi_ring_at(&shard->publishes, first + i);
        if (publish->id == 0) {
            continue;
        }
        if (publish->deadline_us <= core->now_us) {
            int error = MUTANT(TIMEOUT_IN_FLIGHT) ? MOM_TIMEOUT : MOM_UNKNOWN_OUTCOME;
            momi_client_complete(core, publish->id,
                                 &(struct momi_completion){.error = error});
            publish->id = 0;
        } else {
            command->is_given_up = false;
            command->calls_due_us =
                momi_earlier(command->calls_due_us, publish->deadline_us);
        }
    }
}

/* Without a number a call leaves, and its records with it. */
static void take_back_unnumbered(struct momi_core *core, struct momi_client_shard *shard,
                                 struct momi_client_command *command, size_t first) {
    struct momi_buf *buf = command->buf;
    size_t from = command->head_bytes;
    size_t to = from;
    struct momi_slice text =
        momi_client_shards_text(core, "no leader reached of shard", &shard->shard, 1);
    command->calls_due_us = MOMI_NEVER;
    for (uint32_t i = 0; i < command->calls_count; i++) {
        struct momi_client_publish *publish = momi_ring_at(&shard->publishes, first + i);
        size_t bytes = publish->bytes;
        if (publish->id != 0 && publish->deadline_us <= core->now_us) {
            momi_client_complete(
                core, publish->id,
                &(struct momi_completion){.error = MOM_TIMEOUT, .text = text});
            command->messages_count -= publish->count;
            command->charge_bytes -= bytes;
            shard->inflight_bytes -= bytes;
            core->client->inflight_bytes -= bytes;
            core->client->has_room = true;
            *publish = (struct momi_client_publish){.id = 0};
        } else if (publish->id != 0) {
            memmove(buf->data + to, buf->data + from, bytes);
            to += bytes;
            command->calls_due_us =
                momi_earlier(command->calls_due_us, publish->deadline_us);
        }
        from += bytes;
    }
    buf->size = to;
    if (!command->is_open && command->messages_count > 0) {
        momi_store_le32(buf->data + command->head_bytes - 4, command->messages_count);
    }
}

void momi_client_publish_expire(struct momi_core *core, struct momi_client_shard *shard) {
    uint64_t due_us = MOMI_NEVER;
    size_t first = 0; /* of the command's calls in the ring */
    for (size_t i = 0; i < shard->commands.count;) {
        struct momi_client_command *command = momi_ring_at(&shard->commands, i);
        if (command->calls_due_us <= core->now_us) {
            if (i < shard->numbered) {
                give_up_numbered(core, shard, command, first);
            } else {
                take_back_unnumbered(core, shard, command, first);
                if (command->messages_count == 0) {
                    momi_client_command_remove(core, shard, i);
                    continue;
                }
            }
        }
        due_us = momi_earlier(due_us, command->calls_due_us);
        first += command->calls_count;
        i++;
    }
    shard->calls_due_us = due_us;
}

/* True: it was a publish call, and is completed. */
bool momi_client_publish_cancel(struct momi_core *core, uint64_t id) {
    struct momi_client *client = core->client;
    for (size_t s = 0; s <= MOMI_SHARDS_MAX; s++) {
        struct momi_client_shard *shard = client->shards[s];
        size_t first = 0;
        for (size_t i = 0; shard != NULL && i < shard->commands.count; i++) {
            struct momi_client_command *command = momi_ring_at(&shard->commands, i);
            uint32_t left = command->type == CMD_PUBLISH && id >= command->id_min &&
                                    id <= command->id_max
                                ? command->calls_count
                                : 0;
            for (uint32_t j = 0; j < left; j++) {
                struct momi_client_publish *publish =
                    momi_ring_at(&shard->publishes, first + j);
                if (publish->id == id) {
                    publish->deadline_us = core->now_us;
                    command->calls_due_us = core->now_us;
                    momi_client_publish_expire(core, shard);
                    momi_client_shard_arm(core, shard);
                    return true;
                }
            }
            first += command->calls_count;
        }
    }
    return false;
}

/* --- the window (S5) ------------------------------------------------------------ */

bool momi_client_window_admits(const struct momi_client *client,
                               const struct momi_client_shard *shard, uint64_t bytes) {
    uint64_t max = client->core->config.inflight_bytes_max;
    uint64_t used = client->inflight_bytes;
    uint64_t needed = bytes + CLIENT_COMMAND_COST;
    if (used == 0) {
        return true; /* an empty window admits any legal size */
    }
    if ((client->starved != NULL && client->starved != shard) || used + needed > max) {
        return false;
    }
    return shard->inflight_bytes == 0 ||
           shard->inflight_bytes + needed <= 2 * (max - used);
}

void momi_client_window_release(struct momi_client *client,
                                struct momi_client_shard *shard,
                                struct momi_client_command *command) {
    MOMI_ASSERT(client->inflight_bytes >= command->charge_bytes);
    MOMI_ASSERT(shard->inflight_bytes >= command->charge_bytes);
    client->inflight_bytes -= command->charge_bytes;
    shard->inflight_bytes -= command->charge_bytes;
    command->charge_bytes = 0;
    client->has_room = true;
}

void momi_client_wait(struct momi_core *core, struct momi_client_shard *shard,
                      struct momi_client_call *call) {
    struct momi_client *client = core->client;
    call->state = CALL_STATE_WAITING;
    call->shard = shard;
    momi_list_push_back(&shard->waiting, &call->link);
    if (!momi_list_linked(&shard->waiting_link)) {
        momi_list_push_back(&client->waiting_shards, &shard->waiting_link);
    }
    client->has_room = true; /* so that it is looked at once */
}

void momi_client_unwait(struct momi_client *client, struct momi_client_call *call) {
    struct momi_client_shard *shard = call->shard;
    bool was_first = shard->waiting.next == &call->link;
    momi_list_remove(&call->link);
    if (momi_list_empty(&shard->waiting)) {
        momi_list_remove(&shard->waiting_link);
    }
    if (was_first && client->starved == shard) {
        client->starved = NULL;
    }
}

/* False: the first call of this shard has to wait on. */
static bool admit_first(struct momi_core *core, struct momi_client_shard *shard) {
    struct momi_client *client = core->client;
    struct momi_client_call *call =
        MOMI_CONTAINER_OF(shard->waiting.next, struct momi_client_call, link);
    bool is_publish = call->call.type == CALL_PUBLISH;
    if (is_publish &&
        !momi_client_window_admits(client, shard, call->call.records.size)) {
        if (shard->inflight_bytes == 0 && client->starved == NULL) {
            client->starved = shard; /* nobody else comes in before it */
        }
        return false;
    }
    momi_client_unwait(client, call);
    call->state = CALL_STATE_COMMAND;
    if (!is_publish) {
        momi_client_command_start(core, shard, call);
        return true;
    }
    int error = momi_client_publish_append(core, shard, &call->call);
    if (error != MOM_OK) {
        momi_client_finish(core, call, error, 0, momi_slice(NULL, 0));
    } else {
        momi_client_call_drop(client, call);
    }
    return true;
}

void momi_client_admit_waiting(struct momi_core *core) {
    struct momi_client *client = core->client;
    bool goes_on = client->has_room;
    client->has_room = false;
    while (goes_on) { /* one call of each shard in turn */
        goes_on = false;
        MOMI_LIST_FOR_EACH_SAFE (link, after, &client->waiting_shards) {
            goes_on = admit_first(core, MOMI_CONTAINER_OF(link, struct momi_client_shard,
                                                          waiting_link)) ||
                      goes_on;
        }
    }
}
