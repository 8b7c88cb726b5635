/* What `qexplore` without arguments can offer: models in the folder, samples, and the local caches of
 * other programs. Places that cannot be read are passed over. */
#include "base/arena.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "tensor/model_priv.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_FOUND = 500, MAX_NAMES = 5000 };

static const char gguf_what[] = "GGUF";

struct qx_found_list {
    struct qx_arena arena;
    struct qx_found items[MAX_FOUND];
    int n;
    struct stat skip; /* a folder not to look into (st_ino 0: none) */
};

/* One folder's names and what they amount to. */
struct folder {
    const char *path;
    char **names;
    size_t n;
    const char *weights; /* the file that makes it a model, or NULL */
    int n_files;         /* .safetensors that are weights */
    uint64_t bytes;      /* of those */
    bool has_index, has_network;
};

static const char *join(struct qx_found_list *l, const char *dir, const char *name)
{
    char *joined = qx_fs_join(dir, name);
    const char *kept = joined ? qx_arena_strdup(&l->arena, joined) : NULL;
    qx_mem_free(joined);
    return kept;
}

static uint64_t size_of(struct qx_found_list *l, const char *dir, const char *name)
{
    struct stat st;
    const char *path = join(l, dir, name);
    return path && stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static void add(struct qx_found_list *l, const char *path, const char *where, const char *what,
                uint64_t bytes)
{
    if (l->n < MAX_FOUND && path && what) {
        l->items[l->n++] = (struct qx_found){path, where, what, bytes};
    }
}

static bool is_weights(const char *name)
{
    return qx_str_ends(name, ".safetensors") && !qx_str_starts(name, "eval") &&
           !qx_str_starts(name, "calib") && !qx_str_starts(name, "reference");
}

static bool read_folder(struct qx_found_list *l, const char *path, struct folder *f)
{
    *f = (struct folder){.path = path};
    if (!path || qx_fs_list(path, &l->arena, &f->names, &f->n, NULL) != QX_OK) {
        return false;
    }
    f->n = f->n < MAX_NAMES ? f->n : MAX_NAMES;
    for (size_t i = 0; i < f->n; i++) {
        const char *name = f->names[i];
        if (qx_str_ends(name, ".safetensors.index.json")) {
            f->has_index = true;
        }
        /* Beside the link: in a Hugging Face snapshot realpath would lead to a bare blob. */
        f->has_network =
            f->has_network || strcmp(name, "config.json") == 0 || strcmp(name, "graph.json") == 0;
        if (is_weights(name)) {
            f->weights = name;
            f->n_files++;
            f->bytes += size_of(l, path, name);
        }
    }
    return true;
}

/* A folder that qx_model_open takes as a whole. */
static bool add_model_folder(struct qx_found_list *l, const struct folder *f, const char *where)
{
    bool has_model = false;
    for (size_t i = 0; i < f->n; i++) {
        has_model = has_model || strcmp(f->names[i], "model.safetensors") == 0;
    }
    if (!has_model && !f->has_index && !(f->n_files == 1 && f->has_network)) {
        return false;
    }
    const char *what = f->has_network ? "model folder" : "safetensors";
    if (f->has_index && !has_model) {
        what = qx_arena_printf(&l->arena, "sharded, %d files", f->n_files);
    }
    add(l, f->path, where, what, f->bytes);
    return true;
}

static void add_files(struct qx_found_list *l, const struct folder *f, const char *where)
{
    for (size_t i = 0; i < f->n; i++) {
        const char *name = f->names[i];
        bool is_gguf = qx_str_ends(name, ".gguf");
        if (is_gguf || is_weights(name)) {
            add(l, join(l, f->path, name), where, is_gguf ? gguf_what : "safetensors",
                size_of(l, f->path, name));
        }
    }
}

/* `dir` and its folders down to `depth` more levels; a model folder is not entered. */
static void look(struct qx_found_list *l, const char *dir, int depth, const char *where)
{
    struct folder f;
    if (l->n >= MAX_FOUND || !read_folder(l, dir, &f) || add_model_folder(l, &f, where)) {
        return;
    }
    add_files(l, &f, where);
    for (size_t i = 0; depth > 0 && i < f.n; i++) {
        const char *path = f.names[i][0] == '.' ? NULL : join(l, dir, f.names[i]);
        struct stat st;
        bool is_dir = path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
        if (is_dir && !(st.st_dev == l->skip.st_dev && st.st_ino == l->skip.st_ino)) {
            look(l, path, depth - 1, where);
        }
    }
}

/* hub/models--org--name/snapshots/<revision>/ */
static void look_hub(struct qx_found_list *l, const char *hub)
{
    struct folder models;
    if (!read_folder(l, hub, &models)) {
        return;
    }
    for (size_t i = 0; i < models.n; i++) {
        if (qx_str_starts(models.names[i], "models--")) {
            const char *model = join(l, hub, models.names[i]);
            look(l, model ? join(l, model, "snapshots") : NULL, 1, "Hugging Face cache");
        }
    }
}

static bool is_gguf_file(const char *path)
{
    char head[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is_gguf = fd >= 0 && read(fd, head, 4) == 4 && memcmp(head, "GGUF", 4) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is_gguf;
}

/* Blobs have no extension; the weights among them begin with "GGUF". */
static void look_ollama(struct qx_found_list *l, const char *blobs)
{
    struct folder f;
    if (!read_folder(l, blobs, &f)) {
        return;
    }
    for (size_t i = 0; i < f.n; i++) {
        const char *path = join(l, blobs, f.names[i]);
        if (path && is_gguf_file(path)) {
            add(l, path, "Ollama", gguf_what, size_of(l, blobs, f.names[i]));
        }
    }
}

struct qx_found_list *qx_model_discover(const char *cwd, const char *samples_dir, const char *home)
{
    struct qx_found_list *l = qx_mem_zalloc(sizeof *l);
    if (!l) {
        return NULL;
    }
    if (cwd) {
        if (!samples_dir || stat(samples_dir, &l->skip) != 0) { /* they come under their own name */
            l->skip = (struct stat){0};
        }
        look(l, cwd, 2, "this folder");
    }
    l->skip = (struct stat){0};
    if (samples_dir) {
        look(l, samples_dir, 1, "samples");
    }
    if (home) {
        look_hub(l, join(l, home, ".cache/huggingface/hub"));
        look_ollama(l, join(l, home, ".ollama/models/blobs"));
        look(l, join(l, home, ".lmstudio/models"), 2, "LM Studio");
        look(l, join(l, home, ".cache/lm-studio/models"), 2, "LM Studio");
    }
    return l;
}

int qx_found_n(const struct qx_found_list *list)
{
    return list ? list->n : 0;
}

const struct qx_found *qx_found_get(const struct qx_found_list *list, int i)
{
    return list && i >= 0 && i < list->n ? &list->items[i] : NULL;
}

void qx_found_free(struct qx_found_list *list)
{
    if (list) {
        qx_arena_release(&list->arena);
        qx_mem_free(list);
    }
}
