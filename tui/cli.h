/* The command line: one table of flags for all verbs and the explorer, exit codes, errors as text or
 * JSON. */
#ifndef UI_CLI_H
#define UI_CLI_H

#include "qx/qx.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ui_exit {
    UI_EXIT_OK = 0,
    UI_EXIT_FAILED = 1,
    UI_EXIT_USAGE = 2,
    UI_EXIT_INPUT = 3,       /* unreadable or invalid */
    UI_EXIT_UNSUPPORTED = 4, /* architecture, dtype, CPU, not in this version */
    UI_EXIT_GATE = 5,        /* --fail-under, --max-drop missed; the result is still printed */
    UI_EXIT_RESOURCES = 6,   /* out of memory or disk */
    UI_EXIT_MISMATCH = 7
};
/* 128 and the number of the signal that interrupted a verb. */
int ui_exit_interrupted(void);

/* Groups of flags; a verb names the groups it takes. */
enum ui_flag_group {
    UI_FLAGS_COMMON = 1,
    UI_FLAGS_RECIPE = 2, /* which tensors, how quantized */
    UI_FLAGS_EVAL = 4,   /* data, samples, gates */
    UI_FLAGS_INFO = 8,
    UI_FLAGS_QUANTIZE = 16,
    UI_FLAGS_SCREEN = 32,  /* look of the screen: explorer, render, play */
    UI_FLAGS_EXPLORE = 64, /* explorer only */
    UI_FLAGS_RENDER = 128,
    UI_FLAGS_SESSION = 256, /* data, recipe, memory: whatever opens a session */
    UI_FLAGS_BENCH = 512,
    UI_FLAGS_SETTING = 1024, /* how quantized, but for the bits */
    UI_FLAGS_SEARCH = 2048,  /* sweep and pareto */
    UI_FLAGS_PARETO = 4096,
    UI_FLAGS_LESSON = 8192,
    UI_FLAGS_TRAIN = 16384,
    UI_FLAGS_GENERATE = 32768,
    UI_FLAGS_FORMATS = 65536
};

enum { UI_MAX_KEEP = 64, UI_MAX_POSITIONAL = 17 };

/* All flags of all verbs; unset strings are NULL, unset numbers as noted. */
struct ui_args {
    const char *verb; /* NULL for the explorer */
    const char *positional[UI_MAX_POSITIONAL];
    int n_positional;
    bool help;       /* --help */
    bool short_help; /* -h */
    bool version;
    /* common */
    bool json, quiet, verbose;
    const char *color; /* auto always never 16 256 true */
    bool no_color;
    int threads; /* 0 = cores; QEXPLORE_THREADS */
    const char *isa;
    /* session */
    const char *data, *recipe, *calib, *imatrix, *text_col, *label_col, *tokenizer;
    uint64_t mem_bytes; /* 0 = default */
    int64_t context;    /* 0 = default */
    uint64_t seed;
    /* recipe */
    int bits; /* 0 = unset */
    const char *format, *gran, *method, *layers, *scope, *scale;
    bool sym, asym;
    const char *keep[UI_MAX_KEEP];
    int n_keep;
    int act_bits; /* 0 = unset */
    const char *act_gran, *act_method, *algo, *preset, *engine;
    bool weights_only, dynamic, act_sym, act_asym;
    /* eval */
    int64_t max_samples;    /* 0 = all */
    int64_t n_changes;      /* rows listed; 0 = unset */
    const char *changes_by; /* NULL = unset */
    int64_t n_rows;         /* the same */
    double fail_under;      /* NaN = unset */
    double max_drop;        /* NaN = unset */
    bool predict, measure;
    /* bench */
    const char *kernels; /* "" = --kernels without a value */
    const char *variants;
    int runs, warmup; /* 0, -1 = unset */
    bool story;
    const char *report;
    /* sweep, pareto */
    const char *columns, *n_measure, *mode, *max_latency, *tie;
    uint64_t max_bytes;      /* 0 = unset */
    double max_bpw, min_acc; /* NaN = unset */
    /* train */
    const char *train_data, *quantizer, *optimizer, *checkpoint, *augment;
    bool resume, no_installed_data;
    int64_t max_rows;            /* 0 = all */
    int64_t epoch_rows;          /* -1 = unset, 0 = all */
    int epochs, batch, patience; /* -1 = unset */
    double rate, warm, weight_decay, clip, distill, temperature, dampen, freeze; /* NaN = unset */
    /* generate */
    const char *prompt;
    int64_t tokens; /* 0 = unset */
    double top_p;   /* NaN = unset; temperature as above */
    /* info */
    bool stats, hist;
    /* output */
    const char *output, *save_recipe;
    /* screen */
    const char *theme, *glyphs, *screen, *size, *play;
    double speed; /* of play: 0 = at once */
    /* lessons */
    bool check, scores, present;
    const char *lang, *lesson; /* lesson: begin this one */
    /* explorer */
    bool fresh, no_mouse, no_animation;
    const char *record;
};

/* Parse argv after the verb (or all of argv for the explorer). Prints the usage error (text, or JSON
 * when --json stands anywhere) and returns UI_EXIT_USAGE, else UI_EXIT_OK. `groups`: which flags are
 * allowed. Strings are borrowed from argv. */
int ui_args_parse(struct ui_args *args, const char *verb, unsigned groups, int argc, char **argv);
/* For --help and completions: calls fn for each flag of the groups. metavar NULL = no value;
 * choices NULL or "a|b|c". */
typedef void ui_flag_fn(void *arg, const char *name, const char *metavar, const char *help);
void ui_flags_each(unsigned groups, ui_flag_fn *fn, void *arg);

/* Report an engine error: "qexplore VERB: text" on stderr, or the qexplore.error/1 object under
 * --json. Returns the exit code of the status. */
int ui_report(const struct ui_args *args, const struct qx_error *err);
/* The same for an error of the command line itself (exit code 2). */
int ui_usage_error(const struct ui_args *args, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int ui_exit_of(enum qx_status status);

/* Session options from the flags and the XDG folders (created when missing). The strings live in
 * static storage of cli.c until the next call. */
struct qx_session_options ui_session_options(const struct ui_args *args);
/* Open a batch session for the model at positional[0]; reports errors; NULL then, *code set. */
struct qx_session *ui_open_batch(const struct ui_args *args, int *code);
/* Open a folder that a training wrote, under its recipe. Closed by the caller, after an error too. */
enum qx_status ui_open_trained(const struct ui_args *args, const char *folder,
                               struct qx_session **out, struct qx_error *err);
/* Put what --recipe, --preset or the recipe flags say into the session. False with err filled. */
bool ui_apply_recipe(const struct ui_args *args, struct qx_session *s, struct qx_error *err);
/* The setting that the flags describe for every selected tensor; without any: 8 bits, as qx_setting_int. */
bool ui_setting_parse(const struct ui_args *args, struct qx_setting *set, struct qx_error *err);
/* Does a flag that describes the weights' setting stand? */
bool ui_describes_setting(const struct ui_args *args);
/* Does any recipe flag stand? */
bool ui_has_recipe(const struct ui_args *args);

/* Ctrl-C during a verb sets ctl.cancel (SIGINT, SIGTERM, SIGHUP). The token is static. */
struct qx_ctl *ui_batch_ctl(void);
/* Progress line on stderr: a bar when stderr is a terminal, one line per 10 % else, none with -q.
 * Runs in a thread of its own between begin and end, reading the token. */
void ui_progress_begin(const struct ui_args *args, const char *what);
void ui_progress_end(void);
/* A line that stays, above the bar. Nothing with -q. */
void ui_progress_line(const struct ui_args *args, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* JSON of every verb starts with schema and program. */
struct qx_jw *ui_json_begin(const struct ui_args *args, const char *verb);
/* Finishes, prints to stdout. Returns UI_EXIT_OK or UI_EXIT_RESOURCES (no memory). */
int ui_json_print(struct qx_jw *w);
/* The last word of every verb: code, or an error when standard output could not be written. */
int ui_stdout_done(const struct ui_args *args, int code);

/* Text safe to print: control characters and invalid UTF-8 of `text` become '?'. Returns buf. */
char *ui_safe_text(const char *text, char *buf, size_t cap);
/* A tensor's name on standard output, made safe and filled up to w cells. */
void ui_print_name(const char *name, int w);
/* Cells for the names of linear and of quantized tensors: 16 to 60. */
int ui_names_width(const struct qx_session *s);

/* ---- paths ---- */
/* Folder of assets / samples: beside the source tree when run from a build folder, else installed.
 * NULL when absent. Static strings. */
const char *ui_path_assets(void);
const char *ui_path_samples(void);
const char *ui_path_datasets(void); /* where packages put data sets; need not exist */
const char *ui_path_cache(void);    /* $XDG_CACHE_HOME/qexplore; NULL without HOME */
const char *ui_path_state(void);    /* $XDG_STATE_HOME/qexplore */
const char *ui_path_config(void);   /* $XDG_CONFIG_HOME/qexplore */
const char *ui_path_data(void);     /* $XDG_DATA_HOME/qexplore: a teacher's own lessons */

#endif
