/* SPDX-License-Identifier: Apache-2.0 */
/* mom receive and mom subscribe: opening the consumer; receiving.c does the rest. */
#include <inttypes.h>
#include <string.h>

#include "output.h"
#include "receiving.h"
#include "subscribing.h"

enum { NAME_BYTES = 64 };

int cmd_receive(struct cli *cli) {
    const char *queue = cli->args.words[0];
    struct receiving receiving;
    mom_consumer_options options;
    mom_consumer *consumer = NULL;
    int status = receiving_init(&receiving, cli);
    if (status != 0) {
        return status;
    }
    signals_catch();
    status = cli_open(cli);
    if (status != 0) {
        return status;
    }
    receiving_consumer_options(&receiving, &options);
    int error =
        mom_queue_consumer(cli->node, queue, &options, cli->timeout_ms, &consumer);
    if (error != 0) {
        return fail_stream(cli, error, "queue", queue);
    }
    return receiving_run(&receiving, consumer);
}

int cmd_subscribe(struct cli *cli) {
    const char *topic = cli->args.words[0];
    const char *name = args_value(&cli->args, OPT_AS);
    struct receiving receiving;
    mom_consumer_options options;
    mom_consumer *consumer = NULL;
    char own_name[NAME_BYTES];
    mom_subscription_options *subscription = mom_subscription_options_new();
    if (subscription == NULL) {
        return fail_text(cli, MOM_NO_MEMORY, "options", mom_err_advice(MOM_NO_MEMORY));
    }
    int status = receiving_init(&receiving, cli);
    status = status == 0 ? read_subscription(cli, subscription) : status;
    signals_catch();
    status = status == 0 ? cli_open(cli) : status;
    if (status != 0) {
        mom_subscription_options_free(subscription);
        return status;
    }
    subscription->if_missing = true;
    if (name == NULL) {
        snprintf(own_name, sizeof own_name, "temporary-%016" PRIx64 "-%" PRIx64,
                 mom_node_id(cli->node), now_us());
        name = own_name;
        subscription->temporary = true;
    }
    receiving_consumer_options(&receiving, &options);
    /* Without filters, one that is there is continued whatever its filters are. */
    int error = MOM_NOT_SUBSCRIBED;
    if (!subscription->temporary && subscription->filters_count == 0) {
        error = mom_subscription_consumer(cli->node, topic, name, &options,
                                          cli->timeout_ms, &consumer);
    }
    if (error == MOM_NOT_SUBSCRIBED) {
        error = mom_subscription_create(cli->node, topic, name, subscription,
                                        cli->timeout_ms);
        if (error == 0) {
            error = mom_subscription_consumer(cli->node, topic, name, &options,
                                              cli->timeout_ms, &consumer);
        }
    }
    mom_subscription_options_free(subscription);
    return error == 0 ? receiving_run(&receiving, consumer)
                      : fail_subscription(cli, error, topic, name);
}
