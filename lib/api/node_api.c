/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening, closing, waiting, and what a node says about itself. See <mom/mom.h>.
 */
#include <string.h>

#include "api/api.h"

int mom_open(const mom_options *options, mom_node **node) {
    mom_options known;
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_pointer(options, "options");
    }
    if (error == MOM_OK) {
        error = momi_options_import(&known, sizeof known, options, "options");
    }
    if (error == MOM_OK) {
        error = momi_check_open(&known);
    }
    return error != MOM_OK ? error : momi_node_open(&known, node);
}

int mom_close(mom_node *node, int timeout_ms) {
    uint64_t deadline_us;
    if (node == NULL) {
        return MOM_OK;
    }
    /* A wrong timeout is as good as none: the handle goes in every case. */
    if (momi_check_wait(timeout_ms, &deadline_us) != MOM_OK) {
        deadline_us = 0;
    }
    return momi_node_close(node, deadline_us);
}

static int wait_call(int timeout_ms, struct momi_call *call) {
    *call = (struct momi_call){.type = CALL_WAIT_READY};
    return momi_check_wait(timeout_ms, &call->deadline_us);
}

int mom_wait_ready(mom_node *node, int timeout_ms) {
    struct momi_call call;
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = wait_call(timeout_ms, &call);
    }
    if (error == MOM_OK) {
        error = momi_node_enter(node);
    }
    if (error != MOM_OK) {
        return error;
    }
    error = momi_node_call(node, &call, NULL, NULL);
    momi_node_leave(node);
    return error;
}

int mom_wait_ready_submit(mom_node *node, int timeout_ms, mom_completions *completions,
                          void *user) {
    struct momi_call call;
    int error = wait_call(timeout_ms, &call);
    return error != MOM_OK ? error : momi_submit(node, &call, completions, user);
}

uint64_t mom_node_id(const mom_node *node) {
    return node == NULL ? 0 : momi_node_id(node);
}

const char *mom_node_name(const mom_node *node) {
    return node == NULL ? "" : momi_node_name(node);
}

const char *mom_node_address(const mom_node *node) {
    return node == NULL ? "" : momi_node_address(node);
}

bool mom_node_is_durable(const mom_node *node) {
    return node != NULL && momi_node_is_durable(node);
}

int mom_metrics_get(mom_node *node, mom_metrics *metrics) {
    int error = momi_check_pointer(node, "node");
    if (error == MOM_OK) {
        error = momi_check_pointer(metrics, "metrics");
    }
    if (error == MOM_OK && metrics->size < sizeof metrics->size) {
        error = momi_err(MOM_INVALID, "metrics: size is %zu; was it initialised?",
                         metrics->size);
    }
    if (error == MOM_OK) {
        error = momi_node_enter(node);
    }
    if (error != MOM_OK) {
        return error;
    }
    mom_metrics all;
    size_t size = metrics->size;
    momi_node_metrics(node, &all);
    momi_node_leave(node);
    memcpy(metrics, &all, size < sizeof all ? size : sizeof all);
    metrics->size = size;
    return MOM_OK;
}
