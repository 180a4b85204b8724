/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surveys: a context of the surveyor per question of ours, a few contexts of the
 * respondent for the questions of others. A second survey on one context would cancel the
 * first.
 */
#include "port/gossip_nng.h"

#include <nng/protocol/survey0/respond.h>
#include <nng/protocol/survey0/survey.h>

#include "base/mem.h"
#include "port/error_nng.h"

static void survey_step(void *user);
static void responder_step(void *user);

/* ---- asking ---- */

/* The survey is over: its callback, then the worker frees it. */
static void end_survey(struct momi_survey *survey) {
    struct momi_gossip *gossip = survey->gossip;
    if (!atomic_load(&gossip->is_muted)) {
        gossip->callbacks.survey_ended(gossip->user, survey->token);
    }
    pthread_mutex_lock(&gossip->mutex);
    momi_list_remove(&survey->link);
    momi_list_push_back(&gossip->surveys_done, &survey->link);
    pthread_cond_signal(&gossip->wake);
    pthread_mutex_unlock(&gossip->mutex);
}

static void take_answer(struct momi_survey *survey, nng_msg *message) {
    struct momi_gossip *gossip = survey->gossip;
    momi_gossip_note_receipt(gossip);
    atomic_fetch_add_explicit(&gossip->answers_in, 1, memory_order_relaxed);
    if (!atomic_load(&gossip->is_muted)) {
        gossip->callbacks.answered(
            gossip->user, survey->token,
            momi_slice(nng_msg_body(message), nng_msg_len(message)));
    }
    nng_msg_free(message);
}

/* The question is out, or an answer came, or the time is over. */
static void survey_step(void *user) {
    struct momi_survey *survey = user;
    struct momi_gossip *gossip = survey->gossip;
    int result = nng_aio_result(survey->aio);
    if (survey->is_asking && result != 0) {
        nng_msg_free(nng_aio_get_msg(survey->aio)); /* not taken, so still ours */
        nng_aio_set_msg(survey->aio, NULL);
    }
    if (!survey->is_asking && result == 0) {
        take_answer(survey, nng_aio_get_msg(survey->aio));
    }
    survey->is_asking = false;
    bool is_over = true;
    if (result == 0) {
        pthread_mutex_lock(&gossip->mutex);
        is_over = gossip->is_closing;
        if (!is_over) {
            nng_ctx_recv(survey->context, survey->aio);
        }
        pthread_mutex_unlock(&gossip->mutex);
    }
    if (is_over) {
        end_survey(survey);
    }
}

void momi_survey_free(struct momi_survey *survey) {
    if (survey->aio != NULL) {
        nng_aio_stop(survey->aio);
    }
    if (survey->has_context) {
        nng_ctx_close(survey->context);
    }
    if (survey->aio != NULL) {
        nng_aio_free(survey->aio);
    }
    momi_free(survey);
}

static int make_survey(struct momi_gossip *gossip, uint64_t token, uint32_t timeout_ms,
                       struct momi_survey **out) {
    struct momi_survey *survey = momi_calloc(1, sizeof *survey);
    if (survey == NULL) {
        return momi_err(MOM_NO_MEMORY, "no memory for a survey");
    }
    survey->gossip = gossip;
    survey->token = token;
    survey->is_asking = true;
    momi_list_init(&survey->link);
    int result = nng_ctx_open(&survey->context, gossip->surveyor);
    if (result == 0) {
        survey->has_context = true;
        result = nng_ctx_set_ms(survey->context, NNG_OPT_SURVEYOR_SURVEYTIME,
                                (nng_duration)timeout_ms);
    }
    if (result == 0) {
        result = nng_aio_alloc(&survey->aio, survey_step, survey);
    }
    if (result != 0) {
        momi_survey_free(survey);
        return momi_err(momi_nng_class(result), "cannot begin a survey: %s",
                        nng_strerror(result));
    }
    *out = survey;
    return MOM_OK;
}

int momi_gossip_ask(struct momi_gossip *gossip, uint64_t token,
                    struct momi_slice question, uint32_t timeout_ms) {
    if (timeout_ms == 0 || timeout_ms > INT32_MAX) {
        return momi_err(MOM_INVALID, "a survey of %u ms", timeout_ms);
    }
    nng_msg *message = NULL;
    struct momi_survey *survey = NULL;
    int error = momi_gossip_message(question, &message);
    if (error != MOM_OK) {
        return error;
    }
    /* Counted first: after closing began no context may be opened. */
    pthread_mutex_lock(&gossip->mutex);
    if (gossip->is_closing) {
        error = momi_err(MOM_CLOSED, "the gossip is closing");
    } else if (gossip->surveys_count >= MOMI_GOSSIP_SURVEYS_MAX) {
        error = momi_err(MOM_FULL, "%d surveys are under way", MOMI_GOSSIP_SURVEYS_MAX);
    } else {
        gossip->surveys_count++;
    }
    pthread_mutex_unlock(&gossip->mutex);
    if (error != MOM_OK) {
        nng_msg_free(message);
        return error;
    }
    error = make_survey(gossip, token, timeout_ms, &survey);
    pthread_mutex_lock(&gossip->mutex);
    if (error == MOM_OK && gossip->is_closing) {
        error = momi_err(MOM_CLOSED, "the gossip is closing");
    }
    if (error == MOM_OK) {
        momi_list_push_back(&gossip->surveys, &survey->link);
        nng_aio_set_msg(survey->aio, message);
        nng_ctx_send(survey->context, survey->aio);
    } else {
        gossip->surveys_count--;
        pthread_cond_signal(&gossip->wake);
    }
    pthread_mutex_unlock(&gossip->mutex);
    if (error != MOM_OK) {
        nng_msg_free(message);
        if (survey != NULL) {
            momi_survey_free(survey);
        }
    }
    return error;
}

void momi_surveys_cancel_locked(struct momi_gossip *gossip) {
    MOMI_LIST_FOR_EACH (link, &gossip->surveys) {
        nng_aio_cancel(MOMI_CONTAINER_OF(link, struct momi_survey, link)->aio);
    }
}

/* ---- answering ---- */

static bool submit_responder(struct momi_responder *responder, nng_msg *answer) {
    struct momi_gossip *gossip = responder->gossip;
    pthread_mutex_lock(&gossip->mutex);
    bool is_submitted = !gossip->is_stopped;
    if (is_submitted && answer != NULL) {
        nng_aio_set_timeout(responder->aio, MOMI_GOSSIP_ANSWER_TIMEOUT_MS);
        nng_aio_set_msg(responder->aio, answer);
        nng_ctx_send(responder->context, responder->aio);
    } else if (is_submitted) {
        nng_aio_set_timeout(responder->aio, NNG_DURATION_INFINITE);
        nng_ctx_recv(responder->context, responder->aio);
    }
    pthread_mutex_unlock(&gossip->mutex);
    return is_submitted;
}

/* The answer to a question, or NULL to stay silent. */
static nng_msg *answer_to(struct momi_gossip *gossip, nng_msg *question) {
    struct momi_bytes bytes = {.data = NULL, .size = 0, .room = 0, .failed = false};
    nng_msg *answer = NULL;
    atomic_fetch_add_explicit(&gossip->questions_in, 1, memory_order_relaxed);
    bool has_answer =
        !atomic_load(&gossip->is_muted) &&
        gossip->callbacks.asked(gossip->user,
                                momi_slice(nng_msg_body(question), nng_msg_len(question)),
                                &bytes);
    if (has_answer && !bytes.failed &&
        momi_gossip_message(momi_bytes_slice(&bytes), &answer) != MOM_OK) {
        answer = NULL;
    }
    momi_bytes_free(&bytes);
    return answer;
}

/* A question came, or the answer is out (or will never be). */
static void responder_step(void *user) {
    struct momi_responder *responder = user;
    struct momi_gossip *gossip = responder->gossip;
    int result = nng_aio_result(responder->aio);
    nng_msg *answer = NULL;
    if (responder->is_answering) {
        if (result != 0) {
            nng_msg_free(nng_aio_get_msg(responder->aio));
            nng_aio_set_msg(responder->aio, NULL);
        }
    } else if (result == 0) {
        nng_msg *question = nng_aio_get_msg(responder->aio);
        momi_gossip_note_receipt(gossip);
        pthread_mutex_lock(&gossip->mutex);
        bool is_closing = gossip->is_closing;
        pthread_mutex_unlock(&gossip->mutex);
        answer = is_closing ? NULL : answer_to(gossip, question);
        nng_msg_free(question);
    }
    if (result == NNG_ECLOSED) {
        return; /* the socket is going */
    }
    responder->is_answering = answer != NULL;
    if (!submit_responder(responder, answer) && answer != NULL) {
        nng_msg_free(answer);
    }
}

int momi_responders_init(struct momi_gossip *gossip) {
    for (size_t i = 0; i < MOMI_GOSSIP_RESPONDERS; i++) {
        struct momi_responder *responder = &gossip->responders[i];
        responder->gossip = gossip;
        int result = nng_ctx_open(&responder->context, gossip->respondent);
        if (result == 0) {
            responder->has_context = true;
            result = nng_aio_alloc(&responder->aio, responder_step, responder);
        }
        if (result != 0) {
            return momi_err(momi_nng_class(result), "cannot answer surveys: %s",
                            nng_strerror(result));
        }
    }
    return MOM_OK;
}

void momi_responders_start(struct momi_gossip *gossip) {
    for (size_t i = 0; i < MOMI_GOSSIP_RESPONDERS; i++) {
        submit_responder(&gossip->responders[i], NULL);
    }
}

void momi_responders_free(struct momi_gossip *gossip) {
    /* Their contexts went with the socket. */
    for (size_t i = 0; i < MOMI_GOSSIP_RESPONDERS; i++) {
        if (gossip->responders[i].aio != NULL) {
            nng_aio_stop(gossip->responders[i].aio);
            nng_aio_free(gossip->responders[i].aio);
        }
    }
}
