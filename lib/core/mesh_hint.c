/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hints: where a store may be reached, as others say on bus and survey. Nobody vouches
 * for them, so a hint is only ever an address to try: the dial expects a certain node and
 * the handshake proves it; who is a member is the registry's word alone.
 *
 * It serves when the map does not: a node that came back at another address while the
 * registry has no majority, and other newcomers before there is a map. Every second
 * attempt takes the hint, so that a wrong one cannot keep us from the right address.
 */
#include "base/mem.h"
#include "core/mesh_internal.h"

static void drop_hint(struct momi_peer *peer) {
    momi_free((void *)(uintptr_t)peer->hint.data);
    peer->hint = (struct momi_slice){0};
}

void momi_mesh_hint_free(struct momi_peer *peer) { drop_hint(peer); }

/* Those whom we know by hints only, while there is no map to check them by. */
static uint32_t hinted_count(const struct momi_mesh *mesh) {
    uint32_t count = 0;
    for (size_t i = 0; i < mesh->peers_count; i++) {
        count += mesh->peers[i]->hint.size > 0 ? 1 : 0;
    }
    return count;
}

static bool is_worth_trying(const struct momi_core *core, uint64_t node) {
    const struct momi_registry *map = momi_mesh_map(core);
    if (map == NULL) {
        return core->mesh->way != OPEN_ALONE && hinted_count(core->mesh) < MESH_HINTS_MAX;
    }
    const struct momi_member *member = momi_registry_member(map, node);
    return member != NULL && !member->removed;
}

void momi_mesh_hint(struct momi_core *core, uint64_t node, struct momi_slice address) {
    if (core->is_closing || core->config.role != MOMI_ROLE_STORE || node == 0 ||
        node == core->config.node || address.size == 0 ||
        address.size > MOMI_MEMBER_ADDRESS_BYTES_MAX ||
        momi_mesh_lane_is_up(core, node) || !is_worth_trying(core, node) ||
        momi_slice_equal(momi_mesh_address(core, node), address)) {
        return;
    }
    struct momi_peer *peer = momi_mesh_peer_make(core, node);
    uint8_t *copy = peer == NULL ? NULL : momi_alloc(address.size);
    if (copy == NULL) {
        return;
    }
    memcpy(copy, address.data, address.size);
    drop_hint(peer);
    peer->hint = momi_slice(copy, address.size);
    momi_mesh_want_lane(core, node);
}

struct momi_slice momi_mesh_dial_address(struct momi_core *core, struct momi_peer *peer) {
    struct momi_slice known = momi_mesh_address(core, peer->node);
    if (peer->hint.size == 0) {
        return known;
    }
    peer->hint_is_next = !peer->hint_is_next || known.size == 0;
    return peer->hint_is_next ? peer->hint : known;
}
