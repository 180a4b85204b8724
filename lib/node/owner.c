/* SPDX-License-Identifier: Apache-2.0 */
/* Whose store it is: see owner.h. */
#include "node/owner.h"

#include "base/err.h"
#include "core/keys.h"

/* The incarnation that opened it last; 0: nobody has. */
static int read_owner(struct momi_store *store, const struct momi_datadir *dir,
                      uint64_t node, uint64_t *incarnation) {
    struct momi_key key = momi_key_node('i', 0);
    struct momi_buf *buf = NULL;
    int error = momi_store_get(store, MOMI_FAMILY_NODE, momi_key_slice(&key), &buf);
    if (error == MOM_NOT_FOUND) {
        *incarnation = 0;
        return MOM_OK;
    }
    if (error != MOM_OK) {
        return error;
    }
    uint64_t owner = 0;
    bool is_sane = momi_owner_decode(momi_buf_slice(buf), &owner, incarnation);
    momi_buf_release(buf);
    return is_sane && owner == node
               ? MOM_OK
               : momi_err(MOM_CORRUPT, "the identity in %s is not that of its store",
                          momi_datadir_path(dir));
}

int momi_owner_take(struct momi_store *store, struct momi_datadir *dir, uint64_t node,
                    uint64_t number) {
    uint64_t incarnation = 0;
    int error = read_owner(store, dir, node, &incarnation);
    if (error == MOM_OK && incarnation >= momi_datadir_identity(dir)->incarnation) {
        error = momi_datadir_set_incarnation(dir, incarnation + 1);
    }
    if (error != MOM_OK) {
        return error;
    }
    struct momi_batch batch = {.number = number};
    momi_batch_put_owner(&batch, node, momi_datadir_identity(dir)->incarnation);
    error = batch.failed ? momi_err(MOM_NO_MEMORY, "opening the store")
                         : momi_store_write(store, &batch, MOMI_SYNC_NO);
    momi_batch_free(&batch);
    return error;
}
