/* Files that are no weights we read, told by their first bytes, each with its remedy. */
#include "base/error.h"
#include "base/fs.h"
#include "base/str.h"
#include "tensor/model_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define TORCH_REMEDY "convert it with 'assets/convert/torch_to_folder.py' (needs python3-torch)"
#define ONNX_REMEDY  "convert it with 'assets/convert/onnx_to_folder.py' (needs python3-onnx)"
#define NUMPY_REMEDY "save its arrays with safetensors.numpy.save_file and open that file"

struct magic {
    int at, len;
    const char *bytes;
    const char *what, *remedy;
};

static const struct magic magics[] = {
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5)",
     "export its weights with safetensors.numpy.save_file and open that file"},
    {4, 4, "TFL3", "a TensorFlow Lite model",
     "open the model it was converted from, or export its weights as safetensors"},
    {0, 6, "\x93NUMPY", "a NumPy array (.npy)", NUMPY_REMEDY},
    {0, 2, "\x1f\x8b", "a gzip archive", "unpack it and open what is inside"},
    {0, 6,
     "\xfd"
     "7zXZ",
     "an xz archive", "unpack it and open what is inside"},
    {0, 4, "PAR1", "a Parquet file",
     "write it as CSV: python3 -c 'import pandas; pandas.read_parquet(\"F\").to_csv(\"F.csv\", "
     "index=False)'"},
    {0, 4, "\x28\xb5\x2f\xfd", "a zstd archive", "unpack it and open what is inside"},
    {257, 5, "ustar", "a tar archive", "unpack it and open the folder"},
    {0, 4, "lmgg", "a GGML file", "open the safetensors checkpoint that it was made from"},
    {0, 4, "tjgg", "a GGML file", "open the safetensors checkpoint that it was made from"},
};

static enum qx_status unsupported(const char *path, struct qx_error *err, const char *what,
                                  const char *remedy)
{
    return qx_fail_at(err, QX_EUNSUPPORTED, path, NULL, 0, "cannot open '%.200s': it is %s; %s",
                      path, what, remedy);
}

static bool has_ext(const char *path, const char *const *exts)
{
    for (; *exts; exts++) {
        size_t n = strlen(path), m = strlen(*exts);
        if (n >= m && strcasecmp(path + n - m, *exts) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_torch_name(const char *path)
{
    static const char *const exts[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl", NULL};
    return has_ext(path, exts);
}

/* A zip archive: the name of its first member says what kind. */
static enum qx_status recognise_zip(const char *path, const uint8_t *head, size_t n,
                                    struct qx_error *err)
{
    char member[128] = "";
    if (n > 30) {
        size_t len = (size_t)head[26] | (size_t)head[27] << 8;
        len = len > n - 30 ? n - 30 : len;
        len = len >= sizeof member ? sizeof member - 1 : len;
        memcpy(member, head + 30, len);
        member[len] = '\0';
    }
    if (qx_str_ends(member, ".npy")) {
        return unsupported(path, err, "a NumPy archive (.npz)", NUMPY_REMEDY);
    }
    if (is_torch_name(path) || strstr(member, "data.pkl") || strstr(member, ".data/") ||
        qx_str_ends(member, "/.format_version")) {
        return unsupported(path, err, "a PyTorch checkpoint (zip with pickle inside)",
                           TORCH_REMEDY);
    }
    return unsupported(path, err, "a zip archive", "unpack it and open the weights inside");
}

static bool is_html(const uint8_t *head, size_t n)
{
    size_t i = n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (i < n && (head[i] == ' ' || head[i] == '\n' || head[i] == '\r' || head[i] == '\t')) {
        i++;
    }
    const char *p = (const char *)head + i;
    return (n - i >= 9 && strncasecmp(p, "<!doctype", 9) == 0) ||
           (n - i >= 5 && strncasecmp(p, "<html", 5) == 0) ||
           (n - i >= 5 && strncasecmp(p, "<?xml", 5) == 0);
}

/* ModelProto begins with field 1 (ir_version, a small varint); field 2 or 8 comes next. */
static bool is_onnx(const char *path, const uint8_t *head, size_t n)
{
    static const char *const exts[] = {".onnx", NULL};
    bool looks = n >= 3 && head[0] == 0x08 && head[1] >= 1 && head[1] < 32 &&
                 (head[2] == 0x12 || head[2] == 0x3a || head[2] == 0x42);
    return looks || has_ext(path, exts);
}

static bool is_blank(const uint8_t *head, size_t n)
{
    size_t i = 0;
    while (i < n && head[i] == 0) {
        i++;
    }
    return n >= 64 && i == n;
}

bool qx_recognise_partial(const char *name)
{
    static const char *const exts[] = {".incomplete", ".crdownload", ".part",        ".partial",
                                       ".download",   ".aria2",      ".!qB",         ".tmp",
                                       ".opdownload", ".filepart",   ".unconfirmed", NULL};
    return has_ext(name, exts);
}

static enum qx_status recognise_text(const char *path, const uint8_t *head, size_t n,
                                     struct qx_error *err)
{
    static const char lfs[] = "version https://git-lfs.github.com/spec/";
    if (n >= sizeof lfs - 1 && memcmp(head, lfs, sizeof lfs - 1) == 0) {
        return qx_fail_at(err, QX_EFORMAT, path, NULL, 0,
                          "cannot open '%.200s': it is a Git LFS pointer, not the weights; run "
                          "'git lfs install' and 'git lfs pull' in its repository",
                          path);
    }
    if (is_html(head, n)) {
        return qx_fail_at(err, QX_EFORMAT, path, NULL, 0,
                          "cannot open '%.200s': it is a web page saved under this name (a login, "
                          "licence or error page); download the file itself again",
                          path);
    }
    if (n > 0 && head[0] == '{') {
        return unsupported(path, err, "a JSON file, not weights",
                           "open the folder that holds it, or its .safetensors file");
    }
    return QX_OK;
}

enum qx_status qx_recognise_content(const char *path, const uint8_t *head, size_t n,
                                    struct qx_error *err)
{
    if (n >= 4 && memcmp(head, "PK\3\4", 4) == 0) {
        return recognise_zip(path, head, n, err);
    }
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        const struct magic *m = &magics[i];
        if (n >= (size_t)(m->at + m->len) && memcmp(head + m->at, m->bytes, (size_t)m->len) == 0) {
            return unsupported(path, err, m->what, m->remedy);
        }
    }
    if (n >= 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5) {
        return unsupported(path, err, "a pickle checkpoint (PyTorch before 1.6)", TORCH_REMEDY);
    }
    enum qx_status st = recognise_text(path, head, n, err);
    if (st != QX_OK) {
        return st;
    }
    if (qx_recognise_partial(path) || is_blank(head, n)) {
        return qx_fail_at(err, QX_EFORMAT, path, NULL, 0,
                          "cannot open '%.200s': it is a partial download (%s); let the download "
                          "finish, or fetch the file again",
                          path, is_blank(head, n) ? "its beginning is all zeros" : "by its name");
    }
    if (is_onnx(path, head, n)) {
        return unsupported(path, err, "an ONNX model", ONNX_REMEDY);
    }
    if (is_torch_name(path)) {
        return unsupported(path, err, "named like a PyTorch checkpoint, but its content is unknown",
                           "open a .safetensors file, or convert the checkpoint with "
                           "'assets/convert/torch_to_folder.py'");
    }
    return QX_OK;
}

size_t qx_recognise_shard(const char *name, int *part, int *count)
{
    for (const char *p = strchr(name, '-'); p; p = strchr(p + 1, '-')) {
        int used = 0;
        if (sscanf(p, "-%9d-of-%9d%n", part, count, &used) == 2 && used > 0 &&
            (strcmp(p + used, ".safetensors") == 0 || p[used] == '\0') && *part > 0 &&
            *part <= *count) {
            return (size_t)(p - name);
        }
    }
    return 0;
}
