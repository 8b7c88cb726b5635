/* The table of flags and its parser. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum flag_kind {
    KIND_BOOL,
    KIND_TEXT,
    KIND_OPTIONAL, /* text behind '=', or "" */
    KIND_CHOICE,
    KIND_INT,
    KIND_INT64,
    KIND_SIZE,
    KIND_REAL,
    KIND_KEEP
};

struct flag {
    const char *name; /* without dashes */
    char letter;      /* 0 = none */
    enum flag_kind kind;
    size_t offset;       /* in struct ui_args */
    unsigned groups;     /* any of them */
    const char *metavar; /* NULL for KIND_BOOL; "a|b|c" for KIND_CHOICE */
    double min, max;     /* numbers */
    const char *help;
};

#define AT(field) offsetof(struct ui_args, field)

static const struct flag flags[] = {
    /* which tensors, how quantized */
    {"recipe", 0, KIND_TEXT, AT(recipe), UI_FLAGS_SESSION, "FILE", 0, 0, "open this recipe"},
    {"bits", 0, KIND_INT, AT(bits), UI_FLAGS_RECIPE, "N", 2, 32,
     "2 to 8 integer bits; 16 is FP16, 32 is FP32"},
    {"format", 0, KIND_TEXT, AT(format), UI_FLAGS_RECIPE, "NAME", 0, 0,
     "int, fp32, fp16, bf16, nf4, fp4, fp8-e4m3, fp8-e5m2, q8_0, q4_k, ..."},
    {"gran", 0, KIND_TEXT, AT(gran), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, "tensor|channel|group:N",
     0, 0, "one scale for each of these (default channel)"},
    {"sym", 0, KIND_BOOL, AT(sym), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, NULL, 0, 0,
     "symmetric codes (default)"},
    {"asym", 0, KIND_BOOL, AT(asym), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, NULL, 0, 0,
     "asymmetric, with a zero point"},
    {"method", 0, KIND_TEXT, AT(method), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, "NAME", 0, 0,
     "calibrator: minmax, percentile:P, mse, mae, kl, kl-full, manual:T (default mse)"},
    {"scale", 0, KIND_CHOICE, AT(scale), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, "f32|f16|dq", 0, 0,
     "how scales are stored (default f16 for groups, else f32)"},
    {"layers", 0, KIND_TEXT, AT(layers), UI_FLAGS_RECIPE | UI_FLAGS_SETTING | UI_FLAGS_INFO, "GLOB",
     0, 0, "only tensors whose name or alias matches"},
    {"layer", 0, KIND_TEXT, AT(layers), UI_FLAGS_RECIPE | UI_FLAGS_SETTING | UI_FLAGS_INFO, "GLOB",
     0, 0, "the same as --layers"},
    {"scope", 0, KIND_CHOICE, AT(scope), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, "linear|all", 0, 0,
     "what --bits touches: linear weights (default), or embedding tables too"},
    {"keep", 0, KIND_KEEP, AT(keep), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, "GLOB=FORMAT", 0, 0,
     "keep matching tensors (or `first`, `last`, `ends` of the network) in fp32, fp16, bf16 or "
     "blocks"},
    {"weights-only", 0, KIND_BOOL, AT(weights_only), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, NULL, 0, 0,
     "activations stay float32 (the default)"},
    {"act-bits", 0, KIND_INT, AT(act_bits), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, "N", 2, 8,
     "quantize activations too"},
    {"act-gran", 0, KIND_CHOICE, AT(act_gran), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, "tensor|token",
     0, 0, "one scale for the input (default), or for each token (needs --dynamic)"},
    {"act-method", 0, KIND_TEXT, AT(act_method), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, "NAME", 0, 0,
     "calibrator of static ranges: percentile:99.99 (default), mse, ema:0.1, ..."},
    {"act-sym", 0, KIND_BOOL, AT(act_sym), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, NULL, 0, 0,
     "symmetric activations (default with --dynamic)"},
    {"act-asym", 0, KIND_BOOL, AT(act_asym), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, NULL, 0, 0,
     "asymmetric activations (default when static)"},
    {"dynamic", 0, KIND_BOOL, AT(dynamic), UI_FLAGS_RECIPE | UI_FLAGS_SETTING, NULL, 0, 0,
     "activations take the range of each token as it comes (8 bits unless --act-bits)"},
    {"algo", 0, KIND_TEXT, AT(algo), UI_FLAGS_RECIPE, "A,B", 0, 0,
     "post-training methods: gptq, awq, adaround, auto, ..."},
    {"preset", 0, KIND_TEXT, AT(preset), UI_FLAGS_RECIPE, "NAME", 0, 0,
     "all of these by the name of a tool (qexplore presets)"},
    {"engine", 0, KIND_CHOICE, AT(engine), UI_FLAGS_EVAL | UI_FLAGS_GENERATE,
     "simulated|integer|packed", 0, 0,
     "arithmetic: of quantized activations, by default integer where every layer can; packed: "
     "float32 on weights kept as codes or in 16 bits"},
    /* sensitivity and mixed precision */
    {"bits", 0, KIND_TEXT, AT(columns), UI_FLAGS_SEARCH, "LIST", 0, 0,
     "widths to look at: 2 to 8, fp16, ...; a2 to a8 are activations (default 2,3,4,5,6,8)"},
    {"measure", 0, KIND_TEXT, AT(n_measure), UI_FLAGS_SEARCH, "N|all", 0, 0,
     "measure the N cells most worth it (pareto: the N best points) instead of predicting them"},
    {"mode", 0, KIND_CHOICE, AT(mode), UI_FLAGS_PARETO, "dp|greedy|closed-form", 0, 0,
     "best sum of all (default), step by step, or bits by sensitivity and variance"},
    {"size", 0, KIND_SIZE, AT(max_bytes), UI_FLAGS_PARETO, "SIZE", 0, 0,
     "at most so large, the whole model: 100K, 64MB, ..."},
    {"bpw", 0, KIND_REAL, AT(max_bpw), UI_FLAGS_PARETO, "B", 0.01, 64,
     "at most so many bits per weight"},
    {"latency", 0, KIND_TEXT, AT(max_latency), UI_FLAGS_PARETO, "MS", 0, 0,
     "at most so many milliseconds a sample, by the layers' times on this machine"},
    {"min-acc", 0, KIND_REAL, AT(min_acc), UI_FLAGS_PARETO, "X", 0, 1,
     "suggest the smallest recipe with this accuracy (0..1)"},
    {"tie", 0, KIND_TEXT, AT(tie), UI_FLAGS_PARETO, "GLOB,GLOB", 0, 0,
     "layers of one glob take the same width (default in transformers: q, k and v; gate and up); "
     "none"},
    {"save-recipe", 0, KIND_TEXT, AT(save_recipe), UI_FLAGS_PARETO, "FILE", 0, 0,
     "write the suggested recipe as JSON"},
    /* data and gates */
    {"data", 0, KIND_TEXT, AT(data), UI_FLAGS_SESSION, "FILE", 0, 0,
     "evaluation data: .safetensors, .tsv, .csv, .jsonl, .txt, idx images (default eval.* of the "
     "folder); self: text that a language model writes, drawn by --seed (default where it has no "
     "data and predictions are wanted)"},
    {"text-col", 0, KIND_TEXT, AT(text_col), UI_FLAGS_SESSION, "NAME|N", 0, 0,
     "column of the texts, by name or number (default guessed, and said)"},
    {"label-col", 0, KIND_TEXT, AT(label_col), UI_FLAGS_SESSION, "NAME|N", 0, 0,
     "column of the labels"},
    {"tokenizer", 0, KIND_TEXT, AT(tokenizer), UI_FLAGS_SESSION, "PATH", 0, 0,
     "folder or file of the tokenizer (default the model folder)"},
    {"context", 0, KIND_INT64, AT(context), UI_FLAGS_SESSION, "N", 1, 1048576,
     "tokens that a language model looks at, and of the windows of texts (default what it has "
     "positions for as far as 256 MiB reach; windows 1024)"},
    {"imatrix", 0, KIND_TEXT, AT(imatrix), UI_FLAGS_SESSION, "FILE", 0, 0,
     "llama.cpp's imatrix.dat: what errors of each input count in blocks (Q4_K and so on)"},
    {"calib", 0, KIND_TEXT, AT(calib), UI_FLAGS_SESSION, "FILE|self|random:N", 0, 0,
     "rows for the ranges of activations (default calib.safetensors of the model folder)"},
    {"max-samples", 0, KIND_INT64, AT(max_samples), UI_FLAGS_EVAL | UI_FLAGS_BENCH, "N", 1, 1e15,
     "that many rows, drawn by --seed"},
    {"changes", 0, KIND_INT64, AT(n_changes), UI_FLAGS_EVAL, "N", 1, 1000,
     "list the N rows or tokens that change most from FP32 (--json: 10)"},
    {"changes-by", 0, KIND_CHOICE, AT(changes_by), UI_FLAGS_EVAL, "answers|kl", 0, 0,
     "most in their answer (default), or, of a language model, in KL divergence from FP32"},
    {"rows", 0, KIND_INT64, AT(n_rows), UI_FLAGS_EVAL, "N", 1, 1000,
     "list the N rows that this recipe loses next, as measured or predicted (--json: 10)"},
    {"fail-under", 0, KIND_REAL, AT(fail_under), UI_FLAGS_EVAL | UI_FLAGS_SEARCH | UI_FLAGS_TRAIN,
     "X", 0, 1, "exit 5 when the accuracy (0..1) is lower"},
    {"max-drop", 0, KIND_REAL, AT(max_drop), UI_FLAGS_EVAL | UI_FLAGS_SEARCH | UI_FLAGS_TRAIN, "X",
     0, 1, "exit 5 when more accuracy (0..1) is lost against FP32"},
    {"predict", 0, KIND_BOOL, AT(predict), UI_FLAGS_EVAL, NULL, 0, 0,
     "predict instead of measuring"},
    {"measure", 0, KIND_BOOL, AT(measure), UI_FLAGS_EVAL, NULL, 0, 0, "measure beside --predict"},
    {"measure", 0, KIND_BOOL, AT(measure), UI_FLAGS_FORMATS, NULL, 0, 0,
     "run the whole network on the evaluation data with each format of each tensor"},
    {"seed", 0, KIND_INT64, AT(seed), UI_FLAGS_SESSION, "S", 0, 9e15,
     "of everything drawn at random"},
    /* bench */
    {"kernels", 0, KIND_OPTIONAL, AT(kernels), UI_FLAGS_BENCH, "[=MxNxK,...]", 0, 0,
     "matrix products alone instead of a model; shapes may also follow as an argument"},
    {"variants", 0, KIND_TEXT, AT(variants), UI_FLAGS_BENCH, "A,B,...", 0, 0,
     "of fp32, fp16, fp16-convert, bf16, int8, int8-dynamic, int4-g32, int4-g128, int8-weights, "
     "int4-weights (default all)"},
    {"runs", 0, KIND_INT, AT(runs), UI_FLAGS_BENCH, "N", 1, 100000,
     "timed passes (default 50, or what takes 3 s); below 5 there are no percentiles"},
    {"warmup", 0, KIND_INT, AT(warmup), UI_FLAGS_BENCH, "N", 0, 100000,
     "passes before those (default 5)"},
    {"story", 0, KIND_BOOL, AT(story), UI_FLAGS_BENCH, NULL, 0, 0,
     "FP32, FP16, INT8 and INT4 after training and by training, beside a paper's claims; -o keeps "
     "the trained models"},
    {"report", 0, KIND_TEXT, AT(report), UI_FLAGS_BENCH, "FILE", 0, 0,
     "the story as a page (HTML) too"},
    /* train */
    {"train-data", 0, KIND_TEXT, AT(train_data), UI_FLAGS_TRAIN | UI_FLAGS_BENCH, "FILE", 0, 0,
     "labelled rows to train on (default those that the network names where they are installed "
     "below /usr/share/datasets, else train.safetensors of the folder)"},
    {"no-installed-data", 0, KIND_BOOL, AT(no_installed_data),
     UI_FLAGS_TRAIN | UI_FLAGS_BENCH | UI_FLAGS_EXPLORE, NULL, 0, 0,
     "training takes the folder's rows only"},
    {"quantizer", 0, KIND_TEXT, AT(quantizer), UI_FLAGS_TRAIN, "NAME", 0, 0,
     "lsq (scales are learned, default), pact, ema, ste"},
    {"optimizer", 0, KIND_TEXT, AT(optimizer), UI_FLAGS_TRAIN, "NAME", 0, 0,
     "adamw (default) or sgd"},
    {"epochs", 0, KIND_INT, AT(epochs), UI_FLAGS_TRAIN | UI_FLAGS_BENCH, "N", 1, 100000,
     "times over the rows"},
    {"epoch-rows", 0, KIND_INT64, AT(epoch_rows), UI_FLAGS_TRAIN | UI_FLAGS_BENCH, "N", 0, 1e15,
     "rows of an epoch at most, 0 = all (default 10000; language models all)"},
    {"augment", 0, KIND_TEXT, AT(augment), UI_FLAGS_TRAIN, "A,B|none", 0, 0,
     "what is done to images: shift (up to 2 pixels), flip (left and right); default none"},
    {"batch", 0, KIND_INT, AT(batch), UI_FLAGS_TRAIN, "N", 2, 65536, "rows of one step"},
    {"rate", 0, KIND_REAL, AT(rate), UI_FLAGS_TRAIN, "X", 1e-9, 10,
     "peak learning rate (default the optimizer's)"},
    {"warm-up", 0, KIND_REAL, AT(warm), UI_FLAGS_TRAIN, "X", 0, 1,
     "share of the steps in which the rate rises"},
    {"weight-decay", 0, KIND_REAL, AT(weight_decay), UI_FLAGS_TRAIN, "X", 0, 1,
     "of layers' weights"},
    {"clip", 0, KIND_REAL, AT(clip), UI_FLAGS_TRAIN, "X", 0, 1e9,
     "largest norm of the gradient, 0 = any"},
    {"distill", 0, KIND_REAL, AT(distill), UI_FLAGS_TRAIN, "X", 0, 1,
     "share of the loss that follows the float32 network, the rest follows the labels"},
    {"temperature", 0, KIND_REAL, AT(temperature), UI_FLAGS_TRAIN, "X", 0.1, 100,
     "of that comparison"},
    {"dampen", 0, KIND_REAL, AT(dampen), UI_FLAGS_TRAIN, "X", 0, 100,
     "how strongly weights are drawn to their levels, 0 = not (default the quantizer's)"},
    {"freeze", 0, KIND_REAL, AT(freeze), UI_FLAGS_TRAIN, "X", 0, 1,
     "share of the steps, at the end, in which statistics and ranges stand still"},
    {"patience", 0, KIND_INT, AT(patience), UI_FLAGS_TRAIN, "N", 0, 100000,
     "stop after so many epochs without a better one (default 0: never)"},
    {"checkpoint", 0, KIND_TEXT, AT(checkpoint), UI_FLAGS_TRAIN, "FILE", 0, 0,
     "written after every epoch (default FOLDER.checkpoint beside -o FOLDER, gone at the end)"},
    {"resume", 0, KIND_BOOL, AT(resume), UI_FLAGS_TRAIN, NULL, 0, 0,
     "go on from the checkpoint, bit by bit"},
    {"max-rows", 0, KIND_INT64, AT(max_rows), UI_FLAGS_TRAIN | UI_FLAGS_BENCH, "N", 64, 1e15,
     "train on that many rows, drawn by --seed"},
    /* generate */
    {"prompt", 0, KIND_TEXT, AT(prompt), UI_FLAGS_GENERATE, "TEXT", 0, 0, "what to go on with"},
    {"tokens", 0, KIND_INT64, AT(tokens), UI_FLAGS_GENERATE, "N", 1, 65536,
     "tokens to go on by (default 24)"},
    {"temperature", 0, KIND_REAL, AT(temperature), UI_FLAGS_GENERATE, "X", 0, 100,
     "draw from softmax(logits / X) by --seed; 0 takes the likeliest token (default)"},
    {"top-p", 0, KIND_REAL, AT(top_p), UI_FLAGS_GENERATE, "P", 1e-6, 1,
     "draw from the likeliest tokens that have P of all (default 1)"},
    /* info */
    {"stats", 0, KIND_BOOL, AT(stats), UI_FLAGS_INFO, NULL, 0, 0,
     "read the values: min, max, mean, std, absmax, p999, zeros, NaN, Inf"},
    {"hist", 0, KIND_BOOL, AT(hist), UI_FLAGS_INFO, NULL, 0, 0, "with a histogram of each tensor"},
    /* output */
    {"output", 'o', KIND_TEXT, AT(output),
     UI_FLAGS_QUANTIZE | UI_FLAGS_RENDER | UI_FLAGS_TRAIN | UI_FLAGS_BENCH, "PATH", 0, 0,
     "where to write"},
    {"save-recipe", 0, KIND_TEXT, AT(save_recipe), UI_FLAGS_QUANTIZE, "FILE", 0, 0,
     "write the resolved recipe as JSON"},
    /* screen */
    {"screen", 0, KIND_TEXT, AT(screen), UI_FLAGS_RENDER, "NAME", 0, 0,
     "model, layer, matrix, act, sens, pareto, compare, try, train, bench, jobs, lessons, help, "
     "log"},
    {"size", 0, KIND_TEXT, AT(size), UI_FLAGS_RENDER, "WxH", 0, 0, "cells (default 140x45)"},
    {"play", 0, KIND_TEXT, AT(play), UI_FLAGS_RENDER | UI_FLAGS_EXPLORE, "LOG", 0, 0,
     "replay a recorded command log first"},
    {"speed", 0, KIND_REAL, AT(speed), UI_FLAGS_SCREEN, "X", 0, 1000,
     "pace of a replay: 1 as recorded, 0 at once (default)"},
    {"theme", 0, KIND_TEXT, AT(theme), UI_FLAGS_SCREEN, "NAME", 0, 0, "dark, light, mono"},
    {"glyphs", 0, KIND_CHOICE, AT(glyphs), UI_FLAGS_SCREEN, "auto|braille|block|ascii", 0, 0,
     "how rich the drawing may be"},
    {"record", 0, KIND_TEXT, AT(record), UI_FLAGS_EXPLORE, "LOG", 0, 0,
     "write every command to a log that play and render take"},
    {"fresh", 0, KIND_BOOL, AT(fresh), UI_FLAGS_EXPLORE, NULL, 0, 0,
     "start without the autosaved recipe"},
    {"no-mouse", 0, KIND_BOOL, AT(no_mouse), UI_FLAGS_EXPLORE, NULL, 0, 0, "leave the mouse alone"},
    {"no-animation", 0, KIND_BOOL, AT(no_animation), UI_FLAGS_EXPLORE, NULL, 0, 0,
     "nothing moves by itself"},
    /* lessons */
    {"check", 0, KIND_BOOL, AT(check), UI_FLAGS_LESSON, NULL, 0, 0,
     "play the lesson (or all) with its own answers, as a test"},
    {"scores", 0, KIND_BOOL, AT(scores), UI_FLAGS_LESSON, NULL, 0, 0,
     "guesses and answers so far, comma-separated"},
    {"lang", 0, KIND_CHOICE, AT(lang), UI_FLAGS_LESSON, "en|id|ko", 0, 0,
     "language of the lessons (default by the locale)"},
    {"present", 0, KIND_BOOL, AT(present), UI_FLAGS_LESSON | UI_FLAGS_EXPLORE, NULL, 0, 0,
     "for an audience: the last command and the accuracy in large digits"},
    /* common */
    {"threads", 0, KIND_INT, AT(threads), UI_FLAGS_COMMON, "N", 1, 1024,
     "worker threads (default: cores; QEXPLORE_THREADS)"},
    {"mem", 0, KIND_SIZE, AT(mem_bytes), UI_FLAGS_SESSION, "SIZE", 0, 0,
     "memory for caches, and a batch in training: 512M, 4G (default 25 % of RAM)"},
    {"isa", 0, KIND_CHOICE, AT(isa), UI_FLAGS_COMMON, "ref|avx2|avxvnni|avx512vnni|avx512vbmi", 0,
     0, "highest rung of the kernels to use"},
    {"color", 0, KIND_CHOICE, AT(color), UI_FLAGS_COMMON, "auto|always|never|16|256|true", 0, 0,
     "colours (NO_COLOR is honoured)"},
    {"no-color", 0, KIND_BOOL, AT(no_color), UI_FLAGS_COMMON, NULL, 0, 0,
     "the same as --color never"},
    {"json", 0, KIND_BOOL, AT(json), UI_FLAGS_COMMON, NULL, 0, 0, "one JSON object on stdout"},
    {"quiet", 'q', KIND_BOOL, AT(quiet), UI_FLAGS_COMMON, NULL, 0, 0, "no progress on stderr"},
    {"verbose", 'v', KIND_BOOL, AT(verbose), UI_FLAGS_COMMON, NULL, 0, 0, "say more on stderr"},
    {"version", 0, KIND_BOOL, AT(version), UI_FLAGS_COMMON, NULL, 0, 0, "version, CPU, kernels"},
    {"help", 0, KIND_BOOL, AT(help), UI_FLAGS_COMMON, NULL, 0, 0, "all flags"},
    {"h", 'h', KIND_BOOL, AT(short_help), UI_FLAGS_COMMON, NULL, 0, 0, "short help"},
};

enum { N_FLAGS = sizeof flags / sizeof *flags };

void ui_flags_each(unsigned groups, ui_flag_fn *fn, void *arg)
{
    for (int i = 0; i < N_FLAGS; i++) {
        if ((flags[i].groups & groups) && strlen(flags[i].name) > 1) {
            fn(arg, flags[i].name, flags[i].metavar, flags[i].help);
        }
    }
}

/* The flag of this name that the verb takes, else any of this name. */
static const struct flag *flag_find(const char *name, size_t len, unsigned groups)
{
    const struct flag *any = NULL;
    for (int i = 0; i < N_FLAGS; i++) {
        if (strlen(flags[i].name) == len && strncmp(flags[i].name, name, len) == 0) {
            if (flags[i].groups & groups) {
                return &flags[i];
            }
            any = &flags[i];
        }
    }
    return any;
}

static const struct flag *flag_letter(char letter)
{
    for (int i = 0; i < N_FLAGS; i++) {
        if (flags[i].letter && flags[i].letter == letter) {
            return &flags[i];
        }
    }
    return NULL;
}

/* The allowed flag sharing the longest beginning or differing least: good enough to help. */
static const char *flag_nearest(const char *name, unsigned groups)
{
    const char *names[N_FLAGS];
    size_t n = 0;
    for (int i = 0; i < N_FLAGS; i++) {
        if ((flags[i].groups & groups) && strlen(flags[i].name) > 1) {
            names[n++] = flags[i].name;
        }
    }
    return qx_nearest(name, names, n);
}

/* "512M", "4GiB", "100000". False when it is not a size. */
static bool size_parse(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || errno || !(v > 0)) {
        return false;
    }
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"K", 1024.0},
                 {"KB", 1e3},
                 {"KiB", 1024.0},
                 {"M", 1048576.0},
                 {"MB", 1e6},
                 {"MiB", 1048576.0},
                 {"G", 1073741824.0},
                 {"GB", 1e9},
                 {"GiB", 1073741824.0},
                 {"T", 1099511627776.0},
                 {"TB", 1e12},
                 {"TiB", 1099511627776.0}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].suffix) == 0 && v * units[i].factor < 1.8e19) {
            *out = (uint64_t)(v * units[i].factor);
            return true;
        }
    }
    return false;
}

static bool choice_ok(const char *choices, const char *value)
{
    size_t len = strlen(value);
    for (const char *p = choices; *p;) {
        size_t n = strcspn(p, "|");
        if (n == len && strncmp(p, value, n) == 0) {
            return true;
        }
        p += n + (p[n] == '|');
    }
    return false;
}

static int number_store(struct ui_args *args, const struct flag *f, const char *value)
{
    char *end;
    errno = 0;
    double v = strtod(value, &end);
    bool whole = f->kind != KIND_REAL;
    if (end == value || *end || errno || !isfinite(v) || (whole && v != floor(v))) {
        return ui_usage_error(args, "--%s wants a %s, not '%s'", f->name,
                              whole ? "whole number" : "number", value);
    }
    if (v < f->min || v > f->max) {
        return ui_usage_error(args, "--%s %s lies outside %g to %g", f->name, value, f->min,
                              f->max);
    }
    char *at = (char *)args + f->offset;
    if (f->kind == KIND_INT) {
        *(int *)at = (int)v;
    } else if (f->kind == KIND_INT64) {
        *(int64_t *)at = (int64_t)v;
    } else {
        *(double *)at = v;
    }
    return UI_EXIT_OK;
}

static int flag_store(struct ui_args *args, const struct flag *f, const char *value)
{
    char *at = (char *)args + f->offset;
    switch (f->kind) {
    case KIND_BOOL:
        *(bool *)at = true;
        return UI_EXIT_OK;
    case KIND_TEXT:
    case KIND_OPTIONAL:
        *(const char **)at = value;
        return UI_EXIT_OK;
    case KIND_CHOICE:
        if (!choice_ok(f->metavar, value)) {
            return ui_usage_error(args, "--%s takes %s, not '%s'", f->name, f->metavar, value);
        }
        *(const char **)at = value;
        return UI_EXIT_OK;
    case KIND_SIZE:
        if (!size_parse(value, (uint64_t *)at)) {
            return ui_usage_error(args, "--%s wants a size such as 512M or 4G, not '%s'", f->name,
                                  value);
        }
        return UI_EXIT_OK;
    case KIND_KEEP:
        if (!strchr(value, '=')) {
            return ui_usage_error(args, "--keep wants GLOB=FORMAT, not '%s'", value);
        }
        if (args->n_keep == UI_MAX_KEEP) {
            return ui_usage_error(args, "more than %d --keep flags: use a recipe", UI_MAX_KEEP);
        }
        args->keep[args->n_keep++] = value;
        return UI_EXIT_OK;
    default:
        return number_store(args, f, value);
    }
}

/* One argument that starts with '-'. Advances *i when the value is the next argument. */
static int flag_take(struct ui_args *args, unsigned groups, int argc, char **argv, int *i)
{
    const char *text = argv[*i];
    const struct flag *f;
    const char *value = NULL;
    if (text[1] == '-') {
        size_t len = strcspn(text + 2, "=");
        f = flag_find(text + 2, len, groups);
        value = text[2 + len] == '=' ? text + 3 + len : NULL;
    } else {
        f = flag_letter(text[1]);
        if (f && f->kind == KIND_BOOL && text[2]) {
            f = NULL;
        }
        value = f && text[2] ? text + 2 : NULL;
    }
    if (!f || !(f->groups & groups)) {
        const char *near = f ? NULL : flag_nearest(text + 1 + (text[1] == '-'), groups);
        if (f) {
            return ui_usage_error(args, "%s does not take --%s",
                                  args->verb ? args->verb : "qexplore", f->name);
        }
        return near ? ui_usage_error(args, "unknown flag '%s': did you mean --%s?", text, near)
                    : ui_usage_error(args, "unknown flag '%s': see --help", text);
    }
    if (f->kind == KIND_BOOL) {
        if (value) {
            return ui_usage_error(args, "--%s takes no value", f->name);
        }
        return flag_store(args, f, NULL);
    }
    if (!value && f->kind == KIND_OPTIONAL) {
        value = "";
    }
    if (!value) {
        if (*i + 1 >= argc) {
            return ui_usage_error(args, "--%s wants a value: %s", f->name, f->metavar);
        }
        value = argv[++*i];
    }
    return flag_store(args, f, value);
}

int ui_args_parse(struct ui_args *args, const char *verb, unsigned groups, int argc, char **argv)
{
    memset(args, 0, sizeof *args);
    args->verb = verb;
    args->fail_under = NAN;
    args->max_drop = NAN;
    args->max_bpw = args->min_acc = NAN;
    args->top_p = NAN;
    args->warmup = -1;
    args->epochs = args->batch = args->patience = -1;
    args->epoch_rows = -1;
    args->rate = args->warm = args->weight_decay = args->clip = NAN;
    args->distill = args->temperature = args->dampen = args->freeze = NAN;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            args->json = true; /* so that errors before it are JSON too */
        }
    }
    bool only_positional = false;
    for (int i = 0; i < argc; i++) {
        if (!only_positional && strcmp(argv[i], "--") == 0) {
            only_positional = true;
        } else if (!only_positional && argv[i][0] == '-' && argv[i][1]) {
            int code = flag_take(args, groups, argc, argv, &i);
            if (code) {
                return code;
            }
        } else if (args->n_positional == UI_MAX_POSITIONAL) {
            return ui_usage_error(args, "too many arguments at '%s'", argv[i]);
        } else {
            args->positional[args->n_positional++] = argv[i];
        }
    }
    if (args->sym && args->asym) {
        return ui_usage_error(args, "--sym and --asym exclude each other");
    }
    if (args->bits && args->bits > 8 && args->bits != 16 && args->bits != 32) {
        return ui_usage_error(args, "--bits %d: 2 to 8, 16 (FP16) or 32 (FP32)", args->bits);
    }
    const char *env = getenv("QEXPLORE_THREADS");
    if (!args->threads && env) {
        args->threads = atoi(env) > 0 ? atoi(env) : 0;
    }
    return UI_EXIT_OK;
}
