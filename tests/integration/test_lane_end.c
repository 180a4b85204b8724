/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a lane: its last callback comes on a thread of the transport while the loop
 * is busy with the same lane for another reason. The loop once saw from a flag that the
 * lane was gone, freed it, and the callback posted what was no more.
 *
 * The linker puts __wrap_momi_mailbox_post in the place of momi_mailbox_post. When the
 * last callback posts, it first lets the loop handle other news of the lane to its end.
 */
#include <sched.h>
#include <stdatomic.h>

#include "integration/nodes.h"
#include "node/node_internal.h"

enum { ROUNDS = 5 };

bool __real_momi_mailbox_post(struct momi_mailbox *mailbox, struct momi_post *post);
bool __wrap_momi_mailbox_post(struct momi_mailbox *mailbox, struct momi_post *post);

static atomic_int ends_count;

/* Until the loop has taken all mail, and its turn is over. */
static void wait_idle(struct momi_mailbox *mailbox) {
    bool is_idle = false;
    while (!is_idle) {
        pthread_mutex_lock(&mailbox->mutex);
        is_idle = mailbox->is_ended ||
                  (!mailbox->is_turning && !momi_mailbox_has_mail(mailbox));
        pthread_mutex_unlock(&mailbox->mutex);
        sched_yield();
    }
}

bool __wrap_momi_mailbox_post(struct momi_mailbox *mailbox, struct momi_post *post) {
    if (post->type == POST_LANE_END) {
        struct momi_peer_lane *lane =
            MOMI_CONTAINER_OF(post, struct momi_peer_lane, end_post);
        (void)__real_momi_mailbox_post(mailbox, &lane->post);
        wait_idle(mailbox);
        atomic_fetch_add(&ends_count, 1);
    }
    return __real_momi_mailbox_post(mailbox, post);
}

static void a_lane_is_not_freed_under_its_last_callback(void **state) {
    (void)state;
    struct mesh mesh;
    mesh_open(&mesh, 3);
    mesh_wait_ready(&mesh);
    for (size_t round = 0; round < ROUNDS; round++) {
        int before = atomic_load(&ends_count);
        mom_node *client = mesh_client(&mesh);
        CHECK_EQ(mom_wait_ready(client, WAIT_MS), MOM_OK);
        CHECK_EQ(mom_close(client, WAIT_MS), MOM_OK);
        mesh_close_node(&mesh, round % 3);
        mesh_open_node(&mesh, round % 3);
        mesh_wait_ready(&mesh);
        CHECK(atomic_load(&ends_count) > before);
    }
    mesh_close(&mesh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_lane_is_not_freed_under_its_last_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
