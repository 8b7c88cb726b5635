/* Text that a language model writes itself, for want of any: "self", or "self:N" documents. Each begins with a
 * token drawn evenly and goes on by the model's own distribution (temperature 1), as in LLM-QAT (Liu et al.
 * 2023): what such rows say of KL divergence and of ranges is near to what real text says. */
#include "eval/dataset.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "qx/decode.h"

#include <stdio.h>
#include <string.h>

enum { DOCUMENTS = 32, DOCUMENTS_MOST = 4096, PLACES_MOST = 64 };

/* Documents that the name asks for; 0: it is another name. */
static int64_t documents_of(const char *path)
{
    int n = 0;
    char rest;
    if (strcmp(path, "self") == 0) {
        return DOCUMENTS;
    }
    return sscanf(path, "self:%5d%c", &n, &rest) == 1 && n > 0 ? n : 0;
}

static bool is_self(const char *path)
{
    return documents_of(path) > 0;
}

/* ids [places + 1] of document i. */
static enum qx_status document_write(struct qx_decode *d, const struct qx_net *net, uint64_t seed,
                                     int64_t i, int64_t places, struct qx_ctl *ctl, int32_t *ids,
                                     struct qx_error *err)
{
    const struct qx_sampling sampling = {1.0f, 1.0f,
                                         seed + 0x9e3779b97f4a7c15u * (uint64_t)(i + 1)};
    const int vocabulary = qx_net_n_classes(net);
    struct qx_sampler *sampler = NULL;
    struct qx_rng rng;
    qx_rng_init(&rng, sampling.seed);
    qx_decode_rewind(d, 0);
    ids[0] = (int32_t)qx_rng_below(&rng, (uint64_t)vocabulary);
    enum qx_status st = qx_sampler_new(&sampling, vocabulary, &sampler, err);
    for (int64_t k = 0; st == QX_OK && k < places; k++) {
        st = qx_decode_feed(d, &ids[k], 1, ctl, err);
        if (st == QX_OK) {
            ids[k + 1] = qx_sampler_next(sampler, qx_decode_logits(d));
        }
    }
    qx_sampler_free(sampler);
    return st;
}

static enum qx_status documents_write(struct qx_dataset *d, const struct qx_net *net,
                                      const struct qx_dataset_options *o, int64_t places,
                                      struct qx_error *err)
{
    struct qx_weights *w = NULL;
    struct qx_decode *decode = NULL;
    enum qx_status st = qx_weights_new_lazy(net, &w, err);
    if (st == QX_OK) {
        st = qx_weights_prepare(w, QX_ENGINE_AUTO, o->pool, o->ctl, err);
    }
    if (st == QX_OK) {
        st = qx_decode_open(net, w, places, o->pool, &decode, err);
    }
    for (int64_t i = 0; st == QX_OK && i < d->n; i++) {
        d->first[2 * i] = i * (places + 1);
        d->first[2 * i + 1] = (i + 1) * (places + 1);
        st = document_write(decode, net, o->seed, i, places, o->ctl, d->ids + d->first[2 * i], err);
    }
    qx_decode_close(&decode);
    qx_weights_free(w);
    return st;
}

static enum qx_status self_open(struct qx_dataset *d, const struct qx_net *net,
                                const struct qx_dataset_options *options, struct qx_error *err)
{
    const int64_t n = documents_of(d->path), most = qx_net_sample_size(net);
    const int64_t places = most < PLACES_MOST ? most : PLACES_MOST;
    if (!qx_net_is_words(net) || qx_decode_check(net, NULL) != QX_OK) {
        return qx_fail_at(err, QX_EDATA, d->path, NULL, -1,
                          "%s: only a language model writes its own data; name a file", d->path);
    }
    if (n > DOCUMENTS_MOST) {
        return qx_fail_at(err, QX_EDATA, d->path, NULL, -1, "%s: at most %d documents are written",
                          d->path, DOCUMENTS_MOST);
    }
    d->n = n;
    d->is_documents = true;
    d->sample_size = most;
    d->ids = qx_mem_array((size_t)(n * (places + 1)), sizeof *d->ids);
    d->first = qx_mem_array((size_t)n, 2 * sizeof *d->first);
    enum qx_status st = d->ids && d->first
                            ? documents_write(d, net, options, places, err)
                            : qx_fail_nomem(err, (size_t)(n * (places + 1)) * sizeof *d->ids);
    if (st == QX_OK) {
        d->hash = qx_hash64(d->ids, (size_t)(n * (places + 1)) * sizeof *d->ids, 0);
        snprintf(d->note, sizeof d->note,
                 "text of the model's own, seed %llu: %lld documents of %lld tokens; KL divergence "
                 "is near to that on real text, perplexity is not",
                 (unsigned long long)options->seed, (long long)n, (long long)places + 1);
    }
    return st;
}

const struct qx_dataset_kind qx_dataset_self = {
    .is_file = is_self, .open = self_open, .read = qx_documents_read};
