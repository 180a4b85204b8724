/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool of receive buffers of a transport: at most MOMI_CHUNKS_KEPT of them, so the
 * memory that idles here is bounded. Used once per chunk, not per frame.
 */
#include "port/transport_nng.h"

static bool is_unused(struct momi_buf *chunk) {
    /* Acquire: what the last holder read of it was read before we write. */
    return atomic_load_explicit(&chunk->refs, memory_order_acquire) == 1;
}

struct momi_buf *momi_chunk_get(struct momi_chunk_pool *pool) {
    struct momi_buf *chunk = NULL;
    pthread_mutex_lock(&pool->mutex);
    for (size_t i = 0; i < MOMI_CHUNKS_KEPT && chunk == NULL; i++) {
        if (pool->kept[i] != NULL && is_unused(pool->kept[i])) {
            chunk = pool->kept[i];
            pool->kept[i] = NULL;
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    return chunk != NULL ? chunk : momi_buf_new(MOMI_CHUNK_BYTES);
}

void momi_chunk_put(struct momi_chunk_pool *pool, struct momi_buf *chunk) {
    if (chunk->room != MOMI_CHUNK_BYTES) {
        momi_buf_release(chunk);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    size_t slot = pool->next;
    for (size_t i = 0; i < MOMI_CHUNKS_KEPT; i++) {
        if (pool->kept[i] == NULL) {
            slot = i;
            break;
        }
    }
    struct momi_buf *gone =
        pool->kept[slot]; /* its holders keep it alive, if there are any */
    pool->kept[slot] = chunk;
    pool->next = (slot + 1) % MOMI_CHUNKS_KEPT;
    pthread_mutex_unlock(&pool->mutex);
    momi_buf_release(gone);
}
