/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See calls.h. Slots: taken and waited for by the program's threads, completed by the
 * loop thread. A waiting thread sleeps on its slot's `state` (a futex), so that the loop
 * wakes exactly that thread, and does not even enter the kernel when it is not asleep
 * yet.
 */
#include "node/calls.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/mem.h"
#include "core/entry.h"
#include "node/consumers.h"

enum { SLOT_PENDING = 0, SLOT_ASLEEP = 1, SLOT_DONE = 2 };

/* --- mail as bytes: a header, then what its slices point to ----------------------------
 */

enum mail_type { MAIL_PUBLISH = 1, MAIL_CALL = 2, MAIL_CANCEL = 3 };

struct mail_head {
    uint32_t size; /* of all of it, a multiple of 8 */
    uint32_t type;
};
/* Name, then records unless they are in `buf`. */
struct mail_publish {
    struct mail_head head;
    uint64_t id;
    uint64_t deadline_us;
    struct momi_buf *buf;
    uint32_t count;
    uint32_t name_bytes;
    uint32_t records_bytes;
    uint8_t kind;
    bool create;
};
/* Name, subscription, filters (u32 size, bytes). */
struct mail_call {
    struct mail_head head;
    void *object;
    struct momi_call call;
};
struct mail_cancel {
    struct mail_head head;
    uint64_t id;
};

static size_t round_up(size_t size) { return (size + 7) & ~(size_t)7; }

static size_t key_size(const struct momi_messages *messages, size_t index) {
    return messages->keys != NULL && messages->keys[index] != NULL
               ? strlen(messages->keys[index])
               : messages->key.size;
}

size_t momi_messages_bytes(const struct momi_messages *messages) {
    size_t size = 0;
    for (size_t i = 0; i < messages->count; i++) {
        size += momi_record_size(key_size(messages, i), messages->headers.size,
                                 messages->bodies[i].size);
    }
    return size;
}

static void write_records(uint8_t *at, const struct momi_messages *messages) {
    for (size_t i = 0; i < messages->count; i++) {
        struct momi_record record = {
            .key = messages->key,
            .headers = messages->headers,
            .body = momi_slice(messages->bodies[i].data, messages->bodies[i].size)};
        if (messages->keys != NULL && messages->keys[i] != NULL) {
            record.key = momi_slice_str(messages->keys[i]);
        }
        momi_record_write(at, &record);
        at += momi_record_size(record.key.size, record.headers.size, record.body.size);
    }
}

static uint8_t *put(uint8_t *at, struct momi_slice bytes) {
    if (bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
    return at + bytes.size;
}

static size_t call_size(const struct momi_call *call) {
    size_t size = sizeof(struct mail_call) + call->name.size + call->subscription.size;
    for (size_t i = 0; i < call->filters_count; i++) {
        size += sizeof(uint32_t) + call->filters[i].size;
    }
    return round_up(size);
}

static void write_call(uint8_t *at, size_t size, const struct momi_call *call,
                       uint64_t id, void *object) {
    struct mail_call mail = {.head = {.size = (uint32_t)size, .type = MAIL_CALL},
                             .object = object,
                             .call = *call};
    mail.call.id = id;
    memcpy(at, &mail, sizeof mail);
    at = put(at + sizeof mail, call->name);
    at = put(at, call->subscription);
    for (size_t i = 0; i < call->filters_count; i++) {
        uint32_t filter_size = (uint32_t)call->filters[i].size;
        at = put(at, momi_slice(&filter_size, sizeof filter_size));
        at = put(at, call->filters[i]);
    }
}

static void write_publish(uint8_t *at, size_t size, const struct momi_call *call,
                          uint64_t id, const struct momi_messages *messages,
                          size_t records_bytes, struct momi_buf *buf) {
    struct mail_publish mail = {.head = {.size = (uint32_t)size, .type = MAIL_PUBLISH},
                                .id = id,
                                .deadline_us = call->deadline_us,
                                .buf = buf,
                                .count = (uint32_t)messages->count,
                                .name_bytes = (uint32_t)call->name.size,
                                .records_bytes = (uint32_t)records_bytes,
                                .kind = (uint8_t)call->kind,
                                .create = call->create};
    memcpy(at, &mail, sizeof mail);
    at = put(at + sizeof mail, call->name);
    if (buf == NULL) {
        write_records(at, messages);
    }
}

bool momi_mail_next(const struct momi_bytes *bytes, size_t *at, struct momi_mail *mail) {
    if (*at >= bytes->size) {
        return false;
    }
    const uint8_t *data = bytes->data + *at;
    struct mail_head head;
    memcpy(&head, data, sizeof head);
    *at += head.size;
    mail->is_cancel = head.type == MAIL_CANCEL;
    mail->buf = NULL;
    mail->object = NULL;
    if (head.type == MAIL_CANCEL) {
        struct mail_cancel cancel;
        memcpy(&cancel, data, sizeof cancel);
        mail->id = cancel.id;
        return true;
    }
    if (head.type == MAIL_PUBLISH) {
        struct mail_publish publish;
        memcpy(&publish, data, sizeof publish);
        data += sizeof publish;
        mail->call = (struct momi_call){
            .type = CALL_PUBLISH,
            .id = publish.id,
            .deadline_us = publish.deadline_us,
            .kind = (enum momi_kind)publish.kind,
            .create = publish.create,
            .name = momi_slice(data, publish.name_bytes),
            .records_count = publish.count,
            .records = momi_slice(publish.buf != NULL ? publish.buf->data
                                                      : data + publish.name_bytes,
                                  publish.records_bytes)};
        mail->buf = publish.buf;
        return true;
    }
    struct mail_call whole;
    memcpy(&whole, data, sizeof whole);
    data += sizeof whole;
    mail->call = whole.call;
    mail->object = whole.object;
    mail->call.name.data = data;
    data += whole.call.name.size;
    mail->call.subscription.data = data;
    data += whole.call.subscription.size;
    for (size_t i = 0; i < whole.call.filters_count; i++) {
        uint32_t size;
        memcpy(&size, data, sizeof size);
        mail->filters[i] = momi_slice(data + sizeof size, size);
        data += sizeof size + size;
    }
    mail->call.filters = mail->filters;
    return true;
}

/* --- slots
 * -------------------------------------------------------------------------------- */

void momi_calls_init(struct momi_calls *calls, struct momi_mailbox *mailbox,
                     uint64_t bytes_max) {
    memset(calls, 0, sizeof *calls);
    calls->mailbox = mailbox;
    calls->bytes_max = bytes_max;
    calls->id_next = 1;
    atomic_init(&calls->returned, NULL);
}

static void free_answer(struct momi_slot *slot) {
    momi_bytes_free(&slot->body);
    momi_free(slot->text);
    slot->text = NULL;
}

void momi_calls_free(struct momi_calls *calls) {
    for (uint32_t i = 0; i < calls->chunks_count; i++) {
        for (uint32_t j = 0; j < MOMI_SLOTS_CHUNK; j++) {
            free_answer(&calls->chunks[i][j]);
        }
        momi_free(calls->chunks[i]);
    }
    calls->chunks_count = 0;
}

/* Any thread. */
static void give_back(struct momi_calls *calls, struct momi_slot *slot) {
    slot->target = SLOT_FREE;
    struct momi_slot *first =
        atomic_load_explicit(&calls->returned, memory_order_relaxed);
    do {
        slot->next = first;
    } while (!atomic_compare_exchange_weak_explicit(
        &calls->returned, &first, slot, memory_order_release, memory_order_relaxed));
}

static bool grow_locked(struct momi_calls *calls) {
    if (calls->chunks_count == MOMI_SLOTS_CHUNKS_MAX) {
        return false;
    }
    struct momi_slot *chunk = momi_calloc(MOMI_SLOTS_CHUNK, sizeof *chunk);
    if (chunk == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < MOMI_SLOTS_CHUNK; i++) {
        chunk[i].index = calls->chunks_count * MOMI_SLOTS_CHUNK + i;
        chunk[i].next = i + 1 < MOMI_SLOTS_CHUNK ? &chunk[i + 1] : NULL;
    }
    calls->chunks[calls->chunks_count++] = chunk;
    calls->free_slots = chunk;
    return true;
}

static void collect_returned_locked(struct momi_calls *calls) {
    struct momi_slot *slot =
        atomic_exchange_explicit(&calls->returned, NULL, memory_order_acquire);
    while (slot != NULL) {
        struct momi_slot *next = slot->next;
        slot->next = calls->free_slots;
        calls->free_slots = slot;
        calls->pending--;
        slot = next;
    }
}

static struct momi_slot *take_slot_locked(struct momi_calls *calls) {
    if (calls->free_slots == NULL && !grow_locked(calls)) {
        return NULL;
    }
    struct momi_slot *slot = calls->free_slots;
    calls->free_slots = slot->next;
    calls->pending++;
    return slot;
}

/* The index is in the id, so that the answer finds its slot without a search. */
static struct momi_slot *find_slot(struct momi_calls *calls, uint64_t id) {
    uint32_t index = (uint32_t)(id & 0xffff);
    if (index / MOMI_SLOTS_CHUNK >= MOMI_SLOTS_CHUNKS_MAX) {
        return NULL;
    }
    /* A chunk that an answer refers to was published under the mutex by its call. */
    struct momi_slot *chunk = calls->chunks[index / MOMI_SLOTS_CHUNK];
    struct momi_slot *slot = chunk == NULL ? NULL : &chunk[index % MOMI_SLOTS_CHUNK];
    return slot != NULL && slot->id == id ? slot : NULL;
}

/* --- from the program
 * ------------------------------------------------------------------------ */

static bool has_room_locked(const struct momi_calls *calls, size_t mail_bytes,
                            uint64_t counted) {
    size_t queued = calls->mailbox->calls.size;
    return (queued == 0 || queued + mail_bytes <= MOMI_MAILBOX_BYTES_MAX) &&
           (calls->bytes == 0 || calls->bytes + counted <= calls->bytes_max) &&
           calls->pending < MOMI_SLOTS_MAX;
}

static int wait_for_room_locked(struct momi_calls *calls, const struct momi_call *call,
                                bool may_wait, size_t mail_bytes, uint64_t counted) {
    struct momi_mailbox *mailbox = calls->mailbox;
    collect_returned_locked(calls);
    while (!mailbox->is_closed && mailbox->refusal == MOM_OK &&
           !has_room_locked(calls, mail_bytes, counted)) {
        calls->full++;
        if (!may_wait) {
            return MOM_FULL;
        }
        mailbox->room_waiters++;
        bool in_time = momi_cond_wait(&mailbox->room, &mailbox->mutex, call->deadline_us);
        mailbox->room_waiters--;
        if (!in_time) {
            return MOM_TIMEOUT;
        }
    }
    return mailbox->is_closed ? MOM_CLOSED : mailbox->refusal;
}

static void fill_slot(struct momi_calls *calls, struct momi_slot *slot,
                      const struct momi_call_target *target, uint64_t counted,
                      size_t messages_count) {
    slot->id = calls->id_next++ << 16 | slot->index;
    slot->target = target->target;
    atomic_store_explicit(&slot->state, SLOT_PENDING, memory_order_relaxed);
    slot->completions = target->completions;
    slot->group = target->group;
    slot->consumer = target->consumer;
    slot->user = target->user;
    slot->bytes = counted;
    slot->count = (uint32_t)messages_count;
    calls->bytes += counted;
    calls->submitted++;
}

int momi_calls_put(struct momi_calls *calls, const struct momi_call *call,
                   const struct momi_messages *messages,
                   const struct momi_call_target *target, void *object,
                   struct momi_slot **slot_out, uint64_t *id) {
    size_t records_bytes = messages == NULL ? 0 : momi_messages_bytes(messages);
    struct momi_buf *buf = NULL;
    if (records_bytes >= MOMI_LARGE_RECORDS_BYTES) {
        buf = momi_buf_new(records_bytes);
        if (buf == NULL) {
            return momi_err(MOM_NO_MEMORY, "no memory for %zu bytes", records_bytes);
        }
        write_records(buf->data, messages);
    }
    size_t size = messages == NULL
                      ? call_size(call)
                      : round_up(sizeof(struct mail_publish) + call->name.size +
                                 (buf == NULL ? records_bytes : 0));
    uint64_t counted = messages == NULL ? 0 : records_bytes + MOMI_SLOT_COUNTED_BYTES;
    struct momi_mailbox *mailbox = calls->mailbox;
    struct momi_slot *slot = NULL;
    pthread_mutex_lock(&mailbox->mutex);
    int error = wait_for_room_locked(calls, call, target->may_wait, size, counted);
    if (error == MOM_OK) {
        slot = take_slot_locked(calls);
        if (slot == NULL) {
            error = MOM_NO_MEMORY; /* there was room for another */
        } else if (!momi_bytes_reserve(&mailbox->calls, size)) {
            mailbox->calls.failed = false; /* nothing was appended */
            slot->next = calls->free_slots;
            calls->free_slots = slot;
            calls->pending--;
            error = MOM_NO_MEMORY;
        }
    }
    if (error == MOM_OK) {
        fill_slot(calls, slot, target, counted, messages == NULL ? 0 : messages->count);
        uint8_t *at = mailbox->calls.data + mailbox->calls.size;
        if (messages == NULL) {
            write_call(at, size, call, slot->id, object);
        } else {
            write_publish(at, size, call, slot->id, messages, records_bytes, buf);
        }
        mailbox->calls.size += size;
        if (slot_out != NULL) {
            *slot_out = slot;
        }
        if (id != NULL) {
            *id = slot->id;
        }
        if (!target->visits) {
            momi_mailbox_wake(mailbox);
        }
    }
    pthread_mutex_unlock(&mailbox->mutex);
    if (error != MOM_OK) {
        momi_buf_release(buf);
        return momi_err(error, "%s",
                        error == MOM_FULL || error == MOM_TIMEOUT
                            ? "too much is in flight from this node"
                            : mom_strerror(error));
    }
    return MOM_OK;
}

void momi_calls_cancel(struct momi_calls *calls, uint64_t id) {
    struct mail_cancel mail = {.head = {.size = sizeof mail, .type = MAIL_CANCEL},
                               .id = id};
    struct momi_mailbox *mailbox = calls->mailbox;
    pthread_mutex_lock(&mailbox->mutex);
    if (!mailbox->is_closed) {
        momi_bytes_append(&mailbox->calls, &mail, sizeof mail);
        mailbox->calls.failed = false;
        momi_mailbox_wake(mailbox);
    }
    pthread_mutex_unlock(&mailbox->mutex);
}

int momi_calls_wait(struct momi_calls *calls, struct momi_slot *slot,
                    struct momi_answer *answer) {
    uint32_t state = SLOT_PENDING;
    (void)atomic_compare_exchange_strong_explicit(
        &slot->state, &state, SLOT_ASLEEP, memory_order_acquire, memory_order_acquire);
    while (atomic_load_explicit(&slot->state, memory_order_acquire) != SLOT_DONE) {
        (void)syscall(SYS_futex, &slot->state, FUTEX_WAIT_PRIVATE, SLOT_ASLEEP, NULL,
                      NULL, 0);
    }
    int error = slot->error;
    if (answer != NULL) {
        answer->sequence = slot->sequence;
        answer->synced_copies = slot->synced_copies;
        answer->body = slot->body;
        slot->body = (struct momi_bytes){0};
    }
    if (error != MOM_OK) {
        (void)momi_err(error, "%s",
                       slot->text != NULL ? slot->text : mom_strerror(error));
    }
    free_answer(slot);
    give_back(calls, slot);
    return error;
}

/* --- from the core
 * ------------------------------------------------------------------------- */

static void complete_thread(struct momi_slot *slot,
                            const struct momi_completion *completion) {
    slot->error = completion->error;
    slot->sequence = completion->sequence;
    slot->synced_copies = completion->synced_copies;
    momi_bytes_append(&slot->body, completion->body.data, completion->body.size);
    if (slot->body.failed) {
        momi_bytes_clear(&slot->body);
        slot->error = MOM_NO_MEMORY;
    }
    if (completion->text.size > 0) {
        slot->text = momi_alloc(completion->text.size + 1); /* NULL: without detail */
        if (slot->text != NULL) {
            memcpy(slot->text, completion->text.data, completion->text.size);
            slot->text[completion->text.size] = '\0';
        }
    }
    uint32_t before =
        atomic_exchange_explicit(&slot->state, SLOT_DONE, memory_order_acq_rel);
    if (before == SLOT_ASLEEP) {
        /* The slot may be someone else's by now: then they are woken for nothing. */
        (void)syscall(SYS_futex, &slot->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

void momi_call_group_done(struct momi_call_group *group, int error, uint32_t count,
                          const struct momi_completion *completion,
                          struct momi_list *touched) {
    mom_completions *completions = group->completions;
    pthread_mutex_lock(&completions->mutex);
    mom_completion *answer = &group->completion;
    if (error == MOM_OK && completion != NULL) {
        answer->count += count;
        answer->synced_copies = completion->synced_copies;
        if (answer->sequence == 0) {
            answer->sequence = completion->sequence;
        }
    } else if (error != MOM_OK && answer->error == MOM_OK) {
        answer->error = error;
    }
    MOMI_ASSERT(group->pending > 0);
    bool is_last = --group->pending == 0;
    pthread_mutex_unlock(&completions->mutex);
    if (is_last) {
        momi_completions_put(completions, answer, touched);
        momi_free(group);
    }
}

static void complete_slot(struct momi_calls *calls, struct momi_slot *slot,
                          const struct momi_completion *completion,
                          struct momi_list *touched) {
    calls->bytes_done += slot->bytes;
    slot->id = 0;
    switch (slot->target) {
    case SLOT_THREAD:
        complete_thread(slot, completion);
        return; /* its thread gives it back */
    case SLOT_COMPLETIONS: {
        mom_completion answer = {.user = slot->user,
                                 .error = completion->error,
                                 .synced_copies = completion->synced_copies,
                                 .sequence = completion->sequence,
                                 .count = completion->error == MOM_OK ? slot->count : 0};
        momi_completions_put(slot->completions, &answer, touched);
        break;
    }
    case SLOT_GROUP:
        momi_call_group_done(slot->group, completion->error, slot->count, completion,
                             touched);
        break;
    case SLOT_POLL:
        momi_consumer_poll_done(slot->consumer, completion->error);
        break;
    case SLOT_NOBODY:
        break;
    case SLOT_FREE:
        MOMI_ASSERT(!"a free slot has no answer");
        break;
    }
    give_back(calls, slot);
}

void momi_calls_complete(struct momi_calls *calls, uint64_t id,
                         const struct momi_completion *completion,
                         struct momi_list *touched) {
    struct momi_slot *slot = find_slot(calls, id);
    if (slot != NULL) {
        complete_slot(calls, slot, completion, touched);
    }
}

void momi_calls_complete_all(struct momi_calls *calls, int error,
                             struct momi_list *touched) {
    struct momi_completion completion = {.error = error};
    for (uint32_t i = 0; i < calls->chunks_count; i++) {
        for (uint32_t j = 0; j < MOMI_SLOTS_CHUNK; j++) {
            if (calls->chunks[i][j].id != 0) {
                complete_slot(calls, &calls->chunks[i][j], &completion, touched);
            }
        }
    }
}

void momi_calls_make_room(struct momi_calls *calls) {
    calls->bytes -= calls->bytes_done;
    calls->bytes_done = 0;
    collect_returned_locked(calls);
    if (calls->mailbox->room_waiters > 0) {
        pthread_cond_broadcast(&calls->mailbox->room);
    }
}
