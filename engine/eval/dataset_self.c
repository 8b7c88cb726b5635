/* Text that a language model writes itself, for want of any: "self", or "self:N" documents. Each begins with a
 * token drawn evenly and goes on by the model's own distribution (temperature 1), as in LLM-QAT (Liu et al.
 * 2023): what such rows say of KL divergence and of ranges is near to what real text says.
 *
 * Every token is a pass that reads all weights, so "self" writes fewer where those are many; how many follows from
 * the multiply-adds, not from the clock, so that every run comes to the same text. */
#include "eval/dataset.h"

#include "base/error.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "qx/decode.h"

#include <stdio.h>
#include <string.h>

enum { DOCUMENTS_MOST = 4096, PLACES_MOST = 64, PLACES_FEW = 32 };
enum { TOKENS_LEAST = 128, TOKENS_USUAL = 2048 };
static const double macs_most = 1.2e11; /* of all tokens: half a minute where memory gives 8 GB/s */

/* Documents that the name asks for; 0: as many as are usual, -1: it is another name. */
static int64_t documents_of(const char *path)
{
    int n = 0;
    char rest;
    if (strcmp(path, "self") == 0) {
        return 0;
    }
    return sscanf(path, "self:%5d%c", &n, &rest) == 1 && n > 0 ? n : -1;
}

bool qx_dataset_is_self(const char *path)
{
    return documents_of(path) >= 0;
}

enum qx_status qx_dataset_self_check(const char *path, const struct qx_net *net,
                                     struct qx_error *err)
{
    if (!qx_net_is_words(net) || qx_decode_check(net, NULL) != QX_OK) {
        return qx_fail_at(err, QX_EDATA, path, NULL, -1,
                          "%s: only a language model writes its own data; name a file", path);
    }
    if (documents_of(path) > DOCUMENTS_MOST) {
        return qx_fail_at(err, QX_EDATA, path, NULL, -1, "%s: at most %d documents are written",
                          path, DOCUMENTS_MOST);
    }
    return QX_OK;
}

/* Documents, and places of each. */
static void size_choose(const char *path, const struct qx_net *net, int64_t *n, int64_t *places)
{
    const int64_t most = qx_net_sample_size(net);
    const double macs = (double)qx_net_macs(net) / (double)most;
    const double fits = macs > 0 ? macs_most / macs : TOKENS_USUAL;
    const int64_t tokens = fits < TOKENS_LEAST   ? TOKENS_LEAST
                           : fits < TOKENS_USUAL ? (int64_t)fits
                                                 : TOKENS_USUAL;
    const int64_t asked = documents_of(path);
    const int64_t whole = asked > 0 || tokens >= TOKENS_USUAL / 4 ? PLACES_MOST : PLACES_FEW;
    *n = asked > 0 ? asked : tokens / whole;
    *places = whole < most ? whole : most;
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
        struct qx_ctl quiet = {.parent = ctl, .is_quiet = true};
        st = qx_decode_feed(d, &ids[k], 1, &quiet, err);
        if (st == QX_OK) {
            ids[k + 1] = qx_sampler_next(sampler, qx_decode_logits(d));
            qx_ctl_add(ctl, 1);
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
    struct qx_ctl quiet = {.parent = o->ctl, .is_quiet = true};
    qx_ctl_total(o->ctl, d->n * places);
    enum qx_status st = qx_weights_new_lazy(net, &w, err);
    if (st == QX_OK) {
        st = qx_weights_prepare(w, QX_ENGINE_AUTO, o->pool, &quiet, err);
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
    int64_t n, places;
    enum qx_status st = qx_dataset_self_check(d->path, net, err);
    if (st != QX_OK) {
        return st;
    }
    size_choose(d->path, net, &n, &places);
    d->n = n;
    d->is_documents = true;
    d->sample_size = qx_net_sample_size(net);
    d->ids = qx_mem_array((size_t)(n * (places + 1)), sizeof *d->ids);
    d->first = qx_mem_array((size_t)n, 2 * sizeof *d->first);
    st = d->ids && d->first ? documents_write(d, net, options, places, err)
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
    .is_file = qx_dataset_is_self, .open = self_open, .read = qx_documents_read};
