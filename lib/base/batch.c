/* SPDX-License-Identifier: Apache-2.0 */
/* Write batches: see batch.h. Operations hold offsets into `bytes`, since that block
 * moves when it grows. */
#include "base/batch.h"

#include "base/assert.h"
#include "base/mem.h"

struct momi_batch_op {
    uint8_t kind;
    uint8_t family;
    uint16_t key_size;
    uint32_t second_size; /* of the copied value or the upper end, behind the key */
    size_t offset;        /* of the key */
    struct momi_buf *buf; /* a reference of its own, or NULL */
};

enum { OPS_ROOM_FIRST = 16 };

static struct momi_batch_op *add(struct momi_batch *batch, enum momi_batch_kind kind,
                                 enum momi_family family, struct momi_slice key,
                                 struct momi_slice second) {
    MOMI_ASSERT(key.size > 0);
    MOMI_ASSERT(key.size <= MOMI_BATCH_KEY_BYTES_MAX);
    MOMI_ASSERT((unsigned)family < MOMI_FAMILIES_COUNT);
    MOMI_ASSERT(second.size <= UINT32_MAX);
    if (batch->failed) {
        return NULL;
    }
    if (batch->ops_count == batch->ops_room) {
        size_t room = batch->ops_room == 0 ? OPS_ROOM_FIRST : batch->ops_room * 2;
        struct momi_batch_op *ops = momi_realloc(batch->ops, room * sizeof *ops);
        if (ops == NULL) {
            batch->failed = true;
            return NULL;
        }
        batch->ops = ops;
        batch->ops_room = room;
    }
    if (!momi_bytes_reserve(&batch->bytes, key.size + second.size)) {
        batch->failed = true;
        return NULL;
    }
    struct momi_batch_op *op = &batch->ops[batch->ops_count];
    *op = (struct momi_batch_op){
        .kind = (uint8_t)kind,
        .family = (uint8_t)family,
        .key_size = (uint16_t)key.size,
        .second_size = (uint32_t)second.size,
        .offset = batch->bytes.size,
    };
    momi_bytes_append(&batch->bytes, key.data, key.size);
    if (second.size > 0) {
        momi_bytes_append(&batch->bytes, second.data, second.size);
    }
    batch->ops_count++;
    return op;
}

void momi_batch_put(struct momi_batch *batch, enum momi_family family,
                    struct momi_slice key, struct momi_slice value) {
    (void)add(batch, MOMI_BATCH_PUT, family, key, value);
}

void momi_batch_put_buf(struct momi_batch *batch, enum momi_family family,
                        struct momi_slice key, struct momi_buf *value) {
    struct momi_batch_op *op =
        add(batch, MOMI_BATCH_PUT, family, key, momi_slice(NULL, 0));
    if (op != NULL) {
        op->buf = momi_buf_ref(value);
        batch->bufs_bytes += value->size;
    }
}

void momi_batch_delete(struct momi_batch *batch, enum momi_family family,
                       struct momi_slice key) {
    (void)add(batch, MOMI_BATCH_DELETE, family, key, momi_slice(NULL, 0));
}

void momi_batch_delete_range(struct momi_batch *batch, enum momi_family family,
                             struct momi_slice from, struct momi_slice to) {
    MOMI_ASSERT(to.size > 0);
    MOMI_ASSERT(to.size <= MOMI_BATCH_KEY_BYTES_MAX);
    if (momi_slice_compare(from, to) < 0) {
        (void)add(batch, MOMI_BATCH_DELETE_RANGE, family, from, to);
    }
}

void momi_batch_clear(struct momi_batch *batch) {
    for (size_t i = 0; i < batch->ops_count; i++) {
        momi_buf_release(batch->ops[i].buf);
    }
    batch->number = 0;
    batch->ops_count = 0;
    batch->bufs_bytes = 0;
    batch->failed = false;
    momi_bytes_clear(&batch->bytes);
}

void momi_batch_free(struct momi_batch *batch) {
    momi_batch_clear(batch);
    momi_bytes_free(&batch->bytes);
    momi_free(batch->ops);
    *batch = (struct momi_batch){0};
}

size_t momi_batch_bytes(const struct momi_batch *batch) {
    return batch->bytes.size + batch->bufs_bytes;
}

struct momi_batch_view momi_batch_at(const struct momi_batch *batch, size_t index) {
    MOMI_ASSERT(index < batch->ops_count);
    const struct momi_batch_op *op = &batch->ops[index];
    const uint8_t *key = batch->bytes.data + op->offset;
    struct momi_slice second = momi_slice(key + op->key_size, op->second_size);
    struct momi_batch_view view = {
        .kind = (enum momi_batch_kind)op->kind,
        .family = (enum momi_family)op->family,
        .key = momi_slice(key, op->key_size),
        .buf = op->buf,
    };
    if (view.kind == MOMI_BATCH_DELETE_RANGE) {
        view.to = second;
    } else if (op->buf != NULL) {
        view.value = momi_buf_slice(op->buf);
    } else if (view.kind == MOMI_BATCH_PUT) {
        view.value = second;
    }
    return view;
}
