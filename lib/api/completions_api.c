/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completion queues, and submitting. See <mom/mom.h>.
 */
#include "api/api.h"

int mom_completions_open(mom_node *node, mom_completions **completions) {
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_pointer(completions, "completions");
    }
    if (error == MOM_OK) {
        error = momi_node_enter(node);
    }
    if (error != MOM_OK) {
        return error;
    }
    error = momi_node_completions(node, completions);
    momi_node_leave(node);
    return error;
}

void mom_completions_close(mom_completions *completions) {
    if (completions != NULL && momi_node_check_fork(completions->node) == MOM_OK) {
        momi_completions_close(completions);
    }
}

int mom_completions_fd(const mom_completions *completions) {
    return completions == NULL ? -1 : completions->fd;
}

int mom_completions_wait(mom_completions *completions, mom_completion *list, size_t max,
                         size_t *count, int timeout_ms) {
    uint64_t deadline_us = 0;
    int error = momi_check_pointer(completions, "completions");
    if (error == MOM_OK) {
        error = momi_check_pointer(list, "list");
    }
    if (error == MOM_OK) {
        error = momi_check_pointer(count, "count");
    }
    if (error == MOM_OK && max == 0) {
        error = momi_err(MOM_INVALID, "max is 0");
    }
    if (error == MOM_OK) {
        error = momi_check_wait(timeout_ms, &deadline_us);
    }
    if (error == MOM_OK) {
        error = momi_node_check_fork(completions->node);
    }
    if (error != MOM_OK) {
        return error;
    }
    error = momi_completions_wait(completions, list, max, count, deadline_us);
    if (error == MOM_EMPTY && timeout_ms != 0) {
        error = MOM_TIMEOUT;
    }
    return error == MOM_OK ? MOM_OK
                           : momi_err(error, "no completion: %s", mom_strerror(error));
}

int momi_submit(mom_node *node, const struct momi_call *call,
                mom_completions *completions, void *user) {
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_pointer(completions, "completions");
    }
    if (error == MOM_OK && completions->node != node) {
        error = momi_err(MOM_INVALID, "completions are of another node");
    }
    if (error == MOM_OK) {
        error = momi_node_enter(node);
    }
    if (error != MOM_OK) {
        return error;
    }
    error = momi_completions_reserve(completions);
    if (error == MOM_OK) {
        struct momi_call_target target = {
            .target = SLOT_COMPLETIONS, .completions = completions, .user = user};
        error =
            momi_calls_put(momi_node_calls(node), call, NULL, &target, NULL, NULL, NULL);
        if (error != MOM_OK) {
            momi_completions_unreserve(completions);
        }
    }
    momi_node_leave(node);
    return error;
}
