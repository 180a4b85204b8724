/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The effects of a turn: a list, a batch and the memory behind them (effect.h). Filled by
 * the core, carried out and cleared by its host.
 */
#include "core/effect.h"

#include "base/assert.h"
#include "base/mem.h"

struct momi_effect_hold {
    struct momi_effect_hold *next;
    struct momi_buf *buf; /* a reference */
};

enum { EFFECTS_ROOM_FIRST = 64 };

void momi_effects_init(struct momi_effects *effects) {
    *effects = (struct momi_effects){.list = NULL};
}

static void release_parts(struct momi_frame *frame) {
    for (uint32_t index = 0; index < frame->parts_count; index++) {
        momi_buf_release(frame->parts[index].buf);
    }
    frame->parts_count = 0;
}

void momi_effects_clear(struct momi_effects *effects) {
    for (size_t index = 0; index < effects->count; index++) {
        const struct momi_effect *effect = &effects->list[index];
        if (effect->type == FX_SEND && effect->frame != NULL) {
            release_parts(effect->frame);
        }
    }
    for (struct momi_effect_hold *hold = effects->holds; hold != NULL;
         hold = hold->next) {
        momi_buf_release(hold->buf);
    }
    effects->holds = NULL;
    effects->count = 0;
    effects->batch_sync = false;
    momi_batch_clear(&effects->batch);
    momi_arena_reset(&effects->arena);
}

void momi_effects_free(struct momi_effects *effects) {
    momi_effects_clear(effects);
    momi_batch_free(&effects->batch);
    momi_arena_free(&effects->arena);
    momi_free(effects->list);
    *effects = (struct momi_effects){.list = NULL};
}

struct momi_effect *momi_effect_add(struct momi_effects *effects,
                                    enum momi_effect_type type) {
    if (effects->count == effects->room) {
        size_t room = effects->room == 0 ? EFFECTS_ROOM_FIRST : effects->room * 2;
        effects->list = momi_must_realloc(effects->list, room * sizeof *effects->list);
        effects->room = room;
    }
    struct momi_effect *effect = &effects->list[effects->count++];
    memset(effect, 0, sizeof *effect);
    effect->type = type;
    return effect;
}

struct momi_frame *momi_effect_send(struct momi_effects *effects, uint64_t node,
                                    enum momi_frame_type type) {
    struct momi_frame *frame = momi_effect_alloc(effects, sizeof *frame);
    memset(frame, 0, sizeof *frame);
    frame->type = type;
    struct momi_effect *effect = momi_effect_add(effects, FX_SEND);
    effect->node = node;
    effect->frame = frame;
    return frame;
}

/* Parts have no room of their own noted: the array doubles whenever its count is a power
 * of two, and the smaller ones stay in the arena until the turn ends. */
static void grow_parts(struct momi_effects *effects, struct momi_frame *frame) {
    uint32_t count = frame->parts_count;
    if ((count & (count - 1)) != 0) {
        return;
    }
    size_t room = count == 0 ? 1 : (size_t)count * 2;
    struct momi_part *parts = momi_effect_alloc(effects, room * sizeof *parts);
    if (count > 0) {
        memcpy(parts, frame->parts, count * sizeof *parts);
    }
    frame->parts = parts;
}

void momi_frame_add_part(struct momi_effects *effects, struct momi_frame *frame,
                         struct momi_buf *buf, struct momi_slice bytes) {
    grow_parts(effects, frame);
    struct momi_part *part = &frame->parts[frame->parts_count];
    if (buf != NULL) {
        *part = (struct momi_part){.buf = momi_buf_ref(buf), .bytes = bytes};
    } else {
        *part = (struct momi_part){.bytes = momi_effect_copy(effects, bytes)};
    }
    frame->parts_count++;
}

void *momi_effect_alloc(struct momi_effects *effects, size_t size) {
    void *memory = momi_arena_alloc(&effects->arena, size);
    MOMI_ASSERT(memory != NULL); /* reserved before the step */
    return memory;
}

void momi_effect_hold(struct momi_effects *effects, struct momi_buf *buf) {
    if (buf == NULL) {
        return;
    }
    struct momi_effect_hold *hold = momi_effect_alloc(effects, sizeof *hold);
    *hold = (struct momi_effect_hold){.next = effects->holds, .buf = momi_buf_ref(buf)};
    effects->holds = hold;
}

struct momi_slice momi_effect_copy(struct momi_effects *effects,
                                   struct momi_slice bytes) {
    uint8_t *copy = momi_effect_alloc(effects, bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return momi_slice(copy, bytes.size);
}
