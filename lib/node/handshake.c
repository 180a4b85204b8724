/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake of a lane (wire/hello.h): both ends say HELLO with a challenge, then each
 * proves that it owns the key that its node id is the fingerprint of. Who does not go on
 * says why, and closes a moment later, so that the reason arrives.
 *
 * Loop thread only. A peer is believed nothing before its proof, except a reason to
 * refuse.
 */
#include "base/assert.h"
#include "node/node_internal.h"
#include "wire/codec.h"

static struct momi_slice text_of(const char *text) { return momi_slice_str(text); }

static struct momi_hello own_hello(const struct momi_peer_lane *lane) {
    const mom_node *node = lane->node;
    struct momi_core_state state;
    momi_core_state(node->core, &state);
    struct momi_hello hello = {.version_min = MOMI_CODEC_VERSION,
                               .version_max = MOMI_CODEC_VERSION,
                               .role = node->role,
                               .mesh = state.mesh,
                               .node = node->id,
                               .incarnation = node->incarnation,
                               .boot_nonce = node->boot_nonce,
                               .connection = lane->we_dialed ? lane->connection : 0,
                               .founders_hash = node->founders_hash,
                               .name = text_of(node->name),
                               .address = text_of(node->address),
                               .gossip_bus = text_of(node->discovery.bus),
                               .gossip_survey = text_of(node->discovery.survey)};
    memcpy(hello.public_key, node->key.public_key.bytes, sizeof hello.public_key);
    memcpy(hello.challenge, lane->challenge, sizeof hello.challenge);
    return hello;
}

static bool send_message(struct momi_peer_lane *lane,
                         const struct momi_hello_message *message,
                         struct momi_bytes *bytes) {
    momi_bytes_clear(bytes);
    return momi_hello_encode(message, bytes) == MOM_OK && !bytes->failed &&
           momi_outbox_raw(lane, momi_bytes_slice(bytes));
}

void momi_handshake_begin(struct momi_peer_lane *lane) {
    momi_random_bytes(lane->challenge, sizeof lane->challenge);
    struct momi_hello_message message = {.kind = MOMI_HELLO};
    message.hello = own_hello(lane);
    if (!send_message(lane, &message, &lane->own_hello)) {
        momi_lane_leave(lane, 0, MOM_UNAVAILABLE);
        momi_lane_shut(lane);
    }
}

static void refuse(struct momi_peer_lane *lane, int error, const char *text) {
    mom_node *node = lane->node;
    node->peers.refused++;
    momi_log(&node->log, MOM_LOG_WARNING, "MOM-LANE-REFUSED", "lane", "%s is refused: %s",
             momi_lane_peer(lane->lane), text);
    struct momi_hello_message message = {.kind = MOMI_HELLO_REFUSED};
    message.refused.error = error;
    message.refused.text = text_of(text);
    struct momi_bytes bytes = {0};
    (void)send_message(lane, &message, &bytes); /* else it finds out by the close */
    momi_bytes_free(&bytes);
    momi_lane_leave(lane, node->now_us + MOMI_REFUSED_US, error);
}

/* Everything in a HELLO that speaks against the lane; NULL: nothing. */
static const char *reason_against(const struct momi_peer_lane *lane,
                                  const struct momi_hello *own,
                                  const struct momi_hello *peer, int *error) {
    struct momi_key_public public_key;
    memcpy(public_key.bytes, peer->public_key, sizeof public_key.bytes);
    *error = MOM_CONFLICT;
    if (momi_hello_version(own, peer) == 0) {
        *error = MOM_VERSION;
        return "no version of the protocol in common";
    }
    if (momi_key_node_id(&public_key) != peer->node) {
        *error = MOM_UNAUTHENTICATED;
        return "the node id is not that of the key";
    }
    if (peer->node == own->node) {
        return peer->boot_nonce == own->boot_nonce
                   ? "this is the node itself"
                   : "a copy of this node's directory is open elsewhere";
    }
    if (!momi_mesh_id_is_none(&own->mesh) && !momi_mesh_id_is_none(&peer->mesh) &&
        memcmp(&own->mesh, &peer->mesh, sizeof own->mesh) != 0) {
        return "the two nodes belong to different meshes";
    }
    if (lane->we_dialed && lane->dial_node != 0 && lane->dial_node != peer->node) {
        *error = MOM_NOT_FOUND;
        return "another node than expected lives at this address";
    }
    if (!momi_lane_may_replace(lane)) {
        *error = MOM_EXISTS;
        return "there is a lane between the two nodes already";
    }
    return NULL;
}

/* `signer`: which end signed. The texts of `other` are not part of it. */
static void bytes_to_sign(struct momi_bytes *out, const struct momi_peer_lane *lane,
                          bool we_sign) {
    bool signer_dialed = we_sign ? lane->we_dialed : !lane->we_dialed;
    struct momi_hello own = own_hello(lane);
    momi_hello_to_sign(out, signer_dialed ? MOMI_HELLO_DIALED : MOMI_HELLO_ACCEPTED,
                       momi_bytes_slice(we_sign ? &lane->own_hello : &lane->peer_hello),
                       we_sign ? &lane->peer : &own);
}

static void hello_came(struct momi_peer_lane *lane, struct momi_slice bytes) {
    struct momi_hello_message message;
    momi_bytes_append(&lane->peer_hello, bytes.data, bytes.size);
    if (lane->peer_hello.failed ||
        momi_hello_decode(momi_bytes_slice(&lane->peer_hello), &message) != MOM_OK) {
        refuse(lane, MOM_NO_MEMORY, "no memory for a handshake");
        return;
    }
    lane->peer = message.hello;
    struct momi_hello own = own_hello(lane);
    int error;
    const char *reason = reason_against(lane, &own, &lane->peer, &error);
    if (reason != NULL) {
        refuse(lane, error, reason);
        return;
    }
    struct momi_bytes work = {0};
    bytes_to_sign(&work, lane, true);
    struct momi_hello_message answer = {.kind = MOMI_HELLO_PROOF};
    struct momi_key_signature signature;
    bool is_sent = false;
    if (!work.failed) {
        momi_key_sign(&lane->node->key, momi_bytes_slice(&work), &signature);
        memcpy(answer.proof.signature, signature.bytes, sizeof signature.bytes);
        is_sent = send_message(lane, &answer, &work);
    }
    momi_bytes_free(&work);
    if (is_sent) {
        lane->state = LANE_PROOF;
    } else {
        refuse(lane, MOM_NO_MEMORY, "no memory for a handshake");
    }
}

static void proof_came(struct momi_peer_lane *lane,
                       const struct momi_hello_proof *proof) {
    struct momi_key_public public_key;
    struct momi_key_signature signature;
    memcpy(public_key.bytes, lane->peer.public_key, sizeof public_key.bytes);
    memcpy(signature.bytes, proof->signature, sizeof signature.bytes);
    struct momi_bytes work = {0};
    bytes_to_sign(&work, lane, false);
    bool is_good =
        !work.failed && momi_key_verify(&public_key, momi_bytes_slice(&work), &signature);
    momi_bytes_free(&work);
    if (!is_good) {
        refuse(lane, MOM_UNAUTHENTICATED, "the signature is not that of the node's key");
    } else if (!momi_lane_may_replace(lane)) {
        refuse(lane, MOM_EXISTS, "there is a lane between the two nodes already");
    } else {
        momi_lane_passed(lane);
    }
}

static void refused_came(struct momi_peer_lane *lane,
                         const struct momi_hello_refused *refused) {
    mom_node *node = lane->node;
    node->peers.refused++;
    momi_log(&node->log, MOM_LOG_WARNING, "MOM-LANE-REFUSED-BY", "lane",
             "%s refuses this node: %.*s", momi_lane_peer(lane->lane),
             (int)refused->text.size, (const char *)refused->text.data);
    int error = refused->error < 0 ? refused->error : MOM_UNAVAILABLE;
    momi_lane_leave(lane, 0, error);
    momi_lane_shut(lane);
}

void momi_handshake_message(struct momi_peer_lane *lane, struct momi_slice bytes) {
    struct momi_hello_message message;
    int error = momi_hello_decode(bytes, &message);
    if (error != MOM_OK) {
        lane->node->peers.frames_invalid++;
        refuse(lane, error, "a handshake that cannot be read");
        return;
    }
    if (message.kind == MOMI_HELLO_REFUSED && lane->state != LANE_UP) {
        refused_came(lane, &message.refused);
    } else if (message.kind == MOMI_HELLO && lane->state == LANE_HELLO) {
        hello_came(lane, bytes);
    } else if (message.kind == MOMI_HELLO_PROOF && lane->state == LANE_PROOF) {
        proof_came(lane, &message.proof);
    } else if (message.kind == MOMI_HELLO_REFUSED) {
        momi_lane_shut(lane); /* it changed its mind: as if closed */
    } else {
        lane->node->peers.frames_invalid++;
        refuse(lane, MOM_INVALID, "a handshake out of its order");
    }
}
